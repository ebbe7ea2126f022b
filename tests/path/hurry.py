"""A receiver whose time runs faster: waits of seconds, as descriptions write them, take a fraction here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from receiver import Receiver
from receiver.clock import read_clock

from .world import World

PACE = 8
#: Milliseconds from one look of the worker to the next.
_NAP = 20


@contextlib.asynccontextmanager
async def hurried(
    world: World, prepare: Callable[[Receiver], object] | None = None, *, pace: int = PACE
) -> AsyncIterator[Receiver]:
    """``world.receiver`` by a clock that is *pace* times as fast, and a worker that does not nap.

    The clock goes on by one step with each turn of the event loop's, however long that took: a machine that stands
    still for a second would else have missed minutes, and with them deadlines and looks that were due in between.
    """
    now = read_clock()

    def hurry(receiver: Receiver) -> None:
        receiver._clock = lambda: now
        if prepare is not None:
            prepare(receiver)

    async def hasten(receiver: Receiver) -> None:
        nonlocal now
        while True:
            await asyncio.sleep(_NAP / 1000)
            now += _NAP * pace
            receiver.running.notify()

    async with world.receiver(hurry) as receiver:
        hastening = asyncio.create_task(hasten(receiver))
        try:
            yield receiver
        finally:
            hastening.cancel()
            await asyncio.gather(hastening, return_exceptions=True)
