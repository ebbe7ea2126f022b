"""Threads: where what blocks is done, apart from the event loop's own threads.

Those are for handlers: ``asyncio.to_thread`` is how a handler waits for what blocks, and a few that do so for minutes
take all there are. What callbacks, submissions and looks need must not wait behind them, nor the end of the process.
"""

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: How many of them may be held up at once.
_MANY: Final = 32


class Threads:
    """Threads of one kind, begun as they are needed."""

    def __init__(self, name: str, most: int | None = None) -> None:
        self._name = name
        #: As many as there are at most; else a few more than there are cores.
        self._most = most
        self._renew()
        # None of them lives on in a process that is forked off.
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix=self._name)

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        """What *function* returns, called in one of them."""
        called = partial(contextvars.copy_context().run, function, *args, **options)
        return await asyncio.get_running_loop().run_in_executor(self._pool, called)


#: For what we do ourselves.
off_loop: Final = Threads("receiver-work")
#: For what others may hold up for long, each kind by itself: the names of hosts, and brokers that do not await.
resolving: Final = Threads("receiver-names", _MANY)
publishing: Final = Threads("receiver-sinks", _MANY)
