"""Settling what was claimed: its outcome, the job's next state and the timeline in one commit.

Every settlement is fenced by (owner, attempt): a worker that was frozen past its lease settles nothing.
"""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from receiver.core import transition, urgency
from receiver.core.identity import ATTEMPT, new_id
from receiver.core.model import Attempt, Due, Failure, Held, Job, JobState, Observation, Source, Step, Value
from receiver.core.transition import Move
from receiver.core.urgency import ASKED
from receiver.storage import rows
from receiver.storage.arrivals import admit_held
from receiver.storage.claims import lock_jobs
from receiver.storage.driver import Row, Transaction
from receiver.storage.ledger import Ledger
from receiver.storage.results import drop_look, unfolded, write_chunks

_FIND = f"SELECT {rows.DUE} FROM due WHERE job_id = :job_id AND step = :step {{for_update}}"
_PLAN = "owner, run_at, expires_at, failures, spent_url, result_url, candidate_id, lane, urgent_at"
_FORGET = "DELETE FROM due WHERE job_id = :job_id AND step = :step"
#: Of failures in a row, this many are written to the timeline; the attempt numbers show the gap.
_LOGGED_FAILURES = 3


class Finding(Value, frozen=True, kw_only=True):
    """What a look at the provider found; nothing set means "not yet"."""

    seen: Observation | None = None
    #: Where the result is stored if it came along, and the result itself, to be stored in this commit.
    held: Held | None = None
    content: bytes | None = None
    gone: bool = False
    lost: bool = False
    overdue: bool = False
    failed: bool = False
    #: Whether the address that was tried is to be asked for anew.
    stale_url: bool = False
    #: Whether a single-use address surely was not used up by the attempt.
    unspent: bool = False


class LookSettled(Value, frozen=True, kw_only=True):
    """The end of a poll or fetch."""

    due: Due
    #: The wake-up that it answers.
    woken_by: str | None
    #: The provider's id of the job, as far as it was known when the look was claimed.
    remote_id: str | None
    finding: Finding
    log: Attempt
    next_at: int
    now: int


class SubmitSettled(Value, frozen=True, kw_only=True):
    """The end of a submission: exactly one of ``seen``, ``refused``, ``retry_at``; none means unknown."""

    due: Due
    seen: Observation | None = None
    held: Held | None = None
    content: bytes | None = None
    refused: Failure | None = None
    retry_at: int | None = None
    unsure: bool = False  # some attempt may have been taken by the provider
    answer_status: int | None = None
    answer_body: bytes | None = None
    sealed_key: bytes | None = None
    first_look_at: int
    log: Attempt
    now: int


class CancelSettled(Value, frozen=True, kw_only=True):
    """The end of an attempt to cancel; with ``retry_at`` it is tried again."""

    due: Due
    seen: Observation | None = None
    retry_at: int | None = None
    log: Attempt
    now: int


def settle_looks(tx: Transaction, items: Sequence[LookSettled]) -> list[Move | None]:
    """Settle polls and fetches; the move each one made, or ``None`` where it came too late."""
    ledger = Ledger(tx)
    # A wake-up may name another job's id, also while we asked, so whoever has that name is looked up as well.
    ledger.open(
        (item.due.job_id for item in items),
        named=(
            (item.due.provider, item.finding.seen.remote_id)
            for item in items
            if item.remote_id is None and item.finding.seen is not None
        ),
    )
    answers = [_settle_look(tx, ledger, item) for item in items]
    ledger.flush()
    return answers


def settle_submits(tx: Transaction, items: Sequence[SubmitSettled]) -> list[Job]:
    """Settle submissions; the jobs as they are then."""
    ledger = Ledger(tx)
    # Callbacks that came before this answer wait for the name that it brings.
    ledger.open(
        (item.due.job_id for item in items),
        named=((item.due.provider, item.seen.remote_id) for item in items if item.seen is not None),
    )
    for item in items:
        _settle_submit(tx, ledger, item)
    ledger.flush()
    return [ledger.jobs[item.due.job_id] for item in items]


