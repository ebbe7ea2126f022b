"""Following the clock: where this machine's clock is set, what is planned moves along with it."""

import asyncio
from collections.abc import Callable

import structlog

from receiver.clock import StepWatch
from receiver.core.model import SECOND
from receiver.storage.claims import ClockStep
from receiver.storage.store import Store

log = structlog.get_logger(__name__)


class Following:
    """Has the store follow the clock.

    Args:
        store: What is planned.
        watch: Notices that the clock was set; ``None`` where the database tells the time.
        told: Called when it was.
    """

    def __init__(self, *, store: Store, watch: StepWatch | None, told: Callable[[], None]) -> None:
        self._store = store
        self._watch = watch
        self._told = told
        self._to_follow: list[ClockStep] = []
        self._writing = asyncio.Lock()
        #: How often the clock was set so far.
        self.steps = 0

    async def __call__(self) -> None:
        """Look at the clock, and move what is planned if it was set; raises StoreUnavailableError."""
        found = self._watch.look() if self._watch is not None else None
        if found is not None:
            before, now = found
            log.warning("clock_set", by_seconds=(now - before) // SECOND)
            self._to_follow.append(ClockStep(before=before, now=now))
            self.steps += 1
            self._told()
        async with self._writing:
            while self._to_follow:
                # Where it cannot be written now it is at the next turn; until then nothing is claimed.
                await self._store.shift(self._to_follow[0])
                del self._to_follow[0]
