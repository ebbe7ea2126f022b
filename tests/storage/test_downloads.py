"""Which files are claimed, however many are due and from however many origins."""

import pytest

from receiver.core.file import Download
from receiver.storage import downloads
from receiver.storage.downloads import DownloadClaim
from receiver.storage.files import DOWNLOAD
from tests.core.making import NOW
from tests.storage.making import LEASE, Desk


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