def settle_cancels(tx: Transaction, items: Sequence[CancelSettled]) -> list[Job]:
    """Settle cancellations; the jobs as they are then."""
    ledger = Ledger(tx)
    ledger.open(item.due.job_id for item in items)
    for item in items:
        if _fenced(tx, item.due) is None:
            continue
        job = ledger.jobs[item.due.job_id]
        ledger.log(item.log)
        if item.retry_at is not None:
            _reschedule(tx, replace(item.due, run_at=item.retry_at, failures=item.due.failures + 1))
            continue
        tx.run(_FORGET, {"job_id": job.id, "step": Step.CANCEL.value})
        if item.seen is not None:
            ledger.carry_out(
                transition.observe(job, item.seen, source=Source.CANCEL, now=item.now), now=item.now
            )
        elif not job.state.ended:
            ledger.look(job, run_at=item.now)
    ledger.flush()
    return [ledger.jobs[item.due.job_id] for item in items]


def spend(tx: Transaction, items: Sequence[tuple[Due, str]]) -> list[bool]:
    """Commit that the fetch of a single-use address begins; whether the row still was its owner's."""
    lock_jobs(tx, [due.job_id for due, _ in items])
    answers = []
    for due, url in items:
        found = tx.run(
            "UPDATE due SET spent_url = :url WHERE job_id = :job_id AND step = :step AND owner = :owner "
            "AND attempt = :attempt RETURNING job_id",
            {
                "url": url,
                "job_id": due.job_id,
                "step": due.step.value,
                "owner": due.owner,
                "attempt": due.attempt,
            },
        )
        answers.append(bool(found))
    return answers


def chunks(tx: Transaction, items: Sequence[tuple[str, int, int, bytes]]) -> list[None]:
    """Write chunks of results that are still arriving: (job id, part, first number, content)."""
    for job_id, part, first, content in items:
        write_chunks(tx, job_id, part=part, content=content, first=first)
    return [None] * len(items)


def _settle_look(tx: Transaction, ledger: Ledger, item: LookSettled) -> Move | None:
    job, finding, now = ledger.jobs[item.due.job_id], item.finding, item.now
    due = _fenced(tx, item.due)
    if due is None:
        _superseded(tx, ledger, item)
        return None
    if finding.seen is not None and due.candidate_id is not None and _taken(ledger, job, finding.seen):
        # A wake-up named the id of another job of ours: what the provider said is about that one.
        finding = Finding(failed=True)
        item = replace(
            item, finding=finding, log=replace(item.log, outcome="failed", code="answer_for_another_job")
        )
        due = replace(due, candidate_id=None)
    move = _look_move(job, item)
    if _telling(due, move, finding):
        ledger.log(item.log)
    if move is not None:
        if finding.content is not None and move.completed:
            write_chunks(tx, job.id, part=item.due.attempt, content=finding.content)
        ledger.carry_out(move, now=now)
        if move.completed:
            return move
    # What this look began to store is of no use to the next.
    drop_look(tx, job.id, attempt=item.due.attempt)
    _look_again(tx, ledger, due, item, move)
    return move


def _superseded(tx: Transaction, ledger: Ledger, item: LookSettled) -> None:
    job, seen = ledger.jobs[item.due.job_id], item.finding.seen
    ours = {item.due.attempt, unfolded(item.due.attempt)}
    if job.held is None or job.held.callback_id is not None or job.held.offset not in ours:
        drop_look(tx, job.id, attempt=item.due.attempt)
    if job.state.ended and seen is not None and seen.state is not None:
        # Somebody else settled the job while we asked: what we heard is kept as evidence.
        ledger.log(replace(item.log, outcome="superseded"))


def _look_again(tx: Transaction, ledger: Ledger, due: Due, item: LookSettled, move: Move | None) -> None:
    job, finding, now = ledger.jobs[due.job_id], item.finding, item.now
    run_at = now if move is not None and move.look_now else item.next_at
    if job.woken_by == item.woken_by and not finding.failed and job.succeeded_at is None:
        ledger.put(job := replace(job, woken_by=None))
    elif job.woken_by != item.woken_by:
        run_at = now  # a wake-up came while we asked
    if job.woken_by in {None, item.woken_by} and not transition.worth_looking(
        job, failed=finding.failed, now=now
    ):
        ledger.put(replace(job, woken_by=None))
        tx.run(_FORGET, {"job_id": job.id, "step": Step.LOOK.value})
        return
    new_url = move.result_url if move is not None else None
    # A callback may have named another address while this one was tried.
    stale = finding.stale_url and due.result_url == item.due.result_url
    expires_at = transition.expires_at(job)
    urgent_at = urgency.urgent_at(job, expires_at)
    _reschedule(
        tx,
        replace(
            due,
            run_at=run_at,
            expires_at=expires_at,
            lane=urgency.lane(job, run_at=run_at, urgent_at=urgent_at),
            urgent_at=urgent_at,
            failures=_failures(due, job, finding),
            spent_url=None if finding.unspent else due.spent_url,
            result_url=new_url or (None if stale else due.result_url),
            candidate_id=None if finding.seen is not None else due.candidate_id,
        ),
    )


