"""Claiming what is due: a claim moves a row to the end of its lease, so a dead owner's work comes back.

There is no state "claimed" to clean up: a row is due when ``run_at`` has passed, whoever owned it before.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from receiver.core.model import HOUR, Dispatch, Due, HandlerSpec, Job, Value
from receiver.storage import rows
from receiver.storage.driver import Params, Transaction, names

#: A dispatch that no node has claimed for this long, for a handler that no node has, is dead.
MISSING_AFTER: Final = HOUR

_DUE = (
    f"SELECT {rows.DUE} FROM due WHERE run_at <= :now AND provider = :provider "
    # The result that is deleted first is fetched first.
    "ORDER BY CASE WHEN expires_at IS NULL THEN 1 ELSE 0 END, expires_at, run_at, job_id LIMIT :limit "
    "{for_update} {skip_locked}"
)
_LEASE_DUE = (
    "UPDATE due SET owner = :owner, attempt = attempt + 1, run_at = :until "
    "WHERE job_id = :job_id AND step = :step"
)
_CLAIM_LOOK = (
    "UPDATE due SET owner = :owner, attempt = attempt + 1, run_at = :until "
    "WHERE job_id = :job_id AND step = 'look' AND (owner IS NULL OR run_at <= :now) "
    f"RETURNING {rows.DUE}"
)
_CLAIM_DISPATCH = (
    "UPDATE dispatch SET owner = :owner, attempt = attempt + 1, run_at = :until "
    "WHERE (job_id, handler, replay_id) IN ("
    "SELECT job_id, handler, replay_id FROM dispatch "
    "WHERE state = 'ready' AND handler = :handler AND run_at <= :now ORDER BY run_at, job_id LIMIT :limit "
    "{for_update} {skip_locked}) "
    f"RETURNING {rows.DISPATCH}"
)
_decode = msgspec.json.decode


class Claim(Value, frozen=True, kw_only=True):
    """A worker's wish for due steps of one provider."""

    owner: str
    provider: str
    limit: int
    lease_ms: int
    now: int


class Claimed(Value, frozen=True, kw_only=True):
    """A due row that is ours until its lease ends, with its job."""

    due: Due
    job: Job
    #: Whether an earlier owner's lease lapsed, so that nobody knows how far it came.
    lapsed: bool


class LookClaim(Value, frozen=True, kw_only=True):
    """A person's wish that a job be looked at now, whenever its next look is due."""

    job_id: str
    owner: str
    lease_ms: int
    now: int


class HandlerClaim(Value, frozen=True, kw_only=True):
    """A worker's wish for dispatches of one handler."""

    owner: str
    handler: str
    limit: int
    lease_ms: int
    now: int


def claim(tx: Transaction, items: Sequence[Claim]) -> list[list[Claimed]]:
    """Claim due steps; for each wish a list, the most urgent first."""
    answers = []
    for item in items:
        found = [
            rows.due_of(row)
            for row in tx.run(_DUE, {"now": item.now, "provider": item.provider, "limit": item.limit})
        ]
        until = item.now + item.lease_ms
        tx.many(
            _LEASE_DUE,
            [
                {"owner": item.owner, "until": until, "job_id": one.job_id, "step": one.step.value}
                for one in found
            ],
        )
        jobs = load_jobs(tx, [one.job_id for one in found])
        answers.append(
            [
                Claimed(
                    due=replace(one, owner=item.owner, attempt=one.attempt + 1, run_at=until),
                    job=jobs[one.job_id],
                    lapsed=one.owner is not None,
                )
                for one in found
                if one.job_id in jobs
            ]
        )
    return answers


def claim_looks(tx: Transaction, items: Sequence[LookClaim]) -> list[Claimed | None]:
    """Claim the next look at single jobs; ``None`` where there is none, or where someone is at it."""
    answers: list[Claimed | None] = []
    for item in items:
        until = item.now + item.lease_ms
        params = {"owner": item.owner, "job_id": item.job_id, "now": item.now, "until": until}
        found = tx.run(_CLAIM_LOOK, params)
        job = load_jobs(tx, [item.job_id]).get(item.job_id) if found else None
        answers.append(None if job is None else Claimed(due=rows.due_of(found[0]), job=job, lapsed=False))
    return answers


