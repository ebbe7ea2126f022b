"""Deadlines: coroutines that are stopped when their time is up, by one timer for all of them.

``asyncio.timeout`` sets a timer for each, which costs several times what a small handler does.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class LateError(Exception):
    """Its time is up; a TimeoutError may be its own."""


class _Span:
    """What may take until ``end``, by the event loop's clock."""

    __slots__ = ("end", "late", "task")

    def __init__(self, task: "asyncio.Task[object]", end: float) -> None:
        self.task = task
        self.end = end
        self.late = False

    def interrupt(self) -> None:
        self.late = True
        self.task.cancel()


class Deadlines:
    """Stops what takes too long."""

    def __init__(self) -> None:
        self._spans: set[_Span] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0

    async def keep(self, function: Callable[[T], Any], given: T, timeout: float) -> None:  # noqa: ASYNC109
        """Await what *function* makes of *given* for at most *timeout* seconds.

        Raises:
            LateError: it was cancelled, because its time was up.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (whoever awaits is in one)
        cancelled = task.cancelling()
        span = _Span(task, loop.time() + timeout)
        self._spans.add(span)
        if self._timer is None or span.end < self._next:
            self._wake(loop, span.end)
        try:
            await function(given)
        except (asyncio.CancelledError, TimeoutError) as error:
            if not span.late or (
                isinstance(error, asyncio.CancelledError) and task.cancelling() > cancelled + 1
            ):
                raise
            raise LateError from error
        finally:
            self._spans.remove(span)
            if span.late:
                task.uncancel()

    def _wake(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._next = loop.call_at(when, self._look, loop), when

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop what is late; come back for whatever is next."""
        self._timer = None
        now = loop.time()
        for span in self._spans:
            if span.end <= now and not span.late:
                span.interrupt()
        ahead = [span.end for span in self._spans if not span.late]
        if ahead:
            self._wake(loop, min(ahead))
