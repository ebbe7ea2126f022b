"""Following the clock: where it is set, what is planned moves along, and no lease is taken for lapsed because of it."""

import asyncio
from collections.abc import Callable

import structlog

from receiver.clock import StepWatch
from receiver.core.model import SECOND
from receiver.storage.claims import ClockStep
from receiver.storage.store import Store

log = structlog.get_logger(__name__)


class Following:
    """Follows the clock.

    Where one process serves the database, what is planned moves along with its clock. Where several do, the clock is
    the database's, and each learns at its next sign of life that it was set. Until all have, and have extended what
    they hold, a lease that has lapsed by the clock says nothing: nobody takes another's for as long as one lasts.

    Args:
        store: What is planned.
        watch: Notices that the clock was set; ``None`` where a test moves it.
        told: Called when it was.
        lease_ms: How long a lease lasts.
    """

    def __init__(
        self, *, store: Store, watch: StepWatch | None, told: Callable[[], None], lease_ms: int
    ) -> None:
        self._store = store
        self._watch = watch
        self._told = told
        self._lease_ms = lease_ms
        #: By the steady clock, until when nothing is taken of other nodes.
        self._patient_until = 0
        self._to_follow: list[ClockStep] = []
        self._writing = asyncio.Lock()
        #: How often the clock was set so far.
        self.steps = 0

    def lapses(self, now: int) -> bool:
        """Whether a lease of another node has lapsed when the clock, which says *now*, says so."""
        watch = self._watch
        return watch is None or (watch.steady() >= self._patient_until and not watch.was_set(now))

    async def __call__(self) -> None:
        """Look at the clock, and do what must be done if it was set; raises StoreUnavailableError."""
        found = self._watch.look() if self._watch is not None else None
        if self._watch is not None and found is not None:
            before, now = found
            log.warning("clock_set", by_seconds=(now - before) // SECOND)
            self.steps += 1
            self._told()
            if self._store.driver.exclusive:
                self._to_follow.append(ClockStep(before=before, now=now))
            else:
                self._patient_until = self._watch.steady() + self._lease_ms
        async with self._writing:
            while self._to_follow:
                # Where it cannot be written now it is at the next turn; until then nothing is claimed.
                await self._store.shift(self._to_follow[0])
                del self._to_follow[0]
