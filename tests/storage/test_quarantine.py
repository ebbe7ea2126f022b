"""What is not believed is kept within bounds, and changes nothing."""

import asyncio

from receiver.core.model import Verdict
from receiver.storage.arrivals import Quota
from tests.core.making import NOW
from tests.storage.making import ACME, DONE, WIDE, Desk, arrival, callback

QUOTA = Quota(entries=20, size=100_000)


async def test_a_rejected_callback_changes_nothing(desk: Desk) -> None:
    """It is kept in quarantine, is not counted, and a genuine one after it is no duplicate."""
    await desk.register("h")
    one = await desk.submitted()
    forged = callback(ACME, DONE, job_id=one.id, rejected="signature_mismatch")
    receipt = await desk.store.ingest(arrival(forged))
    assert (receipt.verdict, receipt.code, receipt.completed) == (
        Verdict.REJECTED,
        "signature_mismatch",
        False,
    )
    assert (await desk.store.job(one.id)) == one
    assert (await desk.call(one, DONE)).completed


async def test_quarantine_is_bounded_apart_for_those_with_a_token(desk: Desk) -> None:
    """A flood of anonymous forgeries pushes out neither the named ones nor another provider's."""
    one = await desk.submitted()
    named = [callback(ACME, DONE, job_id=one.id, at=NOW, rejected="x") for _ in range(5)]
    flood = [callback(ACME, DONE, at=NOW + n, rejected="x") for n in range(300)]
    other = [callback(WIDE, DONE, rejected="x") for _ in range(5)]
    await asyncio.gather(*(desk.store.ingest(arrival(c, quota=QUOTA)) for c in [*named, *flood, *other]))
    assert desk.count("callback", "job_id IS NOT NULL") == 5
    assert desk.count("callback", "provider = 'wide'") == 5
    kept = desk.count("callback", "job_id IS NULL AND provider = 'acme'")
    assert QUOTA.entries * 0.8 <= kept <= QUOTA.entries
    newest = desk.rows("SELECT max(received_at) FROM callback")[0][0]
    assert newest == NOW + 299


async def test_quarantine_is_bounded_by_size(desk: Desk) -> None:
    """A few large forgeries are as unwelcome as many small ones."""
    for n in range(30):
        await desk.store.ingest(arrival(callback(ACME, b"x" * 20_000, at=NOW + n, rejected="x"), quota=QUOTA))
        assert desk.rows("SELECT sum(length(body)) FROM callback")[0][0] <= QUOTA.size
    assert desk.count("callback") >= 2


async def test_one_that_is_large_pushes_out_no_more_than_it_takes(desk: Desk) -> None:
    """Of some that fill quarantine nearly, the newest stay: a fifth does not empty it."""
    for n in range(5):
        sent = callback(ACME, b"x" * 30_000, at=NOW + n, rejected="x")
        await desk.store.ingest(arrival(sent, quota=QUOTA))
    kept = desk.rows("SELECT received_at FROM callback ORDER BY received_at")
    assert [at for (at,) in kept] == [NOW + 2, NOW + 3, NOW + 4]


async def test_quarantine_keeps_its_size_when_some_leave_it(desk: Desk) -> None:
    """What a replay admitted or a pruning deleted takes up no room that others need."""
    one = await desk.submitted()
    for n in range(QUOTA.entries):
        sent = callback(ACME, {"status": "working"}, job_id=one.id, at=NOW + n, rejected="x")
        await desk.store.ingest(arrival(sent, quota=QUOTA))
        await desk.readmit(sent.id, at=NOW + n)
    for n in range(15):
        sent = callback(ACME, DONE, job_id=one.id, at=NOW + n, rejected="x")
        await desk.store.ingest(arrival(sent, quota=QUOTA))
    assert desk.count("callback", "verdict = 'rejected'") == 15
