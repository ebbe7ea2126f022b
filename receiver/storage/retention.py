"""Retention: ended jobs are deleted in small transactions; a digest of each callback outlives its row."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from receiver.core.identity import CALLBACK, DEED, JOB
from receiver.core.model import DAY, Value
from receiver.storage import feed, rows
from receiver.storage.arrivals import remote_digest
from receiver.storage.driver import Row, Transaction

#: Nothing of a job is deleted before this long after its end: senders retry for 76 hours.
SHORTEST: Final = 4 * DAY
#: How long the digest of a pruned job outlives it: senders retry for days, not for months.
_DIGESTS: Final = 90 * DAY
BATCH: Final = 200
#: So many unreadable callbacks are looked at for those that named no job: with none to follow, their own age decides.
_LOOKED_AT: Final = 1000
_UNREADABLE: Final = f"verdict = 'unreadable' AND {rows.UNSETTLED}"
#: What stands in a place where nothing is left.
_OVER: Final = "-"

_TABLES: Final = {
    "attempt": "job_id",
    "audit": "job_id",
    "dispatch": "job_id",
    "download": "job_id",
    "file": "job_id",
    "due": "job_id",
    "page": "job_id",
    "result_chunk": "job_id",
    "spent": "job_id",
    "submission": "job_id",
    "united": "into_id",
    "job": "id",
}


class Prune(Value, frozen=True, kw_only=True):
    """One batch of what ended before *before*."""

    before: int
    #: Where it begins: empty, or what the batch before said.
    after: str = ""
    now: int
    dry_run: bool = False


class Pruned(Value, frozen=True, kw_only=True):
    """What a batch deleted: rows by table, as the database counted them; ``after`` begins the next one."""

    deleted: dict[str, int] = {}
    after: str | None = None

    @property
    def jobs(self) -> int:
        """How many jobs."""
        return self.deleted.get("job", 0)

    @property
    def callbacks(self) -> int:
        """How many callbacks."""
        return self.deleted.get("callback", 0)


def prune(tx: Transaction, items: Sequence[Prune]) -> list[Pruned]:
    """Delete one batch of ended jobs with everything of theirs; dead dispatches keep their job."""
    return [_prune(tx, item) for item in items]


def _prune(tx: Transaction, item: Prune) -> Pruned:
    before = min(item.before, item.now - SHORTEST)
    deleted = Counter[str]()
    job, _, callback = item.after.partition(" ")
    scanned: list[Row] = []
    if job != _OVER:
        # An id begins with the time of its making, and a job ends after that: nothing beyond can be old enough.
        scanned = tx.run(
            "SELECT id, provider, remote_id, ended_at, first_callback FROM job WHERE id > :after AND id < :end "
            "ORDER BY id LIMIT :limit {for_update} {skip_locked}",
            {"after": job, "end": f"{JOB}_{max(before, 0):012x}", "limit": BATCH},
        )
        job = scanned[-1][0] if len(scanned) == BATCH else _OVER
    if callback != _OVER:
        deleted["callback"], callback = _prune_nameless(tx, before, callback, dry_run=item.dry_run)
    after = None if job == callback == _OVER else f"{job} {callback}"
    if not item.dry_run:
        deleted["audit"] += _prune_deeds(tx, before)
        deleted["completion"] += feed.forget(tx, before=before)
    old = {row[0]: row for row in scanned if row[3] is not None and row[3] < before}
    if old:
        where, params = tx.among("job_id", list(old))
        for (job_id,) in tx.run(f"SELECT DISTINCT job_id FROM dispatch WHERE {where}", params):
            del old[job_id]
    if old:
        ids = list(old)
        if not item.dry_run:
            _remember(tx, old.values(), now=item.now)
            _release_quarantine(tx, ids)
        for table, where, params in _belongings(tx, old):
            if item.dry_run:
                deleted[table] += tx.run(f"SELECT count(*) FROM {table} WHERE {where}", params)[0][0]
            else:
                deleted[table] += len(tx.run(f"DELETE FROM {table} WHERE {where} RETURNING 1", params))
    return Pruned(deleted=dict(+deleted), after=after)


def _belongings(tx: Transaction, old: Mapping[str, Row]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Everything of some jobs: tables, each with the condition for the rows that are theirs."""
    firsts = [row[4] for row in old.values() if row[4] is not None]
    if firsts:
        yield ("callback", *tx.among("id", firsts))
    where, params = tx.among("job_id", list(old))
    yield "callback", f"{where} AND is_first = 0", params
    for table, column in _TABLES.items():
        yield (table, *tx.among(column, list(old)))


