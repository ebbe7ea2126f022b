"""Presence: this process as one of the nodes that serve the database, and the signs of life that it gives.

Its leases last as long as it gives them; a process that is gone, or frozen, gives none, and its work comes back.
"""

import asyncio
from collections.abc import Callable

import structlog

from receiver.clock import DatabaseClock
from receiver.core.errors import StoreUnavailableError
from receiver.core.model import SECOND
from receiver.storage.claims import Beat, Leases
from receiver.storage.nodes import Node
from receiver.storage.store import Store

log = structlog.get_logger(__name__)


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
    ) -> None:
        self._store = store
        self._node = node
        self._clock = clock
        self._leases = leases
        self._lease_ms = lease_ms
        self._beating: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Become one of the nodes."""
        only = self._store.driver.exclusive
        now = self._clock()
        if only:
            # No other process serves this database, so whoever held a lease is gone.
            await self._store.release_all(now=now)
        await self._store.join(self._node, only=only, now=now)
        self._beating = asyncio.create_task(self._beat())

    async def leave(self) -> None:
        """Stop being one; what is still leased is given back."""
        if self._beating is None:
            return
        self._beating.cancel()
        await asyncio.wait([self._beating])
        self._beating = None
        try:
            await self._store.release(self._leases(), lease_ms=self._lease_ms, now=self._clock())
            await self._store.leave(self._node)
        except StoreUnavailableError as error:
            log.warning("leases_not_released", node=self._node.name, reason=str(error))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / SECOND / 3)
            try:
                if isinstance(self._clock, DatabaseClock):
                    await self._clock.adjust(self._store.time)
                now = self._clock()
                await self._store.heartbeat(
                    Beat(node=self._node, leases=self._leases(), until=now + self._lease_ms, now=now)
                )
            except StoreUnavailableError as error:
                log.warning("heartbeat_missed", reason=str(error))
            except Exception:
                # Without signs of life everything that runs here would be taken from us.
                log.exception("heartbeat_failed")
