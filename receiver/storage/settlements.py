"""Settling submissions and cancellations: the outcome, the job's next state and the timeline in one commit.

Every settlement is fenced by (owner, attempt): a worker that was frozen past its lease settles nothing.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from receiver.core.errors import NotFoundError
from receiver.core.identity import ATTEMPT, new_id
from receiver.core.job import transition
from receiver.core.model import Attempt, Due, Failure, Held, Job, JobState, Observation, Source, Step, Value
from receiver.core.reading.given import Given
from receiver.storage import dues
from receiver.storage.admitting import learned, one_of_its_name
from receiver.storage.claims import lock_jobs
from receiver.storage.driver import Transaction
from receiver.storage.ledger import Ledger
from receiver.storage.results import keep_answer, write_chunks

_LOGGED: Final = "SELECT 1 FROM attempt WHERE job_id = :job_id AND id = :id"


class SubmitSettled(Value, frozen=True, kw_only=True):
    """The end of a submission: exactly one of ``seen``, ``refused``, ``retry_at``; none means unknown."""

    due: Due
    seen: Observation | None = None
    held: Held | None = None
    content: bytes | None = None
    #: All that the provider said, where that is how the job ended.
    given: Given | None = None
    refused: Failure | None = None
    retry_at: int | None = None
    patient: bool = False  # it only waited for its turn, which is no failure
    unsure: bool = False  # some attempt may have been taken by the provider
    answer_status: int | None = None
    answer_body: bytes | None = None
    sealed_key: bytes | None = None
    first_look_at: int
    log: Attempt
    now: int
    #: Whether it may have been settled already, by a commit whose answer was lost.
    again: bool = False


class CancelSettled(Value, frozen=True, kw_only=True):
    """The end of an attempt to cancel; with ``retry_at`` it is tried again."""

    due: Due
    seen: Observation | None = None
    retry_at: int | None = None
    log: Attempt
    now: int


def settle_submits(tx: Transaction, items: Sequence[SubmitSettled]) -> list[Job]:
    """Settle submissions; the jobs as they are then."""
    ledger = Ledger(tx)
    # Callbacks that came before this answer wait for the name that it brings.
    ledger.open(
        (item.due.job_id for item in items),
        named=((item.due.provider, item.seen.remote_id) for item in items if item.seen is not None),
    )
    for item in items:
        if item.due.job_id not in ledger.jobs:
            raise NotFoundError(f"No job {item.due.job_id} is stored.", code="job_not_found")
        if not (item.again and tx.run(_LOGGED, {"job_id": item.due.job_id, "id": item.log.id})):
            _settle_submit(tx, ledger, item)
    ledger.flush()
    return [ledger.jobs[item.due.job_id] for item in items]


def settle_cancels(tx: Transaction, items: Sequence[CancelSettled]) -> list[Job]:
    """Settle cancellations; the jobs as they are then."""
    ledger = Ledger(tx)
    ledger.open(item.due.job_id for item in items)
    for item in items:
        job = ledger.get(item.due.job_id)
        if job is None or dues.fenced(tx, item.due) is None:
            continue
        ledger.log(item.log)
        if item.retry_at is not None:
            dues.reschedule(tx, replace(item.due, run_at=item.retry_at, failures=item.due.failures + 1))
            continue
        dues.forget(tx, job.id, Step.CANCEL)
        if item.seen is not None:
            ledger.carry_out(
                transition.observe(job, item.seen, source=Source.CANCEL, now=item.now), now=item.now
            )
        elif not job.state.ended:
            ledger.look(job, run_at=item.now)
    ledger.flush()
    return [ledger.jobs[ledger.led(item.due.job_id)] for item in items]


def uploaded(tx: Transaction, items: Sequence[tuple[Due, str]]) -> list[bool]:
    """Commit that the file is uploaded that a job is made of; whether its submission still was its owner's."""
    tx.be_sure()
    lock_jobs(tx, [due.job_id for due, _ in items])
    answers = []
    for due, file_id in items:
        ours = dues.fenced(tx, due) is not None
        if ours:
            tx.run(
                "UPDATE submission SET uploaded = :file_id WHERE job_id = :job_id",
                {"file_id": file_id, "job_id": due.job_id},
            )
        answers.append(ours)
    return answers


