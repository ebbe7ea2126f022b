"""Keeping and deleting: by the end of a job, in small transactions, and a digest outlives the row."""

from collections.abc import Sequence
from typing import Final

from receiver.core.model import DAY, Value
from receiver.storage.arrivals import remote_digest
from receiver.storage.driver import Transaction, names

#: Nothing of a job is deleted before this long after its end: senders retry for 76 hours.
SHORTEST: Final = 4 * DAY
BATCH: Final = 200

_TABLES: Final = {
    "attempt": "job_id",
    "dispatch": "job_id",
    "due": "job_id",
    "result_chunk": "job_id",
    "callback": "job_id",
    "submission": "job_id",
    "job": "id",
}


class Prune(Value, frozen=True, kw_only=True):
    """One batch: jobs that ended before *before*, from *after* on in the order of ids."""

    before: int
    after: str = ""
    now: int
    dry_run: bool = False


class Pruned(Value, frozen=True, kw_only=True):
    """What a batch deleted; ``after`` begins the next one, ``None`` when there is none."""

    jobs: int
    callbacks: int
    after: str | None


def prune(tx: Transaction, items: Sequence[Prune]) -> list[Pruned]:
    """Delete one batch of ended jobs with everything of theirs; dead dispatches keep their job."""
    return [_prune(tx, item) for item in items]


def _prune(tx: Transaction, item: Prune) -> Pruned:
    scanned = tx.run(
        "SELECT id, provider, remote_id, ended_at FROM job WHERE id > :after ORDER BY id LIMIT :limit",
        {"after": item.after, "limit": BATCH},
    )
    after = scanned[-1][0] if len(scanned) == BATCH else None
    old = [row for row in scanned if row[3] is not None and row[3] < item.before]
    ids = [row[0] for row in old]
    if ids:
        where, params = names("id", ids)
        kept = {
            row[0]
            for row in tx.run(f"SELECT job_id FROM dispatch WHERE job_id IN ({where})", params)  # noqa: S608
        }
        old = [row for row in old if row[0] not in kept]
        ids = [row[0] for row in old]
    if not ids:
        return Pruned(jobs=0, callbacks=0, after=after)
    where, params = names("id", ids)
    count = tx.run(f"SELECT count(*) FROM callback WHERE job_id IN ({where})", params)[0][0]  # noqa: S608
    if not item.dry_run:
        digests = [
            {"digest": remote_digest(row[1], row[2]), "now": item.now} for row in old if row[2] is not None
        ]
        tx.many(
            "INSERT INTO pruned (digest, pruned_at) VALUES (:digest, :now) ON CONFLICT DO NOTHING",
            sorted(digests, key=lambda one: bytes(one["digest"])),
        )
        for table, column in _TABLES.items():
            tx.run(f"DELETE FROM {table} WHERE {column} IN ({where})", params)  # noqa: S608
    return Pruned(jobs=len(ids), callbacks=count, after=after)
