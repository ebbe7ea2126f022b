"""Recording what people and programs ask for: new jobs, cancellations, second tries, replays."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from receiver.core.errors import ConflictError, NotFoundError
from receiver.core.job import transition
from receiver.core.job.admission import Examined, Terms, Unreadable
from receiver.core.job.standing import gathering, settled
from receiver.core.job.uniting import same_work
from receiver.core.job.urgency import ASKED
from receiver.core.model import Callback, Due, Job, JobState, Step, Value, Verdict
from receiver.storage import downloads, rows
from receiver.storage.admitting import adopt, decide, learned, one_of_its_name
from receiver.storage.arrivals import Receipt, receipt, was_pruned
from receiver.storage.claims import load_jobs
from receiver.storage.driver import Transaction
from receiver.storage.dues import request_cancel
from receiver.storage.ledger import Ledger

_UNTOUCHED = "SELECT 1 FROM due WHERE job_id = :job_id AND step = 'submit' AND owner = :me AND attempt = 1 {for_update}"
_SUBMISSION = "job_id, request, request_sha256, metadata, idempotency_key, options, traceparent"


class NewJob(Value, frozen=True, kw_only=True):
    """A job to be recorded before it is submitted, with the lease of whoever submits it."""

    job: Job
    request: bytes
    #: Over provider, operation and request: the same key with another digest is a conflict.
    request_sha256: str
    metadata: bytes
    #: What the submission carries beside the request, as JSON.
    options: bytes | None = None
    idempotency_key: str | None
    owner: str
    lease_ms: int
    #: Whether it may have been recorded already, by a commit whose answer was lost.
    again: bool = False
    #: Whether nobody has sent it, nor will: who held it until it is recorded is gone, so whoever comes first may.
    free: bool = False


class Readmission(Value, frozen=True, kw_only=True):
    """A stored callback that has been examined again."""

    callback: Callback
    examined: Examined
    terms: Terms
    replay_id: str
    handler: str | None
    #: Whether the completion of a job that has ended already is dispatched again.
    dispatch_again: bool
    #: Who has it read again, as far as is known.
    by: str
    now: int


def submit(tx: Transaction, items: Sequence[NewJob]) -> list[tuple[Job, bool] | ConflictError]:
    """Record jobs; each answer is the job and whether it is new, or the conflict over its idempotency key.

    One that may have been recorded already (``again``) is new as long as nobody else has taken it up.
    """
    keys = [one.idempotency_key for one in items if one.idempotency_key is not None]
    tx.guard([f"idempotency key\0{key}" for key in keys])
    ledger = Ledger(tx)
    answers: list[tuple[Job, bool] | ConflictError] = []
    submissions: dict[str | None, NewJob] = {}
    for item in items:
        if item.again and (known := load_jobs(tx, [item.job.id], metadata=True).get(item.job.id)) is not None:
            untouched = bool(tx.run(_UNTOUCHED, {"job_id": item.job.id, "me": item.owner}))
            if untouched and item.free:
                tx.update("due", "owner, attempt, run_at", [_free(item)], key=rows.DUE_KEY)
            answers.append((known, untouched))
            continue
        first = submissions.get(item.idempotency_key) if item.idempotency_key is not None else None
        found = [(first.job.id, first.request_sha256)] if first else _by_key(tx, item.idempotency_key)
        if found:
            job_id, digest = found[0]
            if digest != item.request_sha256:
                answers.append(_reused(item.idempotency_key))
            else:
                other = ledger.jobs.get(job_id) or load_jobs(tx, [job_id], metadata=True)[job_id]
                answers.append((other, False))
            continue
        submissions[item.idempotency_key or item.job.id] = item
        ledger.add(item.job)
        answers.append((item.job, True))
    ledger.flush()
    new = list(submissions.values())
    tx.insert(
        "submission",
        _SUBMISSION,
        [
            (
                one.job.id,
                one.request,
                one.request_sha256,
                one.metadata,
                one.idempotency_key,
                one.options,
                one.job.traceparent,
            )
            for one in new
        ],
    )
    tx.insert("due", rows.DUE, [rows.due_params(_sending(one)) for one in new])
    return answers


def cancel(tx: Transaction, items: Sequence[tuple[str, int]]) -> list[Job]:
    """Record the wish to cancel: (job id, now). It is sent once the submission has been answered."""
    tx.be_sure()
    ledger = _load(tx, [job_id for job_id, _ in items])
    for job_id, now in items:
        job = ledger.jobs[ledger.led(job_id)]
        if job.state.ended:
            continue
        if job.cancel_requested_at is None:
            ledger.put(replace(job, cancel_requested_at=now))
        if job.remote_id is not None:
            # Also a second wish: the first one may have been sent, refused, and forgotten.
            request_cancel(tx, job, now=now)
    ledger.flush()
    return [ledger.jobs[ledger.led(job_id)] for job_id, _ in items]


def abandon(tx: Transaction, items: Sequence[tuple[str, int]]) -> list[Job]:
    """Give jobs up by hand: (job id, now)."""
    tx.be_sure()
    ledger = _load(tx, [job_id for job_id, _ in items])
    for job_id, now in items:
        job = ledger.jobs[ledger.led(job_id)]
        move = transition.abandoned(job, now=now)
        if move.changed:
            if gathering(job):
                downloads.give_up(tx, job.id)
            ledger.note(job.id, step="deadline", outcome="abandoned", code="abandoned", now=now)
            ledger.carry_out(move, now=now)
    ledger.flush()
    return [ledger.jobs[ledger.led(job_id)] for job_id, _ in items]


def resubmit(tx: Transaction, items: Sequence[tuple[str, int]]) -> list[Job]:
    """Send jobs again whose submission's outcome is unknown, because a person says so: (job id, now)."""
    tx.be_sure()
    ledger = _load(tx, [job_id for job_id, _ in items])
    for job_id, now in items:
        job = ledger.jobs[ledger.led(job_id)]
        if job.state is not JobState.SUBMITTING or job.submission != "unknown":
            raise ConflictError(
                f"{job_id} is {job.state.value} and its submission is {job.submission}; only a job whose "
                "submission is unknown can be sent again.",
                code="not_resubmittable",
            )
        ledger.put(replace(job, submission="sending"))
        # The file may be gone at the provider by now.
        tx.run("UPDATE submission SET uploaded = NULL WHERE job_id = :job_id", {"job_id": job.id})
        due = Due(job_id=job.id, step=Step.SUBMIT, provider=job.provider, run_at=now, lane=ASKED)
        tx.insert("due", rows.DUE, [rows.due_params(due)], conflict="ON CONFLICT DO NOTHING")
        tx.announce()
        ledger.note(job.id, step="submit", outcome="resubmitted", code="by_hand", now=now)
    ledger.flush()
    return [ledger.jobs[ledger.led(job_id)] for job_id, _ in items]


