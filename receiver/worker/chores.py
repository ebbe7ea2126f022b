"""Chores: what has to be done now and then, whether or not anything is due."""

import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from receiver.catalog import Catalog
from receiver.core.model import DAY, SECOND
from receiver.storage.retention import Prune
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

#: How often, in milliseconds, what was held is released, dispatches without a handler are buried, jobs are pruned.
_HELD_EVERY: Final = SECOND // 4
_RECOVER_EVERY: Final = 5 * SECOND
_REAP_EVERY: Final = 30 * SECOND
_PRUNE_EVERY: Final = 3600 * SECOND
_SWEEP_EVERY: Final = 6 * 3600 * SECOND


class Chores:
    """Releases held callbacks whose time is up, buries dispatches without a handler, prunes old jobs.

    Args:
        recover: Stores the answers that processes left behind.
        sweep: Deletes files that no job has any more.
    """

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        key_id: str,
        keep_days: int,
        recover: Callable[[], Awaitable[None]],
        sweep: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._recover = recover
        self._recover_at = 0
        self._sweep = sweep
        self._sweep_at = 0
        self._store = store
        self._catalog = catalog
        self._key_id = key_id
        self._keep_days = keep_days
        self._held_at = self._reap_at = self._prune_at = 0
        self._ending = False

    def hurry(self) -> None:
        """Do all of it at the next call: the clock was set, and when it was done last says nothing."""
        self._held_at = self._recover_at = self._reap_at = self._prune_at = 0

    def end(self) -> None:
        """Begin nothing that takes long any more."""
        self._ending = True

    async def __call__(self, now: int, *, lapses: bool) -> None:
        """Do what is to be done at *now*; raises StoreUnavailableError.

        Args:
            now: What the clock says, in milliseconds since the Unix epoch.
            lapses: Whether a node that is silent by the clock really is silent; not right after the clock was set.
        """
        if now >= self._held_at:
            self._held_at = now + _HELD_EVERY
            await self._release_held(now)
        if now >= self._recover_at:
            self._recover_at = now + _RECOVER_EVERY
            await self._recover()
        if now >= self._reap_at and lapses:
            self._reap_at = now + _REAP_EVERY
            buried = await self._store.reap(now=now)
            if buried:
                log.error("dispatches_without_handler", count=buried)
        if not now <= self._sweep_at <= now + 2 * _SWEEP_EVERY:
            # Not by all nodes at once, nor while a process has just begun.
            if self._sweep is not None and self._sweep_at:
                await self._sweep()
            self._sweep_at = now + int(_SWEEP_EVERY * (0.5 + random.random()))
        if self._keep_days and now >= self._prune_at:
            self._prune_at = now + _PRUNE_EVERY
            await self._prune(now)

    async def _release_held(self, now: int) -> None:
        for callback_id, provider in await self._store.held_due(now=now):
            if provider in self._catalog:
                terms = self._catalog.terms(provider, key_id=self._key_id)
                await self._store.release_held(callback_id, terms=terms, now=now)

    async def _prune(self, now: int) -> None:
        after: str | None = ""
        while after is not None and not self._ending:
            pruned = await self._store.prune(Prune(before=now - self._keep_days * DAY, after=after, now=now))
            after = pruned.after
            if pruned.deleted:
                log.info("jobs_pruned", **pruned.deleted)
