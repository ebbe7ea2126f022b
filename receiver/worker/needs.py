"""What open jobs need of this process: the descriptions of their providers, and the master keys of their tokens."""

import asyncio
from typing import Final

import structlog

from receiver.catalog import Catalog
from receiver.core.errors import ConfigurationError, StoreUnavailableError
from receiver.keys import Keys
from receiver.storage import open_keys
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

#: Seconds between two ranges that are read beside the work, and before one that could not be read is tried again.
_PAUSE: Final = 0.02
_AWAY: Final = 5.0


class Needs:
    """Looks whether what open jobs need is there: as far as a start may take, and then at all of them."""

    def __init__(self, *, store: Store, catalog: Catalog, keys: Keys) -> None:
        self._store = store
        self._catalog = catalog
        self._keys = keys
        #: Whether there are others than those that were looked at.
        self.more = False
        self._reading: asyncio.Task[None] | None = None
        #: What was found to be missing after the start.
        self.trouble: str | None = None

    async def check(self) -> None:
        """Look at the open jobs that a start has the time for.

        Raises:
            ConfigurationError: they need what is not there.
        """
        undescribed = sorted(set(await self._store.open_providers()) - set(self._catalog))
        if undescribed:
            raise ConfigurationError(
                f"Open jobs need the description of {undescribed[0]!r}, which is gone; bring it back until they have "
                "ended.",
                code="description_gone",
            )
        looked = await self._store.read(open_keys.look)
        self._refuse(looked.keys)
        self.more = looked.more

    async def check_all(self) -> None:
        """Look at all of them, however long that takes; raises ConfigurationError as ``check`` does."""
        async for keys in open_keys.ranges(self._store.read):
            self._refuse(keys)

    def begin(self) -> None:
        """Look at all of them beside the work, where a start had no time for that."""
        if self.more:
            self._reading = asyncio.create_task(self._read())

    async def end(self) -> None:
        """Look no further."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _read(self) -> None:
        while True:
            try:
                async for keys in open_keys.ranges(self._store.read):
                    self._refuse(keys)
                    await asyncio.sleep(_PAUSE)
            except ConfigurationError as error:
                self.trouble = str(error)
                log.error("secret_key_gone", reason=str(error))
            except StoreUnavailableError:
                await asyncio.sleep(_AWAY)
                continue
            return

    def _refuse(self, keys: frozenset[str]) -> None:
        gone = sorted(keys - {key.id for key in self._keys.masters} - {""})
        if gone:
            raise ConfigurationError(
                f"Open jobs need the master key {gone[0]}, which is not in RECEIVER_SECRET_KEY; add it again, after "
                "the newest, until they have ended.",
                code="secret_key_gone",
            )
