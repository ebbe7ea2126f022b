"""A receiver whose time runs faster: waits of seconds, as descriptions write them, take a fraction here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from receiver import Receiver
from receiver.clock import read_clock

from .world import World

PACE = 8


@contextlib.asynccontextmanager
async def hurried(
    world: World, prepare: Callable[[Receiver], object] | None = None, *, pace: int = PACE
) -> AsyncIterator[Receiver]:
    """``world.receiver`` by a clock that is *pace* times as fast, and a worker that does not nap."""
    began = read_clock()

    def hurry(receiver: Receiver) -> None:
        receiver._clock = lambda: began + (read_clock() - began) * pace
        if prepare is not None:
            prepare(receiver)

    async def keep_awake(receiver: Receiver) -> None:
        while True:
            receiver.running.notify()
            await asyncio.sleep(0.02)

    async with world.receiver(hurry) as receiver:
        waker = asyncio.create_task(keep_awake(receiver))
        try:
            yield receiver
        finally:
            waker.cancel()
            await asyncio.gather(waker, return_exceptions=True)