def hasten(tx: Transaction, items: Sequence[tuple[str, int]]) -> list[bool]:
    """Have the next look at jobs come at once: (job id, now); whether there is one that nobody is at."""
    answers = []
    for job_id, now in sorted(items):
        found = tx.run(
            "UPDATE due SET run_at = :now WHERE job_id = :job_id AND step = 'look' AND owner IS NULL "
            "AND run_at > :now RETURNING job_id",
            {"job_id": job_id, "now": now},
        )
        answers.append(bool(found))
    tx.announce()
    order = {item: place for place, item in enumerate(sorted(items))}
    return [answers[order[item]] for item in items]


class Link(Value, frozen=True, kw_only=True):
    """What a person knows: the id that the provider has for a job."""

    job_id: str
    provider: str
    remote_id: str
    now: int


def link(tx: Transaction, items: Sequence[Link]) -> list[Job | ConflictError]:
    """Give jobs the names that a person knows them by; the jobs as they are then, with whatever came under the name."""
    tx.be_sure()
    ledger = Ledger(tx)
    ledger.open((one.job_id for one in items), named=((one.provider, one.remote_id) for one in items))
    answers: list[Job | ConflictError] = []
    for item in items:
        job = ledger.get(item.job_id)
        if job is None:
            raise NotFoundError(f"No job {item.job_id} is stored.", code="job_not_found")
        if job.remote_id == item.remote_id:
            answers.append(job)  # whoever says again what is known is right
            continue
        conflict = _against(ledger, job, item)
        if conflict is not None:
            answers.append(conflict)
            continue
        ledger.note(
            job.id, step="submit", outcome="linked", code="by_hand", now=item.now, remote_id=item.remote_id
        )
        known = one_of_its_name(tx, ledger, job, item.remote_id, now=item.now)
        ledger.put(replace(known, remote_id=item.remote_id))
        known = learned(tx, ledger, job, look_ms=0, now=item.now)
        if not settled(known):
            ledger.look(known, run_at=item.now)
        answers.append(known)
    ledger.flush()
    return answers


