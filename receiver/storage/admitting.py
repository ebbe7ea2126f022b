"""Callbacks and jobs brought together: what a callback does to its job, and what follows once a job's name is known."""

import msgspec

from receiver.core.description.keeping import late_look
from receiver.core.enum_members import BY_CALLBACK, SUBMITTED, TIMED_OUT
from receiver.core.identity import JOB, new_id
from receiver.core.job import transition
from receiver.core.job.admission import MOST_KEPT, Admission, Examined, Terms, admit
from receiver.core.job.cadence import planned
from receiver.core.job.standing import presumed_gone, settled
from receiver.core.job.uniting import same_work, unite
from receiver.core.model import Delivery, Job, Observation
from receiver.storage.driver import Transaction
from receiver.storage.dues import request_cancel
from receiver.storage.ledger import Ledger
from receiver.storage.results import write_chunks

decode_examined = msgspec.msgpack.Decoder(Examined).decode


def decide(
    tx: Transaction,
    ledger: Ledger,
    job: Job,
    examined: Examined,
    *,
    callback_id: str,
    look_ms: int | None,
    now: int,
) -> Admission:
    """Admit a callback and record what it does to its job, but for counting it.

    *look_ms* is how long to wait before asking about a job whose name it tells, if there is somebody to ask.
    """
    before = job
    if job.remote_id is None and (examined.signed or job.delivery is Delivery.RESULT):
        said = examined.reading(job.delivery)
        job = one_of_its_name(
            tx, ledger, job, said.remote_id if isinstance(said, Observation) else None, now=now
        )
    admission = admit(job, examined, callback_id=callback_id, now=now)
    move = admission.move
    if move is not None and (move.changed or move.look_now):
        ledger.carry_out(move, now=now, candidate_id=admission.candidate_id)
        if admission.content is not None:
            write_chunks(tx, job.id, part=0, content=admission.content)
    after = job if move is None else move.job
    # Asked of every callback, so by identity: what is not news is the same text.
    if (
        after.remote_id is not before.remote_id
        or after.response_url is not before.response_url
        or after.cancel_url is not before.cancel_url
    ):
        learned(tx, ledger, before, look_ms=look_ms, now=now)
    if admission.fetch_refused and job.callbacks < MOST_KEPT:
        ledger.note(
            job.id, step="fetch", outcome="refused", code="fetch_refused", now=now, callback=callback_id
        )
    return admission


def learned(tx: Transaction, ledger: Ledger, before: Job, *, look_ms: int | None, now: int) -> Job:
    """Do what follows from knowing more of a job than *before*: its provider's id, or an address.

    Whoever told it, a callback, a look, the submit answer or a person: it is asked about in *look_ms* milliseconds
    unless it is sooner, the wish to cancel it is sent, and the callbacks that were held for it are its own. Returns the
    job as it is then.
    """
    job = ledger.get(before.id)
    assert job is not None  # noqa: S101  (whoever told of it has it)
    named = before.remote_id is None and job.remote_id is not None
    if not named and (before.response_url, before.cancel_url) == (job.response_url, job.cancel_url):
        return job
    if named:
        ledger.put(transition.named(job, now=now), now=now)
        job = admit_held(tx, ledger, ledger.jobs[job.id], now=now)
    if job.state.ended and job.state is not TIMED_OUT:
        return job
    if job.state is TIMED_OUT:
        again = late_look(job, now=now)
        if again is not None:
            ledger.look(job, run_at=again)
    else:
        ledger.look(job, run_at=_first_look(job, look_ms, now=now))
        if job.cancel_requested_at is not None and (named or before.cancel_url != job.cancel_url):
            request_cancel(tx, job, now=now)
    return job


def one_of_its_name(tx: Transaction, ledger: Ledger, job: Job, remote_id: str | None, *, now: int) -> Job:
    """*job*, about to be known as *remote_id*; or what becomes of it and the job that is already known by that name.

    To be called before acting on what was said about the job: its end may have been told under the other's id.
    """
    if job.remote_id is not None or remote_id is None:
        return job
    other = ledger.named(job.provider, remote_id)
    if other is None or other.id == job.id or not same_work(job, other):
        return job
    united = unite(job, other)
    ledger.unite(united)
    ledger.note(
        united.job.id, step="submit", outcome="united", code="same_work", now=now, absorbed=united.absorbed.id
    )
    waits = not settled(united.job) or (presumed_gone(united.job) and not united.absorbed.state.ended)
    if not united.inherits and united.job.succeeded_at is not None and waits:
        # Its result waits, perhaps at an address that a callback named.
        where = {"id": united.absorbed.id}
        found = tx.run("SELECT result_url FROM due WHERE job_id = :id AND step = 'look'", where)
        ledger.look(united.job, run_at=now, result_url=found[0][0] if found else None)
    return united.job


def _first_look(job: Job, look_ms: int | None, *, now: int) -> int:
    return job.deadline_at if look_ms is None else planned(job, look_ms, now=now)


def admit_held(tx: Transaction, ledger: Ledger, job: Job, *, now: int) -> Job:
    """Hand *job* the callbacks that came to the account-wide address before its name was known."""
    found = tx.run(
        "SELECT callback_id, examined FROM held WHERE provider = :provider AND remote_id = :remote_id "
        "ORDER BY callback_id",
        {"provider": job.provider, "remote_id": job.remote_id},
    )
    for callback_id, packed in found:
        examined = decode_examined(packed)
        admission = decide(tx, ledger, job, examined, callback_id=callback_id, look_ms=None, now=now)
        ledger.count(job.id)
        job = ledger.jobs[job.id]
        file(tx, callback_id, job, admission)
        tx.run("DELETE FROM held WHERE callback_id = :id", {"id": callback_id})
    return job


def file(tx: Transaction, callback_id: str, job: Job, admission: Admission) -> None:
    """Put a callback that was held to the job that it turned out to be about."""
    tx.run(
        "UPDATE callback SET job_id = :job_id, verdict = :verdict, code = :code WHERE id = :id",
        {"job_id": job.id, "verdict": admission.verdict.value, "code": admission.code, "id": callback_id},
    )


def adopt(
    ledger: Ledger,
    provider: str,
    terms: Terms,
    *,
    now: int,
    job_id: str | None = None,
    remote_id: str | None = None,
) -> Job:
    """Record a job that was not submitted here (or whose record is gone)."""
    job = Job(
        id=job_id or new_id(JOB, now),
        provider=provider,
        state=SUBMITTED,
        delivery=terms.delivery,
        key_id=terms.key_id,
        remote_id=remote_id,
        created_at=now,
        submitted_at=now,
        deadline_at=now + terms.deadline_ms,
        keep_ms=terms.keep_ms,
        keep_from=terms.keep_from,
        files_when=terms.files_when,
        submission="none",
    )
    ledger.add(job)
    ledger.look(job, run_at=_first_look(job, terms.look_ms, now=now))
    ledger.note(
        job.id, step="submit", outcome="adopted", code="not_submitted_here", now=now, source=BY_CALLBACK
    )
    return job