def _remember(tx: Transaction, old: Iterable[Row], *, now: int) -> None:
    """Keep the digests of what is deleted, and drop those that no retry can ask for any more."""
    tx.run("DELETE FROM pruned WHERE pruned_at < :before", {"before": now - _DIGESTS})
    digests = [(remote_digest(row[1], row[2]), now) for row in old if row[2] is not None]
    tx.insert(
        "pruned",
        "digest, pruned_at",
        sorted(digests),
        conflict="ON CONFLICT DO NOTHING",
    )


def _prune_nameless(tx: Transaction, before: int, after: str, *, dry_run: bool) -> tuple[int, str]:
    """Delete old unreadable callbacks that named no job: how many, and after which the next batch begins.

    Of each provider, and then of the next one: that is how they stand in their index.
    """
    locking = "" if dry_run else "{for_update} {skip_locked}"
    provider, _, last = after.partition(" ")
    left, nameless = _LOOKED_AT, list[str]()
    while left:
        found = tx.run(
            f"SELECT id, job_id, received_at FROM callback WHERE {_UNREADABLE} AND provider = :provider "
            f"AND id > :last AND id < :end ORDER BY id LIMIT :left {locking}",
            {"provider": provider, "last": last, "end": f"{CALLBACK}_{max(before, 0):012x}", "left": left},
        )
        nameless += [row[0] for row in found if row[1] is None and row[2] < before]
        if len(found) == left:
            last = found[-1][0]
            break
        left -= len(found)
        [(following,)] = tx.run(
            f"SELECT min(provider) FROM callback WHERE {_UNREADABLE} AND provider > :provider",
            {"provider": provider},
        )
        if following is None:
            provider = _OVER
            break
        provider, last = following, ""
    if not dry_run:
        tx.delete("callback", [(one,) for one in sorted(nameless)], key="id")
    return len(nameless), provider if provider == _OVER else f"{provider} {last}"


def _prune_deeds(tx: Transaction, before: int) -> int:
    """Forget who did what by hand, where it was about no single job; how many of them."""
    return len(
        tx.run(
            "DELETE FROM audit WHERE job_id IS NULL AND id < :before RETURNING 1",
            {"before": f"{DEED}_{max(before, 0):012x}"},
        )
    )


def _release_quarantine(tx: Transaction, ids: Sequence[str]) -> None:
    """Take the rejected callbacks that go with their jobs off quarantine's tally; none of them is a job's first."""
    where, params = tx.among("job_id", ids)
    if not tx.run(
        f"SELECT 1 FROM callback WHERE verdict = 'rejected' AND is_first = 0 AND {where} LIMIT 1", params
    ):
        return
    # Held before they are counted, or another node's flood could drop some in between, and off the tally too.
    tx.run("SELECT provider FROM quarantine WHERE named = 1 ORDER BY provider {for_update}")
    found = tx.run(
        "SELECT provider, count(*), sum(length(body) + length(headers)) FROM callback "
        f"WHERE verdict = 'rejected' AND is_first = 0 AND {where} GROUP BY provider ORDER BY provider",
        params,
    )
    for provider, entries, size in found:
        tx.run(
            "UPDATE quarantine SET entries = entries - :entries, bytes = bytes - :bytes "
            "WHERE provider = :provider AND named = 1",
            {"provider": provider, "entries": entries, "bytes": size},
        )
