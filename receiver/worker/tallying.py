"""Tallying: what this process counted is added to the record every few seconds, for charts that outlive it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from receiver.core.errors import StoreUnavailableError
from receiver.metrics import Metrics
from receiver.storage import tally
from receiver.storage.store import Store
from receiver.storage.tally import Tallied

log = structlog.get_logger(__name__)

_EVERY: Final = 10.0


class Tallying:
    """Adds the counts of one process to the record, from ``start`` to ``stop``."""

    def __init__(self, *, store: Store, metrics: Metrics, clock: Callable[[], int], node: str) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._node = node
        self._added: Counter[tuple[str, str, str]] = Counter()
        self._adding = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Add what is left, and end."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        await self.add()

    async def add(self) -> None:
        """Add what has been counted since the last time; where the database is gone, the next time does."""
        async with self._adding:
            counted = self._metrics.tallies()
            fresh = counted - self._added
            if not fresh:
                return
            items = [
                Tallied(kind=kind, provider=provider, word=word, count=n)
                for (kind, provider, word), n in fresh.items()
            ]
            try:
                await self._store.write(tally.add, (self._node, self._clock(), items))
            except StoreUnavailableError as error:
                log.info("tally_not_added", reason=str(error))
                return
            self._added = counted

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self.add()
            except Exception:
                log.exception("tally_failed")