def chunks(tx: Transaction, items: Sequence[tuple[str, int, int, bytes]]) -> list[None]:
    """Write chunks of results that are still arriving: (job id, part, first number, content)."""
    for job_id, part, first, content in items:
        # They may be there: whoever did not hear that they were stored writes them again.
        write_chunks(tx, job_id, part=part, content=content, first=first, conflict="ON CONFLICT DO NOTHING")
    return [None] * len(items)


def _settle_submit(tx: Transaction, ledger: Ledger, item: SubmitSettled) -> None:
    job, now = ledger.jobs[item.due.job_id], item.now
    due = dues.fenced(tx, item.due)
    if item.answer_status is not None:
        tx.run(
            "UPDATE submission SET answer_status = :status, answer_body = :body WHERE job_id = :job_id",
            {"status": item.answer_status, "body": item.answer_body, "job_id": job.id},
        )
    if item.sealed_key is not None:
        tx.run(
            "UPDATE submission SET sealed_key = :key WHERE job_id = :job_id",
            {"key": item.sealed_key, "job_id": job.id},
        )
    if item.seen is not None:
        # An accepted submission counts even if its lease has lapsed: it is how we learn the remote id.
        ledger.log(item.log)
        dues.forget(tx, job.id, Step.SUBMIT)
        _accept(tx, ledger, job, item)
        return
    if due is None:
        return
    ledger.log(item.log)
    if item.retry_at is not None:
        failures = due.failures + (not item.patient)
        dues.reschedule(tx, replace(due, run_at=item.retry_at, failures=failures))
        if item.unsure:
            ledger.put(replace(job, submission="unsure"))
        return
    dues.forget(tx, job.id, Step.SUBMIT)
    if item.refused is not None:
        ledger.carry_out(transition.refused(job, item.refused, now=now), now=now)
    else:
        ledger.carry_out(transition.submission_unknown(job), now=now)
    job = ledger.jobs[job.id]
    if not job.state.ended:
        ledger.look(job, run_at=job.deadline_at if job.remote_id is None else item.first_look_at)


def _accept(tx: Transaction, ledger: Ledger, job: Job, item: SubmitSettled) -> None:
    now = item.now
    assert item.seen is not None  # noqa: S101  (the caller looked)
    if job.remote_id is not None and item.seen.remote_id not in {None, job.remote_id}:
        ledger.note(job.id, step="submit", outcome="noted", code="remote_id_conflict", now=now)
    before = job
    job = one_of_its_name(tx, ledger, job, item.seen.remote_id, now=now)
    move = transition.submitted(job, item.seen, now=now, held=item.held)
    if item.content is not None and move.taken:
        write_chunks(tx, job.id, part=0, content=item.content)
    move = keep_answer(tx, move, item.given)
    ledger.carry_out(move, now=now)
    learned(tx, ledger, before, look_ms=None, now=now)
    job = ledger.jobs[job.id]
    if not job.state.ended:
        waiting = job.woken_by is not None or job.state is JobState.FETCHING
        ledger.look(job, run_at=now if waiting else min(item.first_look_at, job.deadline_at))


def timeline(job_id: str, *, step: str, started_at: int, now: int, outcome: str, **more: Any) -> Attempt:  # noqa: ANN401
    """A line for a job's timeline."""
    return Attempt(
        id=new_id(ATTEMPT, started_at),
        job_id=job_id,
        step=step,
        started_at=started_at,
        duration_ms=max(now - started_at, 0),
        outcome=outcome,
        **more,
    )
