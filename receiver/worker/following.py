"""Following the clock: where it is set, what is planned moves along, and no lease is taken for lapsed because of it."""

import asyncio
from collections.abc import Callable

import structlog

from receiver.clock import StepWatch, read_steady
from receiver.core.model import SECOND
from receiver.storage.clocks import ClockStep
from receiver.storage.store import Store

log = structlog.get_logger(__name__)


class Following:
    """Follows the clock.

    Where one process serves the database, what is planned moves along with its clock. Where several do, the clock is
    the database's, and whoever sees first that it was set moves what is planned (``presence``). Until all have seen it,
    and have extended what they hold, a lease that has lapsed by the clock says nothing: nobody takes another's for as
    long as one lasts. It is the same where the database was away, and nobody could extend anything, or record how it
    ended.

    Args:
        store: What is planned.
        watch: Notices that the clock was set; ``None`` where a test moves it.
        told: Called when it was.
        lease_ms: How long a lease lasts.
        steady: Milliseconds of a clock that nobody sets.
    """

    def __init__(
        self,
        *,
        store: Store,
        watch: StepWatch | None,
        told: Callable[[], None],
        lease_ms: int,
        steady: Callable[[], int] = read_steady,
    ) -> None:
        self._store = store
        self._watch = watch
        self._told = told
        self._lease_ms = lease_ms
        self._steady = steady
        #: By the steady clock, until when nothing is taken of other nodes.
        self._patient_until = 0
        self._to_follow: list[ClockStep] = []
        self._writing = asyncio.Lock()
        #: How often the clock was set so far.
        self.steps = 0

    def lapses(self, now: int) -> bool:
        """Whether a lease of another node has lapsed when the clock, which says *now*, says so."""
        if self._store.driver.exclusive:
            return True
        watch = self._watch
        return self._steady() >= self._patient_until and (watch is None or not watch.was_set(now))

    def be_patient(self) -> None:
        """Have nothing taken of other nodes for as long as a lease lasts."""
        self._patient_until = self._steady() + self._lease_ms

    async def __call__(self) -> None:
        """Look at the clock, and do what must be done if it was set; raises StoreUnavailableError."""
        found = self._watch.look() if self._watch is not None else None
        if found is not None:
            before, now = found
            log.warning("clock_set", by_seconds=(now - before) // SECOND)
            self.steps += 1
            self._told()
            if self._store.driver.exclusive:
                self._to_follow.append(ClockStep(before=before, now=now))
            else:
                self.be_patient()
        async with self._writing:
            while self._to_follow:
                # Where it cannot be written now it is at the next turn; until then nothing is claimed.
                await self._store.shift(self._to_follow[0])
                del self._to_follow[0]
