"""Presence: this process as one of the nodes that serve the database, and the signs of life that it gives.

Its leases last as long as it gives them; a process that is gone, or frozen, gives none, and its work comes back. They
are given by a thread of their own: an event loop that something blocks is not gone, and nobody else is to do its work.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from receiver.circuits import Circuits
from receiver.clock import STEP, DatabaseClock, read_boot, read_clock, read_steady
from receiver.core.errors import StoreUnavailableError
from receiver.core.model import SECOND, Dispatch
from receiver.handlers import Audience
from receiver.outbound.allowances import Allowances
from receiver.storage.claims import Beat, Leases
from receiver.storage.clocks import Reading
from receiver.storage.nodes import Node
from receiver.storage.store import Store
from receiver.storage.vigil import Vigil
from receiver.threads import off_loop
from receiver.worker.standstill import Standstill

log = structlog.get_logger(__name__)

#: Seconds between two attempts to find out whether what is held still is ours.
_PAUSE: Final = 0.5
#: Seconds between two looks whether the event loop turns.
_LOOK_EVERY: Final = 0.5
#: Milliseconds between two looks at the other nodes.
_LOOK_AROUND_EVERY: Final = 2 * SECOND
#: Seconds that the last sign of life may take.
_LAST_BEAT: Final = 2.0
#: A total by which no clock was ever set.
_NEVER: Final = -(1 << 62)


class Presence:
    """Keeps one node present from ``join`` to ``leave``."""

    def __init__(
        self,
        *,
        store: Store,
        node: Node,
        clock: Callable[[], int],
        leases: Callable[[], Leases],
        lease_ms: int,
        stood: Callable[[str, float], None],
        audience: Audience,
        allowances: Allowances,
        circuits: Circuits,
        steady: Callable[[], int] = read_steady,
    ) -> None:
        self._store = store
        self._vigil = Vigil(store.driver)
        self._node = node
        self._clock = clock
        self._leases = leases
        self._lease_ms = lease_ms
        self._steady = steady
        self._stood = stood
        self._audience = audience
        self._allowances = allowances
        self._circuits = circuits
        self._beating: threading.Thread | None = None
        self._ending = threading.Event()
        #: By the steady clock, until when nobody else can have taken what we hold, and how often that was missed.
        self._sure_until: int | None = None
        self._doubts = 0
        #: How many nodes run handlers, this one included.
        self.workers = 1
        self._lock = threading.Lock()
        self._boot = read_boot() or secrets.token_hex(16)
        #: By how much the clock has been set, as far as we know; none where nobody else goes by it, or a test moves it.
        self._set_by: int | None = None
        #: By the steady clock, until when it may have been set unseen before we came.
        self._unsure_until = 0
        #: What was last found: by how much it is ahead of the steady one, and how far it has been set.
        self._ahead, self._total = 0, 0

    async def join(self) -> None:
        """Become one of the nodes."""
        only = self._store.driver.exclusive
        await off_loop(self._meet_clock)
        now, asked = self._clock(), self._steady()
        if only:
            # No other process serves this database, so whoever held a lease is gone.
            await self._store.release_all(now=now)
        await self._store.join(self._node, only=only, now=now)
        self._sure_until = asked + self._lease_ms
        await off_loop(self._look_around)
        self._ending.clear()
        watch = Standstill(loop=asyncio.get_running_loop(), steady=self._steady, stood=self._stood)
        self._beating = threading.Thread(
            target=self._beat, args=(watch,), name="receiver-presence", daemon=True
        )
        self._beating.start()

    async def leave(self) -> None:
        """Stop being one; what is still leased is given back."""
        if self._beating is None:
            return
        self._ending.set()
        # The thread must not open again what is closed next; if the database keeps it waiting, it is left behind.
        await off_loop(self._beating.join, _LAST_BEAT)
        self._beating = None
        self._sure_until = None
        try:
            await self._store.release(self._leases(), lease_ms=self._lease_ms, now=self._clock())
            await self._store.leave(self._node)
        except StoreUnavailableError as error:
            log.warning("leases_not_released", node=self._node.name, reason=str(error))

    def doubts(self) -> int:
        """How often others may have taken what was held here, because no sign of life was given for a whole lease.

        Whoever began before the last time asks (``confirm``) before it goes on. Where only one process serves a
        database nobody can take anything.
        """
        until = self._sure_until
        if until is not None and self._steady() >= until and not self._store.driver.exclusive:
            with self._lock:
                now = self._steady()
                if self._sure_until is not None and now >= self._sure_until:
                    self._doubts += 1
                    # Whoever asks from now on gets a lease that lasts at least as long.
                    self._sure_until = now + self._lease_ms
        return self._doubts

    def set_by(self) -> int | None:
        """By how much the clock has been set, for claims to compare with what is known in the database.

        ``None`` where that makes no difference; what is never true, while it may have been set without our knowledge.
        """
        unsure = self._set_by is not None and self._steady() < self._unsure_until - self._lease_ms
        return _NEVER if unsure else self._set_by

    async def confirm(self, dispatch: Dispatch) -> bool:
        """Renew one lease, however long that takes; whether it still was ours."""
        log.warning("lease_in_doubt", job=dispatch.job_id, handler=dispatch.handler)
        while True:
            try:
                return await self._store.renew(dispatch, until=self._clock() + self._lease_ms)
            except StoreUnavailableError:
                await asyncio.sleep(_PAUSE)

    def _beat(self, watch: Standstill) -> None:
        """Give signs of life, and look whether the event loop turns, until it is all over."""
        pause = min(_LOOK_EVERY, self._lease_ms / SECOND / 3)
        beat_at = self._steady() + self._lease_ms // 3
        before = look_at = clock_at = self._steady()
        while not self._ending.wait(pause):
            if not watch.look(late=(self._steady() - before) / SECOND - pause):
                return  # the event loop is closed, and with it everything that is held
            if self._steady() >= clock_at:
                # Well within the lease for which those who saw a step leave what others hold alone.
                clock_at = self._steady() + min(_LOOK_AROUND_EVERY, self._lease_ms // 3)
                if self._clock_was_set():
                    beat_at = self._steady()
            if self._steady() >= beat_at:
                beat_at = self._steady() + self._lease_ms // 3
                self._give_sign()
            if self._steady() >= look_at:
                look_at = self._steady() + _LOOK_AROUND_EVERY
                with suppress(StoreUnavailableError):
                    self._look_around()
            before = self._steady()

    def _meet_clock(self) -> None:
        """Move what is planned if the clock was set while nobody here saw it."""
        shared = isinstance(self._clock, DatabaseClock)
        if shared or self._clock is read_clock:
            self._follow(self._clock() - self._steady(), joins=True)
        if shared:
            self._set_by = self._total

    def _follow(self, ahead: int, *, joins: bool = False, moves: bool = True) -> None:
        """Say by how much the clock is ahead of the steady one, and learn whether it was set."""
        unsure = not joins and self._steady() < self._unsure_until and abs(ahead - self._ahead) <= STEP
        found = self._vigil.follow(
            Reading(
                boot=self._boot,
                ahead=ahead,
                now=self._steady() + ahead,
                lease_ms=0 if self._store.driver.exclusive else self._lease_ms,
                moves=moves,
                unset_since=self._total if unsure else None,
            )
        )
        if found.step:
            log.warning("clock_was_set", by_seconds=found.step // SECOND)
        self._ahead, self._total = ahead, found.total
        if joins and (found.lately or not found.known) and not self._store.driver.exclusive:
            # For the first lease nothing is taken of others, who may hold it by the clock as it was; they tell of a
            # step within that, and extend what they hold.
            self._unsure_until = self._steady() + 2 * self._lease_ms

    def _clock_was_set(self) -> bool:
        """Ask a shared clock more often than signs of life are given: whether it was set, and others plan by it."""
        clock = self._clock
        if not isinstance(clock, DatabaseClock):
            return False
        before = self._ahead
        try:
            clock.adjust(
                self._vigil.time,
                accept=lambda ahead: self._follow(ahead) if abs(ahead - clock.ahead) > STEP else None,
            )
        except StoreUnavailableError:
            return False
        # Set only now: whoever still claims by the old clock must not yet have the new total.
        self._set_by = self._total
        return abs(self._ahead - before) > STEP

    def _meet_audience(self) -> None:
        """Learn which handlers are registered, by any node."""
        self._audience.are(self._vigil.handlers())

    def _look_around(self) -> None:
        """Learn what the other nodes have to do with us: with whom providers are shared, and which are left alone."""
        self._meet_audience()
        lively, pauses, circuits = self._vigil.around(now=self._clock(), within=2 * self._lease_ms)
        self._circuits.are(circuits)
        names = [name for name, _ in lively]
        if self._node.name in names:
            self._allowances.divide(names.index(self._node.name), len(names))
            self.workers = sum(role != "ingest" for _, role in lively)
        for provider, until in pauses:
            self._allowances.pause(provider, until)

    def _give_sign(self) -> None:
        try:
            if isinstance(self._clock, DatabaseClock):
                self._clock.adjust(self._vigil.time, accept=self._follow)
                self._set_by = self._total
            elif self._clock is read_clock:
                self._follow(self._clock() - self._steady(), moves=False)
            now, asked = self._clock(), self._steady()
            self._vigil.give_sign(
                Beat(node=self._node, leases=self._leases(), until=now + self._lease_ms, now=now)
            )
        except StoreUnavailableError as error:
            log.warning("heartbeat_missed", reason=str(error))
        except Exception:
            # Without signs of life everything that runs here would be taken from us.
            log.exception("heartbeat_failed")
        else:
            # This sign of life extends what is still ours; what was lost before is lost, and the doubt about it
            # remains.
            self.doubts()
            with self._lock:
                if self._sure_until is not None:
                    self._sure_until = max(self._sure_until, asked + self._lease_ms)
