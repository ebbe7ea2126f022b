"""The writer: what waits is committed together, refused at once when too much waits, and never forgotten in silence."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from receiver.core.errors import StoreUnavailableError
from receiver.storage import writer
from receiver.storage.driver import ContendedError
from receiver.storage.store import Store
from tests.storage.making import ACME, DONE, Desk, arrival, callback, new_job


@contextmanager
def held_up(store: Store) -> Iterator[None]:
    """The writer gets no transaction until the block ends: another thread of this process has the only one."""
    begun, enough = threading.Event(), threading.Event()

    def hold() -> None:
        with store.driver.write():
            begun.set()
            enough.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(30)
    try:
        yield
    finally:
        enough.set()
        thread.join()


async def caught(store: Store) -> asyncio.Future[Any]:
    """A wish that the writer, held up, has already taken: whatever follows it waits."""
    wish = asyncio.ensure_future(store.submit(new_job()))
    await asyncio.sleep(0)
    while store._writer._waiting:  # noqa: ASYNC110  (the writer is a thread and tells nobody what it takes)
        await asyncio.sleep(0.001)
    return wish


async def test_a_closed_store_refuses_at_once(url: str) -> None:
    """What waits at the close is committed; what comes after it is refused, not forgotten."""
    store = await Store.open(url)
    wishes = [asyncio.ensure_future(store.submit(new_job())) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert all(created for _, created in await asyncio.gather(*wishes))
    with pytest.raises(StoreUnavailableError):
        await store.submit(new_job())
    again = await Store.open(url)
    assert Desk(again).count("job") == 50
    await again.close()


async def test_a_full_queue_refuses_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database is gone, memory stays bounded; what was taken on is committed once it is back."""
    monkeypatch.setattr(writer, "MOST_WAITING", 10)
    with held_up(store):
        first = await caught(store)
        wishes = [asyncio.ensure_future(store.submit(new_job())) for _ in range(40)]
        done, waiting = await asyncio.wait(wishes, timeout=0.1)
        assert len(done) == 30
        assert all(isinstance(one.exception(), StoreUnavailableError) for one in done)
    await asyncio.gather(first, *waiting)
    assert Desk(store).count("job") == 11


async def test_a_caller_that_went_away_harms_nobody(store: Store) -> None:
    """Its wish is committed all the same, and those of others with it."""
    jobs = [asyncio.ensure_future(store.submit(new_job())) for _ in range(20)]
    await asyncio.sleep(0)
    for one in jobs[::2]:
        one.cancel()
    await asyncio.gather(*jobs[1::2])
    await asyncio.wait(jobs)
    assert Desk(store).count("job") == 20


async def test_what_waits_longer_than_its_caller_is_dropped(store: Store) -> None:
    """A sender that was told to try again leaves nothing behind, neither a row nor what it sent; others stay."""
    desk = Desk(store)
    with held_up(store):
        first = await caught(store)
        body = b"x" * 100_000
        late = [store.ingest(arrival(callback(ACME, body, rejected="x")), patience=0.05) for _ in range(20)]
        kept = asyncio.ensure_future(store.ingest(arrival(callback(ACME, DONE, rejected="x"))))
        answers = await asyncio.gather(*late, return_exceptions=True)
        assert all(isinstance(one, StoreUnavailableError) for one in answers)
        assert [wish.item is None for wish in store._writer._waiting].count(True) == 20
    await asyncio.gather(first, kept)
    assert (desk.count("job"), desk.count("callback")) == (1, 1)


async def test_what_was_in_the_way_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadlock, or the same new key at the same moment, is nothing that a caller hears of."""
    write, asked = store.driver.write, 0

    def contended(**options: Any) -> Any:  # noqa: ANN401
        nonlocal asked
        asked += 1
        if asked < 3:
            raise ContendedError("deadlock detected")
        return write(**options)

    monkeypatch.setattr(store.driver, "write", contended)
    await store.submit(new_job())
    assert asked == 3


async def test_a_database_that_goes_away_is_not_asked_for_each_of_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wishes that are tried one by one are given up together: each attempt to connect takes seconds."""
    asked = 0

    def gone(**_options: Any) -> Any:  # noqa: ANN401
        nonlocal asked
        asked += 1
        if asked <= 3:
            raise ContendedError("deadlock detected")
        raise StoreUnavailableError("gone")

    with held_up(store):
        first = await caught(store)
        wishes = [asyncio.ensure_future(store.submit(new_job())) for _ in range(50)]
        await asyncio.sleep(0)
        monkeypatch.setattr(store.driver, "write", gone)
    await first
    answers = await asyncio.gather(*wishes, return_exceptions=True)
    assert all(isinstance(one, StoreUnavailableError) for one in answers)
    assert asked == 4


async def test_a_lone_wish_wakes_the_writer_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a quiet day threads that hand over to each other are most of what a callback costs."""
    rings, bell = 0, store._writer._bell
    ring = bell.ring

    def counted() -> None:
        nonlocal rings
        rings += 1
        ring()

    monkeypatch.setattr(bell, "ring", counted)
    for _ in range(20):
        await store.submit(new_job())
        # Until the answer has left, and long enough for whoever would ring because of it.
        for _ in range(5):
            await asyncio.sleep(0)
    assert rings == 20


async def test_a_loop_that_is_held_up_holds_up_no_other(store: Store) -> None:
    """Answers are waited for only so long: the event loop that has them to give may be busy with something else."""
    answered, enough = threading.Event(), threading.Event()

    async def blocking() -> None:
        await store.submit(new_job())
        answered.set()
        enough.wait(30)

    other = threading.Thread(target=asyncio.run, args=(blocking(),))
    other.start()
    try:
        await asyncio.to_thread(answered.wait, 30)
        await asyncio.wait_for(store.submit(new_job()), 20)
    finally:
        enough.set()
        other.join()


def test_a_bell_is_heard_by_whoever_listens_later() -> None:
    """No news is lost between a look at what waits and the wait for more; rung twice it is heard once."""
    bell = writer._Bell()
    bell.ring()
    bell.ring()
    assert (bell.wait(0), bell.wait(0)) == (True, False)