def _look_move(job: Job, item: LookSettled) -> Move | None:
    finding, now = item.finding, item.now
    if finding.overdue:
        return transition.overdue(job, now=now)
    if finding.gone:
        return transition.gone(job, source=Source.POLL, now=now)
    if finding.lost:
        return transition.lost(job, source=Source.POLL, now=now)
    if finding.seen is None:
        return None
    move = transition.observe(job, finding.seen, source=Source.POLL, now=now, held=finding.held)
    if finding.seen.result_url is not None and job.state is JobState.FETCHING and not move.completed:
        return replace(move, changed=True, look_now=True, result_url=finding.seen.result_url)
    return move


def _taken(ledger: Ledger, job: Job, seen: Observation) -> bool:
    if job.remote_id is not None or seen.remote_id is None:
        return False
    return ledger.named(job.provider, seen.remote_id) is not None


def _failures(due: Due, job: Job, finding: Finding) -> int:
    if finding.failed:
        return due.failures + 1
    # A poll that names an address again must not hide that fetching from there keeps failing.
    return due.failures if job.state is JobState.FETCHING else 0


def _telling(due: Due, move: Move | None, finding: Finding) -> bool:
    """Whether a look belongs in the timeline: a job polled for hours must not fill it with "not yet"."""
    if finding.failed:
        return due.failures < _LOGGED_FAILURES
    return move is not None and move.changed


def _settle_submit(tx: Transaction, ledger: Ledger, item: SubmitSettled) -> None:
    job, now = ledger.jobs[item.due.job_id], item.now
    due = _fenced(tx, item.due)
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
        tx.run(_FORGET, {"job_id": job.id, "step": Step.SUBMIT.value})
        _accept(tx, ledger, job, item)
        return
    if due is None:
        return
    ledger.log(item.log)
    if item.retry_at is not None:
        _reschedule(tx, replace(due, run_at=item.retry_at, failures=due.failures + 1))
        if item.unsure:
            ledger.put(replace(job, submission="unsure"))
        return
    tx.run(_FORGET, {"job_id": job.id, "step": Step.SUBMIT.value})
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
    move = transition.submitted(job, item.seen, now=now, held=item.held)
    if item.content is not None and move.completed:
        write_chunks(tx, job.id, part=0, content=item.content)
    ledger.carry_out(move, now=now)
    job = ledger.jobs[job.id]
    if not move.completed and not job.state.ended:
        waiting = job.woken_by is not None or job.state is JobState.FETCHING
        ledger.look(job, run_at=now if waiting else min(item.first_look_at, job.deadline_at))
    if job.remote_id is not None:
        job = admit_held(tx, ledger, job, now=now)
    if job.cancel_requested_at is not None and not job.state.ended:
        request_cancel(tx, job, now=now)


def request_cancel(tx: Transaction, job: Job, *, now: int) -> None:
    """Have the worker ask the provider to cancel *job*."""
    due = Due(job_id=job.id, step=Step.CANCEL, provider=job.provider, run_at=now, lane=ASKED)
    tx.insert("due", rows.DUE, [rows.due_params(due)], conflict="ON CONFLICT DO NOTHING")
    tx.announce()


def _fenced(tx: Transaction, due: Due) -> Due | None:
    found: list[Row] = tx.run(_FIND, {"job_id": due.job_id, "step": due.step.value})
    stored = rows.due_of(found[0]) if found else None
    return (
        stored if stored is not None and (stored.owner, stored.attempt) == (due.owner, due.attempt) else None
    )


def _reschedule(tx: Transaction, due: Due) -> None:
    plan = (
        None,
        due.run_at,
        due.expires_at,
        due.failures,
        due.spent_url,
        due.result_url,
        due.candidate_id,
        due.lane,
        due.urgent_at,
    )
    tx.update("due", _PLAN, [(*plan, due.job_id, due.step.value)], key=rows.DUE_KEY)


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
