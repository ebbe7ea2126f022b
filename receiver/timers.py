"""Timers: what may go on only so long, looked after by one timer of the event loop for all of it.

A timer for each costs more than a small handler does, and a callback would need three of them.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

T = TypeVar("T")


class LateError(Exception):
    """The time is up. A class of its own, because what is awaited may raise TimeoutError itself."""


class Timed(Protocol):
    """What may go on until ``due``, by the event loop's clock."""

    due: float

    def expire(self) -> None:
        """End it: its time is up."""
        ...


class Span(msgspec.Struct, eq=False):
    """A task that may take until ``due``, and is cancelled then."""

    task: "asyncio.Task[Any]"
    due: float
    late: bool = False

    def expire(self) -> None:
        """Interrupt the task."""
        self.late = True
        self.task.cancel()


class Deadlines:
    """Ends what is late, at most one step after its time. It serves one event loop at a time."""

    def __init__(self, step: float = 0.05) -> None:
        self._step = step
        self._watched: set[Timed] = set()
        #: The loop that looks, as long as there is something to look at, and when it does next.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, one: Timed, loop: asyncio.AbstractEventLoop) -> None:
        """End *one* once it is due, which may change until then."""
        self._watched.add(one)
        if loop is not self._loop:
            if self._timer is not None:
                self._timer.cancel()
            self._loop = loop
            self._timer = loop.call_later(self._step, self._look, loop)

    def forget(self, one: Timed) -> None:
        """Stop watching *one*."""
        self._watched.discard(one)

    async def keep(self, function: Callable[[T], Any], given: T, timeout: float) -> object:  # noqa: ASYNC109
        """Call *function* with *given* and await its result, which is returned, for at most *timeout* seconds.

        Raises:
            LateError: it was cancelled, because its time was up.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101  (whoever awaits is in one)
        span = Span(task, loop.time() + timeout)
        cancelled = task.cancelling()
        self.watch(span, loop)
        try:
            return await function(given)
        except (asyncio.CancelledError, TimeoutError) as error:
            if not span.late or (
                isinstance(error, asyncio.CancelledError) and task.cancelling() > cancelled + 1
            ):
                raise
            raise LateError from error
        finally:
            self.forget(span)
            if span.late:
                task.uncancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what is late; look again a step later, as long as anything is watched."""
        if loop is not self._loop:
            return  # another one looks now
        if self._watched:
            self._timer = loop.call_later(self._step, self._look, loop)
        else:
            self._loop = self._timer = None
        now = loop.time()
        for one in list(self._watched):
            if one.due <= now:
                one.due = math.inf
                one.expire()
