"""Presence: this process as one of the nodes that serve the database, and the signs of life that it gives.

Its leases last as long as it gives them; a process that is gone, or frozen, gives none, and its work comes back. They
are given by a thread of their own: an event loop that something blocks is not gone, and nobody else is to do its work.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from receiver.circuits import Circuits
from receiver.clock import DatabaseClock, read_steady
from receiver.core.errors import StoreUnavailableError
from receiver.core.model import SECOND, Dispatch
from receiver.handlers import Audience
from receiver.outbound.allowances import Allowances
from receiver.storage.claims import Beat, Leases
from receiver.storage.nodes import Node
from receiver.storage.store import Store
from receiver.storage.vigil import Vigil
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
        self._lock = threading.Lock()

    async def join(self) -> None:
        """Become one of the nodes."""
        only = self._store.driver.exclusive
        now, asked = self._clock(), self._steady()
        if only:
            # No other process serves this database, so whoever held a lease is gone.
            await self._store.release_all(now=now)
        await self._store.join(self._node, only=only, now=now)
        self._sure_until = asked + self._lease_ms
        await asyncio.to_thread(self._look_around)
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
        # It must not open anew what is closed next; should the database keep it waiting, it is left behind.
        await asyncio.to_thread(self._beating.join, _LAST_BEAT)
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
        before = look_at = self._steady()
        while not self._ending.wait(pause):
            if not watch.look(late=(self._steady() - before) / SECOND - pause):
                return  # the event loop is closed, and with it everything that is held
            if self._steady() >= beat_at:
                beat_at = self._steady() + self._lease_ms // 3
                self._give_sign()
            if self._steady() >= look_at:
                look_at = self._steady() + _LOOK_AROUND_EVERY
                with suppress(StoreUnavailableError):
                    self._look_around()
            before = self._steady()

    def _meet_audience(self) -> None:
        """Learn which handlers are registered, by any node."""
        self._audience.are(self._vigil.handlers())

    def _look_around(self) -> None:
        """Learn what the other nodes have to do with us: with whom providers are shared, and which are left alone."""
        self._meet_audience()
        names, pauses, circuits = self._vigil.around(now=self._clock(), within=2 * self._lease_ms)
        self._circuits.are(circuits)
        if self._node.name in names:
            self._allowances.divide(names.index(self._node.name), len(names))
        for provider, until in pauses:
            self._allowances.pause(provider, until)

    def _give_sign(self) -> None:
        try:
            if isinstance(self._clock, DatabaseClock):
                self._clock.adjust(self._vigil.time)
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
            # It extends what is still ours; what was lost before is lost, and the doubt about it remains.
            self.doubts()
            with self._lock:
                if self._sure_until is not None:
                    self._sure_until = max(self._sure_until, asked + self._lease_ms)
