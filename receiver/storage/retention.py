"""Keeping and deleting: by the end of a job, in small transactions, and a digest outlives the row."""

from collections.abc import Sequence
from typing import Final

from receiver.core.model import DAY, Value
from receiver.storage.arrivals import remote_digest
from receiver.storage.driver import Params, Transaction, names

#: Nothing of a job is deleted before this long after its end: senders retry for 76 hours.
SHORTEST: Final = 4 * DAY
#: How long the digest of a pruned job outlives it: senders retry for days, not for months.
_DIGESTS: Final = 90 * DAY
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
    before = min(item.before, item.now - SHORTEST)
    old = [row for row in scanned if row[3] is not None and row[3] < before]
    nameless = _prune_nameless(tx, before, dry_run=item.dry_run) if not item.after else 0
    ids = [row[0] for row in old]
    if ids:
        where, params = names("id", ids)
        kept = {row[0] for row in tx.run(f"SELECT job_id FROM dispatch WHERE job_id IN ({where})", params)}
        old = [row for row in old if row[0] not in kept]
        ids = [row[0] for row in old]
    if not ids:
        return Pruned(jobs=0, callbacks=nameless, after=after)
    where, params = names("id", ids)
    count = tx.run(f"SELECT count(*) FROM callback WHERE job_id IN ({where})", params)[0][0]
    if not item.dry_run:
        tx.run("DELETE FROM pruned WHERE pruned_at < :before", {"before": item.now - _DIGESTS})
        digests = [
            {"digest": remote_digest(row[1], row[2]), "now": item.now} for row in old if row[2] is not None
        ]
        tx.many(
            "INSERT INTO pruned (digest, pruned_at) VALUES (:digest, :now) ON CONFLICT DO NOTHING",
            sorted(digests, key=lambda one: bytes(one["digest"])),
        )
        _release_quarantine(tx, where, params)
        for table, column in _TABLES.items():
            tx.run(f"DELETE FROM {table} WHERE {column} IN ({where})", params)
    return Pruned(jobs=len(ids), callbacks=count + nameless, after=after)


def _prune_nameless(tx: Transaction, before: int, *, dry_run: bool) -> int:
    """Delete old unreadable callbacks that named no job: with none to follow, their own age decides."""
    found = tx.run(
        "SELECT id FROM callback WHERE verdict = 'unreadable' AND job_id IS NULL AND received_at < :before "
        "ORDER BY id",
        {"before": before},
    )
    if not dry_run:
        tx.many("DELETE FROM callback WHERE id = :id", [{"id": row[0]} for row in found])
    return len(found)


def _release_quarantine(tx: Transaction, where: str, params: Params) -> None:
    """Take the rejected callbacks that go with their jobs off quarantine's tally."""
    found = tx.run(
        "SELECT provider, count(*), sum(length(body) + length(headers)) FROM callback "
        f"WHERE verdict = 'rejected' AND job_id IN ({where}) GROUP BY provider ORDER BY provider",
        params,
    )
    tx.many(
        "UPDATE quarantine SET entries = entries - :entries, bytes = bytes - :bytes "
        "WHERE provider = :provider AND named = 1",
        [{"provider": provider, "entries": entries, "bytes": size} for provider, entries, size in found],
    )
