"""Rows that say what is due for a job: found by their owner, planned anew, or deleted."""

from collections.abc import Sequence
from typing import Final

from receiver.core.job.urgency import ASKED
from receiver.core.model import Due, Job, Step
from receiver.storage import rows
from receiver.storage.driver import Row, Transaction

_FIND: Final = f"SELECT {rows.DUE} FROM due WHERE job_id = :job_id AND step = :step {{for_update}}"
_PLAN: Final = (
    "owner, run_at, expires_at, failures, spent_url, spent_by, result_url, candidate_id, lane, urgent_at, "
    "doubt_since"
)
_FORGET: Final = "DELETE FROM due WHERE job_id = :job_id AND step = :step"


def fenced(tx: Transaction, due: Due) -> Due | None:
    """The row as it is now, if it still is whose *due* was; a worker frozen past its lease settles nothing."""
    found: list[Row] = tx.run(_FIND, {"job_id": due.job_id, "step": due.step.value})
    stored = rows.due_of(found[0]) if found else None
    return (
        stored if stored is not None and (stored.owner, stored.attempt) == (due.owner, due.attempt) else None
    )


def is_spent_by(tx: Transaction, due: Due) -> bool:
    """Whether the row says that whoever owned *due* has begun the only GET of its result, whoever has it now."""
    found = tx.run(_FIND, {"job_id": due.job_id, "step": due.step.value})
    stored = rows.due_of(found[0]) if found else None
    return stored is not None and stored.spent_url is not None and stored.spent_by == due.owner


def disown(tx: Transaction, items: Sequence[str]) -> list[None]:
    """Record of jobs that whoever began the only GET of their results is gone, and has left nothing."""
    tx.update("due", "spent_by", [(None, one, Step.LOOK.value) for one in sorted(items)], key=rows.DUE_KEY)
    return [None] * len(items)


def reschedule(tx: Transaction, due: Due) -> None:
    """Give a row back, to be done again as it says."""
    plan = (
        None,
        due.run_at,
        due.expires_at,
        due.failures,
        due.spent_url,
        # An owner that settles the GET that it began itself holds no result back.
        None if due.spent_by == due.owner else due.spent_by,
        due.result_url,
        due.candidate_id,
        due.lane,
        due.urgent_at,
        due.doubt_since,
    )
    tx.update("due", _PLAN, [(*plan, due.job_id, due.step.value)], key=rows.DUE_KEY)


def forget(tx: Transaction, job_id: str, step: Step) -> None:
    """Have nothing of that kind done for a job any more."""
    tx.run(_FORGET, {"job_id": job_id, "step": step.value})


def request_cancel(tx: Transaction, job: Job, *, now: int) -> None:
    """Have the worker ask the provider to cancel *job*."""
    due = Due(job_id=job.id, step=Step.CANCEL, provider=job.provider, run_at=now, lane=ASKED)
    tx.insert("due", rows.DUE, [rows.due_params(due)], conflict="ON CONFLICT DO NOTHING")
    tx.announce()
