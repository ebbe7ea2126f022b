"""Sweeping: deletes what no job refers to any more from the file store, and downloads that nobody will go on with."""

from collections.abc import Sequence
from typing import Final

from receiver.files.opening import Marking
from receiver.files.store import FileStore, Swept
from receiver.storage import files
from receiver.storage.store import Store

#: Seconds for which a file is left alone whatever the record says: its row is written after its bytes.
_FRESH: Final = 3600


class Sweeping:
    """Deletes the files in the file store that no job refers to any more."""

    def __init__(self, *, store: Store, kept: FileStore, marking: Marking) -> None:
        self._store = store
        self._kept = kept
        self._marking = marking

    async def __call__(self, *, older_than: int = _FRESH) -> Swept:
        """Delete what is older than *older_than* seconds and nobody's.

        Raises:
            FileStoreError: the file store cannot be used, or is not the one of this record.
            StoreUnavailableError: the record cannot be read.
        """
        if await self._store.read(files.store_id) is None:
            return Swept()  # nothing was ever kept
        await self._marking.check()

        async def wanted(digests: Sequence[str]) -> set[str]:
            return await self._store.read(files.kept, digests)

        # First, or one that is begun meanwhile would be taken for one that was left.
        unfinished = await self._store.read(files.partials)
        return await self._kept.sweep(wanted, unfinished=unfinished, older_than=older_than)
