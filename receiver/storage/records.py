"""Recording what people and programs ask for: new jobs, cancellations, second tries, replays."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from receiver.core.errors import ConflictError, NotFoundError
from receiver.core.job import transition
from receiver.core.job.standing import gathering, settled
from receiver.core.job.uniting import same_work
from receiver.core.job.urgency import ASKED
from receiver.core.model import Due, Job, JobState, Step, Value
from receiver.storage import downloads, rows
from receiver.storage.admitting import learned, one_of_its_name
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
