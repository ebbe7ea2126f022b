"""The reader: rows that are asked for together are read together, and none of them suffers from another."""

import asyncio
import threading

import pytest

from receiver.core.errors import NotFoundError, StoreUnavailableError
from receiver.core.model import Callback
from receiver.storage import feed, reader
from receiver.storage.driver import Transaction
from receiver.storage.store import Store
from tests.storage.making import ACME, DONE, Desk, arrival, callback, transactions


async def stored(desk: Desk, count: int) -> list[Callback]:
    """So many callbacks that are in the record."""
    one = await desk.submitted()
    sent = [callback(ACME, DONE, job_id=one.id) for _ in range(count)]
    await asyncio.gather(*(desk.store.ingest(arrival(each)) for each in sent))
    return sent


async def test_rows_that_are_asked_for_together_are_read_together(desk: Desk) -> None:
    """One transaction for all of them, and each asker gets its own; who asks for what is not there is told alone."""
    sent = await stored(desk, 5)
    reads = transactions(desk.store.driver, "read")
    *found, missing, job = await asyncio.gather(
        *(desk.store.callback(one.id) for one in sent),
        desk.store.callback("cb_" + "0" * 32),
        desk.store.job(str(sent[0].job_id)),
        return_exceptions=True,
    )
    assert len(reads) == 1
    assert [one.id for one in found if isinstance(one, Callback)] == [one.id for one in sent]
    assert isinstance(missing, NotFoundError)
    assert not isinstance(job, BaseException)


async def test_a_row_that_cannot_be_read_takes_no_other_with_it(desk: Desk) -> None:
    """What is broken is broken for whoever asks for it."""
    sent = await stored(desk, 3)
    with desk.store.driver.write() as tx:
        tx.run("UPDATE callback SET headers = :broken WHERE id = :id", {"broken": b"{", "id": sent[1].id})
    found = await asyncio.gather(*(desk.store.callback(one.id) for one in sent), return_exceptions=True)
    assert [isinstance(one, Exception) for one in found] == [False, True, False]
    assert not isinstance(found[1], StoreUnavailableError)


async def test_who_no_longer_waits_keeps_nobody_from_the_answer(desk: Desk) -> None:
    """A cancelled question is passed over."""
    sent = await stored(desk, 2)
    asked = [asyncio.create_task(desk.store.callback(one.id)) for one in sent]
    await asyncio.sleep(0)
    asked[0].cancel()
    assert (await asked[1]).id == sent[1].id
    assert asked[0].cancelled()


async def test_what_nobody_waits_for_any_more_is_not_read(desk: Desk) -> None:
    """While every thread is held up askers give up; once they are free, they begin with what is still wanted."""
    (sent,) = await stored(desk, 1)
    reads = transactions(desk.store.driver, "read")
    held, free = threading.Semaphore(0), threading.Event()

    def hold(_tx: Transaction) -> None:
        held.release()
        free.wait(30)

    holding = [asyncio.create_task(desk.store.read(hold)) for _ in range(reader._THREADS)]
    for _ in holding:
        await asyncio.to_thread(held.acquire)
    for _ in range(20):
        asked = asyncio.create_task(desk.store.callback(sent.id))
        await asyncio.sleep(0.001)
        asked.cancel()
    wanted = asyncio.create_task(desk.store.callback(sent.id))
    await asyncio.sleep(0.001)
    free.set()
    assert (await wanted).id == sent.id
    await asyncio.gather(*holding)
    assert len(reads) == reader._THREADS + 1


async def test_a_closed_store_reads_nothing(url: str) -> None:
    """It says so, instead of never answering."""
    store = await Store.open(url)
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await store.job("job_" + "0" * 32)
    with pytest.raises(StoreUnavailableError, match="is closed"):
        await store.read(feed.last)
