"""Which files are claimed, however many are due and from however many origins."""

from collections.abc import Iterable
from functools import partial

import pytest
from msgspec.structs import replace

from receiver.core.file import Download
from receiver.storage import downloads
from receiver.storage.downloads import DownloadClaim
from receiver.storage.files import DOWNLOAD
from tests.core.making import NOW
from tests.storage.making import LEASE, Desk
from tests.storage.reads import counted


@pytest.mark.parametrize(
    ("due", "origins"), [(60, 3), (1500, 3), (1500, 260)], ids=["few", "many", "many, from many origins"]
)
async def test_what_is_deleted_first_is_claimed_first(desk: Desk, due: int, origins: int) -> None:
    """As far as its origin has room and is not left alone; what is not due is not claimed, however soon it goes."""
    one = await desk.submitted()
    rows = [
        Download(
            job_id=one.id,
            number=n,
            provider=one.provider,
            url=f"https://o{n % origins}.example/{n}",
            origin=f"https://o{n % origins}.example",
            largest=1,
            run_at=NOW if n < due else NOW + 1,
            expires_at=NOW + 10_000 - n,
        )
        for n in range(due + 40)
    ]
    with desk.store.driver.write() as tx:
        tx.insert("download", DOWNLOAD.columns, [DOWNLOAD.row(row) for row in rows])
    wish = DownloadClaim(
        owner="n",
        limit=12,
        each=8,
        busy={"https://o1.example": 6},
        closed={"https://o2.example"},
        lease_ms=LEASE,
        now=NOW,
    )
    room = {f"https://o{n}.example": 8 for n in range(origins)} | {
        "https://o1.example": 2,
        "https://o2.example": 0,
    }
    expected: list[int] = []
    for row in sorted(rows[:due], key=lambda row: row.expires_at):
        if len(expected) < wish.limit and room[row.origin]:
            room[row.origin] -= 1
            expected.append(row.number)
    claimed = await desk.store.write(downloads.claim, wish)
    assert sorted(fetching.download.number for fetching in claimed) == sorted(expected)
    after = await desk.store.write(downloads.claim, wish)
    assert not {fetching.download.number for fetching in after} & set(expected)


FEW, MANY = 3_000, 18_000
CLAIM = DownloadClaim(owner="n", limit=12, each=8, busy={}, closed=(), lease_ms=LEASE, now=NOW)


def put(desk: Desk, origins: Iterable[str], *, job_id: str) -> None:
    """Have a file wait at each of these; those of the first are deleted first, and have waited longest."""
    rows = [
        Download(
            job_id=job_id,
            number=n,
            provider="acme",
            url=f"{origin}/{n}",
            origin=origin,
            largest=1,
            run_at=NOW - MANY + n,
            expires_at=NOW + n,
        )
        for n, origin in enumerate(origins)
    ]
    with desk.store.driver.write() as tx:
        tx.run("DELETE FROM download")
        tx.insert("download", DOWNLOAD.columns, [DOWNLOAD.row(row) for row in rows])


async def test_what_is_read_does_not_grow_with_the_origins(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six times as many files wait at six times as many origins, all but one of which are left alone."""
    reads = await counted(url, monkeypatch)
    desk, read = Desk(reads.store), []
    for many in (FEW, MANY):
        shut = [f"https://shut-{n % (many // 3):05}.example" for n in range(many)]
        put(desk, [*shut, "https://open.example"], job_id="job_1")
        reads.learn()
        claim = replace(CLAIM, closed=frozenset(shut))
        read.append(reads.of(partial(downloads.claim, items=[claim])))
    await reads.store.close()
    assert read[1] < 1.5 * read[0]


async def test_every_origin_has_its_turn(desk: Desk) -> None:
    """A file of an origin that nobody leaves alone is claimed, however many of others wait before it."""
    shut = [f"https://shut-{n % 900:05}.example" for n in range(6_000)]
    job = await desk.submitted()
    put(desk, [*shut, "https://zoo.example"], job_id=job.id)
    claim, turns = replace(CLAIM, closed=frozenset(shut)), 0
    while not (found := await desk.store.write(downloads.claim, claim)):
        claim = replace(claim, after=await desk.store.read(downloads.turn, claim.after))
        turns += 1
        assert turns < 6
    assert [one.download.origin for one in found] == ["https://zoo.example"]
    assert turns == 4
    assert await desk.store.read(downloads.turn, claim.after) == ""
