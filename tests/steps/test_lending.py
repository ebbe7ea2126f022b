"""Lending: results are in memory once for all handlers of a job, bounded in all, or read piece by piece."""

import asyncio
import hashlib
import os
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.core.errors import StoreUnavailableError
from receiver.core.model import Held, Job
from receiver.files.folder import Folder
from receiver.steps.lending import Lending, Pieces
from receiver.storage.results import CHUNK
from receiver.storage.store import Store
from tests.core.making import NOW, job

MIB = 1024 * 1024


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store."""
    opened = await Store.open(f"sqlite:///{tmp_path}/receiver.db")
    yield opened
    await opened.close()


def lends(store: Store, **options: int) -> Lending:
    """Whoever lends its results."""
    return Lending(store, files=Folder(Path("nowhere"), floor=0), **options)


async def fetched(store: Store, name: str, content: bytes) -> Job:
    """A job whose result lies in chunks of its own."""
    for number, start in enumerate(range(0, len(content), CHUNK)):
        await store.write_chunks(name, part=1, first=number, content=content[start : start + CHUNK])
    held = Held(offset=1, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    return job(id=name, held=held, created_at=NOW)


async def test_all_handlers_of_a_job_share_one_copy(store: Store) -> None:
    """Also while it is being read; one that gives up takes it from nobody, and it goes once the last has ended."""
    one = await fetched(store, "job_1", os.urandom(4 * MIB))
    lending = lends(store)
    end, all_here = asyncio.Event(), asyncio.Event()
    seen: list[bytes] = []

    async def handler() -> None:
        async with lending.lend(one) as lent:
            assert lent.result is not None
            seen.append(lent.result.content)
            if len(seen) == 3:
                all_here.set()
            await end.wait()

    first, *others = (asyncio.create_task(handler()) for _ in range(4))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(40):
        await all_here.wait()
    assert len({id(content) for content in seen}) == 1
    assert hashlib.sha256(seen[0]).hexdigest() == (one.held.sha256 if one.held else "")
    end.set()
    await asyncio.gather(*others)
    assert not lending._lent


async def test_a_whole_result_is_in_memory_once_while_it_is_read(store: Store) -> None:
    """Not as chunks and as a whole."""
    one = await fetched(store, "job_1", os.urandom(16 * MIB))
    tracemalloc.start()
    try:
        async with lends(store).lend(one) as lent:
            assert lent.result is not None
            assert len(lent.result.content) == 16 * MIB
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 28 * MIB


async def test_no_more_is_lent_than_there_is_room_for(store: Store) -> None:
    """Others wait in a row until something is given back; one that is larger than all the room is lent alone."""
    jobs = [await fetched(store, f"job_{n}", os.urandom(MIB)) for n in range(6)]
    large = await fetched(store, "job_large", os.urandom(4 * MIB))
    lending = lends(store, room=2 * MIB)
    most = running = 0
    order: list[str] = []

    async def handler(one: Job) -> None:
        nonlocal most, running
        async with lending.lend(one) as lent:
            assert lent.result is not None
            running += lent.result.size
            most = max(most, running if lent.id != "job_large" else 0)
            assert lent.id != "job_large" or running == lent.result.size
            order.append(lent.id)
            await asyncio.sleep(0.02)
            running -= lent.result.size

    async with asyncio.timeout(40):
        await asyncio.gather(*(handler(one) for one in [*jobs[:3], large, *jobs[3:]]))
    assert most == 2 * MIB
    assert len(order) == 7
    assert order[3] == "job_large"


async def test_whoever_asks_for_pieces_is_given_no_whole(store: Store) -> None:
    """In the event loop and in a thread; to ask for the whole is an error that says how to have it."""
    content = os.urandom(3 * CHUNK + 5)
    one = await fetched(store, "job_1", content)
    async with lends(store).lend(one, pieces=True) as lent:
        result = lent.result
        assert isinstance(result, Pieces)
        assert (result.content, result.size) == (b"", len(content))
        assert b"".join([piece async for piece in result]) == content
        assert b"".join(await asyncio.to_thread(list, result)) == content
        with pytest.raises(TypeError, match="pieces=True"):
            result.json()
        with pytest.raises(TypeError):
            result.text()


async def test_a_result_that_cannot_be_read_is_lent_to_nobody(store: Store) -> None:
    """The error is each borrower's, and the next one tries anew."""
    one = await fetched(store, "job_1", b"x")
    lending = lends(store)
    await store.close()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            async with lending.lend(one):
                pass
    assert not lending._lent