def _against(ledger: Ledger, job: Job, item: Link) -> ConflictError | None:
    """Why a job cannot have that remote id."""
    if job.remote_id is not None:
        return ConflictError(
            f"{job.id} is called {job.remote_id} by its provider; that is known and stays.",
            code="remote_id_known",
        )
    if settled(job):
        return ConflictError(f"{job.id} has ended already: {job.state}.", code="job_ended")
    other = ledger.named(job.provider, item.remote_id)
    if other is not None and not same_work(job, other):
        return ConflictError(
            f"{item.remote_id} is another job that was submitted here, {other.id}.", code="remote_id_taken"
        )
    return None


def replay(tx: Transaction, items: Sequence[tuple[str, str | None, str, int]]) -> list[list[str]]:
    """Make new dispatches for ended jobs: (job id, handler or all, replay id, now); the handlers of each."""
    tx.be_sure()
    ledger = _load(tx, [item[0] for item in items])
    answers = []
    for job_id, handler, replay_id, now in items:
        job = ledger.jobs[ledger.led(job_id)]
        if not job.state.ended:
            raise ConflictError(
                f"{job_id} is {job.state.value}; only an ended job can be replayed.", code="job_not_ended"
            )
        made = ledger.dispatch(job, now=now, replay_id=replay_id, handler=handler)
        ledger.note(job.id, step="replay", outcome="made", code=replay_id, now=now, handlers=made)
        answers.append(made)
    ledger.flush()
    return answers


def readmit(tx: Transaction, items: Sequence[Readmission]) -> list[tuple[Receipt, list[str]]]:
    """Admit stored callbacks anew; where a job had ended already, its completion is dispatched again, if asked for."""
    tx.be_sure()
    ledger = Ledger(tx)
    ledger.open(
        (one.callback.job_id for one in items if one.callback.job_id is not None),
        named=(
            (one.callback.provider, one.examined.remote_id) for one in items if one.callback.job_id is None
        ),
    )
    verdicts = _verdicts(tx, [one.callback.id for one in items])
    answers = []
    for item in items:
        job = _job_of(tx, ledger, item, verdicts.get(item.callback.id))
        if isinstance(job, Receipt):
            answers.append((job, list[str]()))
            continue
        admission = decide(
            tx,
            ledger,
            job,
            item.examined,
            callback_id=item.callback.id,
            look_ms=item.terms.look_ms,
            now=item.now,
        )
        if item.callback.job_id is None or item.callback.verdict is Verdict.REJECTED:
            # It has not been counted before.
            ledger.count(ledger.led(job.id))
        job = after = ledger.jobs[ledger.led(job.id)]
        made: list[str] = []
        changed = admission.move is not None and admission.move.changed
        seen = item.examined.reading(after.delivery)
        # A notification stands for the end that it announced; mere progress stands for no completion.
        final = (
            not isinstance(seen, Unreadable)
            and admission.verdict is not Verdict.UNREADABLE
            and (seen.state is None or seen.state.ended)
        )
        before = item.callback
        told: dict[str, str | None] = {
            "callback": before.id,
            "verdict": admission.verdict.value,
            "by": item.by,
        }
        if before.verdict is not admission.verdict:
            # Its own row says from now on what it is; that it was something else is told here.
            told |= {"was": before.verdict.value, "was_code": before.code}
        if changed or item.callback.verdict in {Verdict.REJECTED, Verdict.UNREADABLE}:
            verdicts[item.callback.id] = admission.verdict
            tx.run(
                "UPDATE callback SET job_id = :job_id, verdict = :verdict, code = :code, key_id = :key_id, "
                "remote_id = :remote_id WHERE id = :id",
                {
                    "job_id": job.id,
                    "verdict": admission.verdict.value,
                    "code": admission.code,
                    "key_id": item.examined.key_id,
                    "remote_id": item.examined.remote_id,
                    "id": item.callback.id,
                },
            )
        if admission.move is not None and admission.move.completed:
            made = ledger.wanted(after)
        elif item.dispatch_again and not changed and final and after.state.ended:
            made = ledger.dispatch(after, now=item.now, replay_id=item.replay_id, handler=item.handler)
        ledger.note(
            job.id,
            step="replay",
            outcome="read",
            code=item.replay_id,
            now=item.now,
            **{name: value for name, value in told.items() if value},
        )
        answers.append((receipt(admission, after), made))
    ledger.flush()
    return answers


