"""Deadlines: one timer for all of them, and each as if it had its own."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from receiver.timers import Deadlines, LateError, Span


async def sleep(seconds: float) -> None:
    """Take so long."""
    await asyncio.sleep(seconds)


async def own_timeout(_given: None) -> None:
    """Run into a time limit of one's own."""
    raise TimeoutError


async def test_each_is_stopped_at_its_own_time() -> None:
    """In whatever order they began: those in time are left alone, the others end when their time is up."""
    deadlines = Deadlines()

    async def kept(takes: float, most: float) -> tuple[bool, float]:
        began = time.monotonic()
        try:
            await deadlines.keep(sleep, takes, most)
        except LateError:
            return True, time.monotonic() - began
        return False, time.monotonic() - began

    found = await asyncio.gather(kept(0.1, 60), kept(60, 0.5), kept(60, 0.2), kept(0.3, 60), kept(0, 60))
    assert [late for late, _ in found] == [False, True, True, False, False]
    assert 0.2 <= found[2][1] <= found[1][1] < 30
    assert found[1][1] >= 0.5
    assert await kept(60, 0.1) >= (True, 0.1)


async def swallow(_given: None) -> None:
    """Finish in spite of having been stopped."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return


async def fail(_given: None) -> None:
    """Fail because of having been stopped."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError as error:
        raise ValueError("stopped") from error


async def give_up(_given: None) -> None:
    """Say in one's own words that the time is up."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError as error:
        raise TimeoutError from error


@pytest.mark.parametrize(
    ("function", "most", "raised"),
    [
        (own_timeout, 60, TimeoutError),
        (swallow, 0.05, None),
        (fail, 0.05, ValueError),
        (give_up, 0.05, LateError),
    ],
)
async def test_what_is_raised_says_whose_doing_it_was(
    function: Callable[[None], Awaitable[None]], most: float, raised: type[Exception] | None
) -> None:
    """As with ``asyncio.timeout``: a time limit of its own is not ours, and who finishes all the same has finished."""
    with contextlib.nullcontext() if raised is None else pytest.raises(raised):
        await Deadlines().keep(function, None, most)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


class Noted:
    """Notes when its time was up."""

    def __init__(self, due: float) -> None:
        self.due = due
        self.ended: list[float] = []

    def expire(self) -> None:
        """Note it."""
        self.ended.append(asyncio.get_running_loop().time())


async def test_what_is_watched_is_ended_once_when_it_is_due() -> None:
    """Its time may be put off, as for a connection that goes on; what is let be is not ended."""
    deadlines, loop = Deadlines(step=0.01), asyncio.get_running_loop()
    early, late, let = (Noted(loop.time() + 0.05) for _ in range(3))
    for one in (early, late, let):
        deadlines.watch(one, loop)
    due = late.due = late.due + 0.2
    deadlines.forget(let)
    await asyncio.sleep(0.4)
    assert len(early.ended) == len(late.ended) == 1
    assert late.ended[0] >= due
    assert let.ended == []


def test_deadlines_outlive_a_loop() -> None:
    """What one loop left behind when it ended hinders nobody on the next."""
    deadlines = Deadlines(step=0.01)

    async def leave() -> None:
        loop = asyncio.get_running_loop()
        deadlines.watch(Noted(loop.time() + 60), loop)

    asyncio.run(leave())

    async def late() -> None:
        with pytest.raises(LateError):
            await deadlines.keep(sleep, 60, 0.05)

    asyncio.run(late())


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Alone, and where the time is up in the same moment."""
    for most in (60.0, 0.0):
        task = asyncio.create_task(Deadlines(step=most / 60).keep(sleep, 60.0, most))
        await asyncio.sleep(0)
        if most == 0:
            # Nothing else gets its turn until the time has long been up.
            asyncio.get_running_loop().call_later(0, task.cancel)
        else:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class Counting(Deadlines):
    """Counts how often it looks."""

    looks = 0

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self.looks += 1
        super()._look(loop)


def test_two_loops_in_turn_make_one_timer() -> None:
    """However often another loop takes over, there is one that looks, and once in a step."""
    deadlines = Counting(step=0.02)
    loops = [asyncio.new_event_loop() for _ in range(2)]

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        deadlines.watch(Span(cast("asyncio.Task[object]", asyncio.current_task()), loop.time() + 100), loop)

    for _ in range(50):
        for loop in loops:
            loop.run_until_complete(watch())
    loops[1].run_until_complete(asyncio.sleep(0.1))
    for loop in loops:
        loop.close()
    assert 1 <= deadlines.looks <= 8
