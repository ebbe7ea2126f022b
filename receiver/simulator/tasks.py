"""The background work of a simulator: started here, awaited here, and none of it left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Tasks:
    """Running coroutines that nobody else awaits."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._failed: list[BaseException] = []

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run *coroutine* in the background."""
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)

    async def idle(self) -> None:
        """Return once nothing runs any more.

        Raises:
            Exception: What a background coroutine raised: the simulator's own mistake.
        """
        while self._running:
            await asyncio.wait(tuple(self._running))
        self._raise()

    async def cancel(self) -> None:
        """Cancel what runs and return once it has ended.

        Raises:
            Exception: As `idle()`, so that no mistake goes unseen.
        """
        while self._running:
            running = tuple(self._running)
            for task in running:
                task.cancel()
            await asyncio.wait(running)
        self._raise()

    def _raise(self) -> None:
        if self._failed:
            raise self._failed.pop(0)
