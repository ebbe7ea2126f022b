"""Dispatches: claimed by a worker, settled by their owner, or, when they are dead, retried or dropped by a person."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from receiver.core.model import Attempt, Dispatch, Failure, Job, Value
from receiver.storage import rows
from receiver.storage.claims import LEASE
from receiver.storage.driver import Transaction, split
from receiver.storage.ledger import Ledger
from receiver.storage.results import with_result

_READY = (
    f"SELECT {rows.DISPATCH} FROM dispatch WHERE state = 'ready' AND handler = :handler AND run_at <= :now "
    "ORDER BY run_at, job_id LIMIT :limit {for_update} {skip_locked}"
)
#: Bytes up to which a result comes along with the claim of a dispatch.
_SMALL_RESULT: Final = 64 * 1024
_JOBS: Final = f"""
    SELECT {", ".join(f"wanted.{name}" for name in split(rows.JOB))}, submission.metadata,
        CASE WHEN wanted.held_size <= :most
            THEN substr(callback.body, CAST(held_offset AS INTEGER) + 1, CAST(held_size AS INTEGER)) END
    FROM (SELECT {rows.JOB} FROM job WHERE {{ids}}) AS wanted
    LEFT JOIN submission ON submission.job_id = wanted.id
    LEFT JOIN callback ON callback.id = wanted.held_callback"""
_decode = msgspec.json.decode


class DispatchClaim(Value, frozen=True, kw_only=True):
    """A worker's wish for dispatches: at most so many of each handler."""

    owner: str
    limits: Mapping[str, int]
    lease_ms: int
    now: int


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


Wish: TypeAlias = DispatchSettled | DispatchClaim
Answer: TypeAlias = bool | list[tuple[Dispatch, Job]]


def work(tx: Transaction, items: Sequence[Wish]) -> list[Answer]:
    """Settle attempts, and claim what is next, in one transaction.

    The answers are, in the order of *items*: for an attempt, whether it still was its owner's; for a claim, the
    dispatches, those of each handler the oldest first, with their jobs, metadata and small results included.
    """
    settled = iter(_settle(tx, [one for one in items if isinstance(one, DispatchSettled)]))
    return [next(settled) if isinstance(one, DispatchSettled) else _claim(tx, one) for one in items]


def _claim(tx: Transaction, item: DispatchClaim) -> list[tuple[Dispatch, Job]]:
    until = item.now + item.lease_ms
    leased = [
        rows.dispatch_of((*before, until, attempt + 1, item.owner, created_at, error, text))
        for handler, limit in sorted(item.limits.items())
        for *before, _run_at, attempt, _owner, created_at, error, text in tx.run(
            _READY, {"handler": handler, "now": item.now, "limit": limit}
        )
    ]
    tx.update("dispatch", LEASE, [rows.dispatch_params(one) for one in leased], key=rows.DISPATCH_KEY)
    jobs = {job.id: job for job in _jobs(tx, {one.job_id for one in leased})}
    return [(one, jobs[one.job_id]) for one in leased if one.job_id in jobs]


def _jobs(tx: Transaction, ids: Collection[str]) -> Iterator[Job]:
    """Jobs with their metadata, and with their results where these are small and lie in a callback."""
    if not ids:
        return
    where, params = tx.among("id", sorted(ids))
    for *row, metadata, content in tx.run(_JOBS.format(ids=where), params | {"most": _SMALL_RESULT}):
        job = rows.job_of(tuple(row))
        if metadata is not None and (given := _decode(metadata)):
            job = replace(job, metadata=given)
        yield job if content is None else with_result(job, bytes(content))


def _settle(tx: Transaction, items: Sequence[DispatchSettled]) -> list[bool]:
    if not items:
        return []
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
