"""Dispatches after a claim: settled by their owner, or, when they are dead, retried or dropped by a person."""

from collections.abc import Sequence
from typing import Any

from receiver.core.model import Attempt, Failure, Value
from receiver.storage import rows
from receiver.storage.driver import Transaction
from receiver.storage.ledger import Ledger


class DispatchSettled(Value, frozen=True, kw_only=True):
    """The end of an attempt of a dispatch: *succeeded*, or failed with ``retry_at``, or dead."""

    job_id: str
    handler: str
    replay_id: str
    owner: str
    attempt: int
    outcome: str
    retry_at: int | None = None
    error: Failure | None = None
    log: Attempt


def settle(tx: Transaction, items: Sequence[DispatchSettled]) -> list[bool]:
    """Settle attempts of dispatches; whether each one still was its owner's."""
    ledger = Ledger(tx)
    stored = _locked(tx, [item.job_id for item in items])
    finished: list[dict[str, Any]] = []
    again: list[dict[str, Any]] = []
    answers = []
    for item in items:
        key = (item.job_id, item.handler, item.replay_id)
        # Settled once, it is nobody's: whoever settles it again in the same transaction comes too late.
        ours = stored.get(key) == (item.owner, item.attempt)
        answers.append(ours)
        if not ours:
            continue
        del stored[key]
        ledger.log(item.log)
        named = {"job_id": item.job_id, "handler": item.handler, "replay_id": item.replay_id}
        if item.outcome in {"succeeded", "discarded"}:
            finished.append(named)
            continue
        error = item.error or Failure(code=item.outcome)
        again.append(
            named
            | {
                "owner": None,
                "state": "dead" if item.retry_at is None else "ready",
                "run_at": item.log.started_at if item.retry_at is None else item.retry_at,
                "error_code": error.code,
                "error_text": error.text,
            }
        )
    tx.delete("dispatch", finished, key=rows.DISPATCH_KEY)
    tx.update("dispatch", "owner, state, run_at, error_code, error_text", again, key=rows.DISPATCH_KEY)
    ledger.flush()
    return answers


def _locked(tx: Transaction, ids: Sequence[str]) -> dict[tuple[str, str, str], tuple[str | None, int]]:
    """Lock the dispatches of jobs; whose each one is, and which attempt it is at."""
    where, params = tx.among("job_id", sorted(set(ids)))
    found = tx.run(
        f"SELECT {rows.DISPATCH_KEY}, owner, attempt FROM dispatch WHERE {where} "
        f"ORDER BY {rows.DISPATCH_KEY} {{for_update}}",
        params,
    )
    return {(row[0], row[1], row[2]): (row[3], row[4]) for row in found}


def retry(tx: Transaction, items: Sequence[tuple[str, str, str, int]]) -> list[bool]:
    """Give dead dispatches a fresh row of attempts: (job id, handler, replay id, now)."""
    _locked(tx, [item[0] for item in items])
    return [
        bool(
            tx.run(
                "UPDATE dispatch SET state = 'ready', owner = NULL, attempt = 0, run_at = :now "
                "WHERE job_id = :job_id AND handler = :handler AND replay_id = :replay_id AND state = 'dead' "
                "RETURNING job_id",
                {"job_id": job_id, "handler": handler, "replay_id": replay_id, "now": now},
            )
        )
        for job_id, handler, replay_id, now in items
    ]


def discard(tx: Transaction, items: Sequence[tuple[str, str, str, int]]) -> list[bool]:
    """Drop dead dispatches for good: (job id, handler, replay id, now); the timeline keeps a line."""
    _locked(tx, [item[0] for item in items])
    ledger = Ledger(tx)
    answers = []
    for job_id, handler, replay_id, now in items:
        found = tx.run(
            "DELETE FROM dispatch WHERE job_id = :job_id AND handler = :handler AND replay_id = :replay_id "
            "AND state = 'dead' RETURNING job_id",
            {"job_id": job_id, "handler": handler, "replay_id": replay_id},
        )
        if found:
            ledger.note(
                job_id, step="dispatch", outcome="discarded", code="by_hand", now=now, handler=handler
            )
        answers.append(bool(found))
    ledger.flush()
    return answers