def claim_dispatches(tx: Transaction, items: Sequence[HandlerClaim]) -> list[list[tuple[Dispatch, Job]]]:
    """Claim dispatches; for each wish a list of dispatches with their jobs, metadata included."""
    answers = []
    for item in items:
        params = {
            "owner": item.owner,
            "until": item.now + item.lease_ms,
            "handler": item.handler,
            "now": item.now,
            "limit": item.limit,
        }
        found = [rows.dispatch_of(row) for row in tx.run(_CLAIM_DISPATCH, params)]
        jobs = load_jobs(tx, [one.job_id for one in found], metadata=True)
        answers.append([(one, jobs[one.job_id]) for one in found if one.job_id in jobs])
    return answers


def load_jobs(tx: Transaction, ids: Sequence[str], *, metadata: bool = False) -> dict[str, Job]:
    """Read jobs by id, without locking them; unknown ids are absent."""
    if not ids:
        return {}
    where, params = names("id", sorted(set(ids)))
    found = tx.run(f"SELECT {rows.JOB} FROM job WHERE id IN ({where})", params)
    jobs = {row[0]: rows.job_of(row) for row in found}
    if metadata:
        sql = f"SELECT job_id, metadata FROM submission WHERE job_id IN ({where})"
        for job_id, text in tx.run(sql, params):
            jobs[job_id] = replace(jobs[job_id], metadata=_decode(text))
    return jobs


def heartbeat(tx: Transaction, items: Sequence[Params]) -> list[None]:
    """Extend every lease of an owner: ``{owner, now, until, handlers}``; the handlers are marked as alive."""
    for item in items:
        lease = {"owner": item["owner"], "until": item["until"]}
        tx.run("UPDATE due SET run_at = :until WHERE owner = :owner", lease)
        tx.run("UPDATE dispatch SET run_at = :until WHERE owner = :owner", lease)
        tx.many(
            "UPDATE handler SET seen_at = :now WHERE name = :name",
            [{"now": item["now"], "name": name} for name in item["handlers"]],
        )
    return [None] * len(items)


def release(tx: Transaction, items: Sequence[Params]) -> list[None]:
    """Give leases back at once: ``{owner, now}``; with owner ``None``, everybody's (the only process starts).

    A submission keeps its owner, so that it is still known that somebody may have sent it.
    """
    for item in items:
        sql = "owner IS NOT NULL" if item["owner"] is None else "owner = :owner"
        tx.run(f"UPDATE due SET run_at = :now WHERE step = 'submit' AND {sql}", item)
        tx.run(f"UPDATE due SET run_at = :now, owner = NULL WHERE step <> 'submit' AND {sql}", item)
        tx.run(f"UPDATE dispatch SET run_at = :now, owner = NULL WHERE {sql}", item)
    return [None] * len(items)


def register(tx: Transaction, items: Sequence[tuple[Sequence[HandlerSpec], bool, int]]) -> list[None]:
    """Register the handlers of a node: (handlers, whether they are the only ones, now)."""
    for specs, only, now in items:
        if only:
            tx.run("DELETE FROM handler")
        tx.many(
            "INSERT INTO handler (name, provider, state, seen_at) VALUES (:name, :provider, :state, :now) "
            "ON CONFLICT (name) DO UPDATE SET provider = excluded.provider, state = excluded.state, "
            "seen_at = excluded.seen_at",
            [{"name": s.name, "provider": s.provider, "state": s.state, "now": now} for s in specs],
        )
    return [None] * len(items)


def reap(tx: Transaction, items: Sequence[int]) -> list[int]:
    """Bury the dispatches of handlers that no node has had for an hour; return how many."""
    answers = []
    for now in items:
        found = tx.run(
            "UPDATE dispatch SET state = 'dead', owner = NULL, error_code = 'handler_missing', error_text = :text "
            "WHERE state = 'ready' AND run_at < :before AND handler NOT IN "
            "(SELECT name FROM handler WHERE seen_at >= :before) RETURNING job_id",
            {
                "before": now - MISSING_AFTER,
                "text": "No node has had this handler for an hour; deploy it again, then retry this dispatch.",
            },
        )
        answers.append(len(found))
    return answers
