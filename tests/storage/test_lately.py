"""How long jobs took lately: what the record says of it, by provider and operation, in bounded time."""

import asyncio
from collections.abc import Mapping

from receiver.core.job.cadence import COMPLETIONS, first_look
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Delivery, Observation
from receiver.core.model import JobState as State
from receiver.storage.lately import Lately
from tests.core.making import NOW, job
from tests.storage.making import DONE, FAILED, PROVIDERS, Desk


async def done(
    desk: Desk, n: int, *, seconds: int, document: Mapping[str, object] = DONE, operation: str = ""
) -> None:
    """A job that took so many seconds, by its callback."""
    one = await desk.submitted(remote_id=f"r{n}", created_at=NOW + n * MINUTE, operation=operation)
    await desk.call(one, document, at=NOW + n * MINUTE + seconds * SECOND)


async def test_the_last_completions_of_an_operation_are_read(desk: Desk) -> None:
    """Of the newest jobs, only what a callback told to have succeeded, and of that operation alone."""
    for n in range(6):
        await done(desk, n, seconds=n + 1, operation="split" if n == 3 else "")
    await done(desk, 6, seconds=50, document=FAILED)
    late = await desk.submitted(remote_id="r9", created_at=NOW + HOUR)
    assert late.state is State.SUBMITTED
    found = await desk.store.took("acme", "", before=NOW, most=4)
    assert found == [6000, 5000, 3000, 2000]
    assert await desk.store.took("acme", "split", before=NOW, most=4) == [4000]
    assert await desk.store.took("wide", "", before=NOW, most=4) == []


async def test_behind_many_open_jobs_earlier_ones_are_read(desk: Desk) -> None:
    """More are open than are looked through: those made before a callback was expected tell."""
    for n in range(3):
        await done(desk, n, seconds=7)
    at = NOW + 2 * HOUR
    waiting = await asyncio.gather(*(desk.submit(created_at=at) for _ in range(1001)))
    names = [Observation(state=State.SUBMITTED, remote_id=f"o{n}") for n in range(1001)]
    await asyncio.gather(
        *(desk.answer(one, seen=seen, at=at) for one, seen in zip(waiting, names, strict=True))
    )
    assert await desk.store.took("acme", "", before=at - HOUR, most=100) == [7000] * 3


async def test_the_hundred_and_first_tells_nothing_any_more(desk: Desk) -> None:
    """The last hundred are a hundred: with the one before them the first look would come minutes later."""
    provider = PROVIDERS["acme"]
    slow = 6
    # The oldest of all was slow as well; among a hundred and one, the 95th percentile would be.
    seconds = [200] * slow + [1] * (COMPLETIONS + 1 - slow)
    for n, took in enumerate(seconds):
        await done(desk, n, seconds=took)
    now = NOW + DAY
    lately = Lately(store=desk.store, clock=lambda: now)
    one = job(provider=provider.name, delivery=Delivery.NOTIFICATION, created_at=now, deadline_at=now + HOUR)
    found = await lately(provider, one)
    assert sorted(found) == [SECOND] * 95 + [200 * SECOND] * 5
    assert first_look(provider, one, now=now, took=found) == now + 30 * SECOND
    assert first_look(provider, one, now=now, took=[*found, 200 * SECOND]) == now + 300 * SECOND