def _sending(item: NewJob) -> Due:
    leased = not item.free
    return Due(
        job_id=item.job.id,
        step=Step.SUBMIT,
        provider=item.job.provider,
        run_at=item.job.created_at + (item.lease_ms if leased else 0),
        attempt=int(leased),
        owner=item.owner if leased else None,
        lane=ASKED,
    )


def _free(item: NewJob) -> tuple[Any, ...]:
    """What its submission's row is set to, and its key."""
    due = _sending(item)
    return due.owner, due.attempt, due.run_at, due.job_id, due.step.value


def _by_key(tx: Transaction, key: str | None) -> list[tuple[Any, ...]]:
    if key is None:
        return []
    return tx.run("SELECT job_id, request_sha256 FROM submission WHERE idempotency_key = :key", {"key": key})


def _reused(key: str | None) -> ConflictError:
    return ConflictError(
        f"The idempotency key {key!r} was used for another request; take a new key for a new request.",
        code="idempotency_key_reused",
        field="idempotency_key",
    )


def _load(tx: Transaction, ids: Sequence[str]) -> Ledger:
    ledger = Ledger(tx)
    ledger.open(ids)
    for one in ids:
        if ledger.get(one) is None:
            raise NotFoundError(f"No job {one} is stored.", code="job_not_found")
    return ledger


def _verdicts(tx: Transaction, ids: Sequence[str]) -> dict[str, Verdict]:
    """Lock callbacks; what each one is now."""
    where, params = tx.among("id", sorted(set(ids)))
    found = tx.run(f"SELECT id, verdict FROM callback WHERE {where} ORDER BY id {{for_update}}", params)
    return {callback_id: Verdict(verdict) for callback_id, verdict in found}


def _job_of(tx: Transaction, ledger: Ledger, item: Readmission, verdict: Verdict | None) -> Job | Receipt:
    """The job that a callback is about, or what becomes of the callback if there is none; *verdict* is today's."""
    if verdict is None:
        # Quarantine may have dropped it since it was read, and a result must not point at it.
        raise NotFoundError(f"No callback {item.callback.id} is stored.", code="callback_not_found")
    if verdict is not item.callback.verdict:
        # Somebody else has admitted it since it was read: its end has its dispatches.
        return Receipt(verdict=Verdict.DUPLICATE, job_id=item.callback.job_id)
    if item.callback.job_id is not None:
        known = ledger.get(item.callback.job_id)
        return known or adopt(
            ledger, item.callback.provider, item.terms, now=item.now, job_id=item.callback.job_id
        )
    remote_id = item.examined.remote_id
    if remote_id is None:
        return Receipt(verdict=Verdict.UNREADABLE, code="job_unnamed")
    known = ledger.named(item.callback.provider, remote_id)
    if known is None and was_pruned(tx, item.callback.provider, remote_id):
        return Receipt(verdict=Verdict.DUPLICATE, code="job_pruned")
    return known or adopt(ledger, item.callback.provider, item.terms, now=item.now, remote_id=remote_id)
