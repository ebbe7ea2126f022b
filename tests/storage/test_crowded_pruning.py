"""However many unreadable callbacks there are, one batch of pruning looks at so many, and a dry run counts like it."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
from msgspec.structs import replace

from receiver.core.identity import CALLBACK, JOB
from receiver.core.model import DAY, Callback, Verdict
from receiver.storage import retention, rows
from receiver.storage.retention import Prune
from tests.core.making import NOW
from tests.storage.reads import Reads, counted

FEW, MANY = 6_000, 36_000
#: Within so many times what it takes where there is little.
SAME = 1.5
OLD = NOW - 30 * DAY
PROVIDERS = ("acme", "other", "third")


@pytest.fixture
async def reads(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reads]:
    """A store with nothing in it, where less is looked at."""
    monkeypatch.setattr(retention, "_LOOKED_AT", 100)
    found = await counted(url, monkeypatch)
    yield found
    await found.store.close()


def unreadable(n: int) -> Callback:
    """One that was not understood: of most nobody knows which job it was about."""
    at = OLD + n
    return Callback(
        id=f"{CALLBACK}_{at:012x}{n:020x}",
        provider=PROVIDERS[n % 3],
        route="webhooks",
        job_id=f"{JOB}_{at:012x}{n:020x}" if n % 4 == 0 else None,
        received_at=at,
        headers=(),
        body=b"<html>",
        verdict=Verdict.UNREADABLE,
    )


def fill(reads: Reads, many: int) -> None:
    """Have *many* of them."""
    with reads.store.driver.write() as tx:
        tx.run("DELETE FROM callback")
        tx.insert("callback", rows.CALLBACK, [rows.callback_params(unreadable(n)) for n in range(many)])
    reads.learn()


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_batch_reads_no_more_where_there_is_more(reads: Reads, *, dry_run: bool) -> None:
    """Six times as many callbacks were not understood: the first batch, and one far behind, read as much."""
    read = []
    for many in (FEW, MANY):
        fill(reads, many)
        place = f"{retention._OVER} other {unreadable(many // 2).id}"
        begins = Prune(before=NOW, now=NOW, dry_run=dry_run)
        read.append(
            [
                reads.of(partial(retention.prune, items=[one]))
                for one in (begins, replace(begins, after=place))
            ]
        )
    few, much = read
    assert [
        (little, lot) for little, lot in zip(few, much, strict=True) if lot > SAME * max(little, 100)
    ] == []


async def test_a_dry_run_counts_what_a_prune_deletes(reads: Reads) -> None:
    """Batch by batch, of every provider; what named a job stays until that goes, and what is young stays, too."""
    fill(reads, 900)
    before = OLD + 800
    counts = []
    for dry_run in (True, False):
        after: str | None = ""
        found = []
        while after is not None:
            pruned = await reads.store.prune(Prune(before=before, after=after, now=NOW, dry_run=dry_run))
            found.append(pruned.callbacks)
            after = pruned.after
        assert len(found) > 800 // 100
        counts.append(sum(found))
    assert counts == [600, 600]
    with reads.store.driver.read() as tx:
        assert tx.run("SELECT count(*), min(received_at) FROM callback WHERE job_id IS NULL") == [
            (75, OLD + 801)
        ]
        assert tx.run("SELECT count(*) FROM callback WHERE job_id IS NOT NULL") == [(225,)]
