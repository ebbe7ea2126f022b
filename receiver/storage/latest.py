"""The newest events: never more are read than were asked for, so that a busy system can be shown, too."""

from receiver.core.identity import CALLBACK
from receiver.core.model import Attempt, Callback, Value
from receiver.storage import rows
from receiver.storage.arrived import COLUMNS
from receiver.storage.driver import Transaction


class Latest(Value, frozen=True, kw_only=True):
    """What happened since a time, each kind the newest first."""

    callbacks: list[Callback]
    #: Each with the provider of its job.
    attempts: list[tuple[str, Attempt]]
    #: Whether there was more than was asked for.
    more: bool


def latest(tx: Transaction, since: int, limit: int) -> Latest:
    """The newest callbacks and finished attempts from *since* on, at most *limit* of each."""
    found = tx.run(
        f"SELECT {COLUMNS} FROM callback WHERE id >= :since ORDER BY id DESC LIMIT :limit",
        {"since": f"{CALLBACK}_{since:012x}", "limit": limit},
    )
    columns = ", ".join(f"attempt.{name}" for name in rows.ATTEMPT.split(", "))
    ended = tx.run(
        f"SELECT (SELECT provider FROM job WHERE job.id = attempt.job_id), {columns} FROM attempt "
        "WHERE attempt.started_at + attempt.duration_ms >= :since "
        "ORDER BY attempt.started_at + attempt.duration_ms DESC LIMIT :limit",
        {"since": since, "limit": limit},
    )
    return Latest(
        callbacks=[rows.callback_of(row) for row in found],
        attempts=[(row[0] or "", rows.attempt_of(row[1:])) for row in ended],
        more=limit in {len(found), len(ended)},
    )
