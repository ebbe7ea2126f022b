"""Readers: large documents are read off the event loop, where every callback would wait for them."""

import asyncio
import os
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from receiver.threads import off_loop

P = ParamSpec("P")
T = TypeVar("T")

#: From this many bytes on a document is large.
LARGE: Final = 64 * 1024
#: From this many on it takes, while it is read, more memory than several at once may take.
_HUGE: Final = 4 * 1024 * 1024


class Readers:
    """Threads that read: as many at once as there are cores, and of what is huge one at a time."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(os.cpu_count() or 1)
        self._huge = asyncio.Semaphore(1)

    async def read(self, size: int, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """What *function* makes of a document of *size* bytes, in a thread."""
        if size < _HUGE:
            async with self._all:
                return await off_loop(function, *args, **options)
        # A huge document waits for the other huge ones first, so that smaller ones are not kept waiting with it.
        async with self._huge, self._all:
            return await off_loop(function, *args, **options)
