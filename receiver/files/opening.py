"""Opens the file store that a setting names: a folder, or an object store."""

import asyncio
import secrets
from typing import Final
from urllib.parse import urlsplit

from receiver.core.errors import ConfigurationError
from receiver.core.model import MINUTE
from receiver.files.folder import Folder
from receiver.files.store import FileStore, FileStoreError, FilesUnsharedError
from receiver.settings import Settings
from receiver.storage import files
from receiver.storage.store import Store

_OBJECTS: Final = {"s3", "gs", "az"}


def open_files(settings: Settings) -> FileStore:
    """The file store; raises ConfigurationError where RECEIVER_FILES_URL names none."""
    folder = settings.files_folder
    if folder is not None:
        return Folder(folder, floor=settings.disk_floor)
    url = settings.files_url or ""
    if urlsplit(url).scheme not in _OBJECTS or not urlsplit(url).netloc:
        raise ConfigurationError(
            "RECEIVER_FILES_URL must be file:///folder, s3://bucket/prefix, gs://bucket/prefix or "
            "az://container/prefix.",
            code="setting_invalid",
        )
    try:
        from receiver.files.bucket import Bucket
    except ImportError as error:
        raise ConfigurationError(
            "RECEIVER_FILES_URL names an object store, whose client is missing: in the folder of receiver, "
            "pip install '.[files]'.",
            code="setting_invalid",
        ) from error
    try:
        return Bucket(url, settings)
    except (ValueError, OSError, RuntimeError) as error:
        raise ConfigurationError(
            f"RECEIVER_FILES_URL cannot be used: {type(error).__name__}. The region, the account or the credentials "
            "are missing; they are read under the vendor's own names, such as AWS_REGION.",
            code="setting_invalid",
        ) from error


class Marking:
    """Makes sure that the file store is the one that the record's files are in."""

    def __init__(self, *, store: Store, files: FileStore) -> None:
        self._store = store
        self._files = files
        self._sure = False
        self._turn = asyncio.Lock()

    async def check(self) -> None:
        """Raise FilesUnsharedError where the record's files are elsewhere; nothing is written."""
        wanted = await self._store.read(files.store_id)
        if wanted is not None and (found := await self._files.mark()) != wanted:
            raise _unshared(self._files.where, wanted, found)

    async def claim(self, *, now: int) -> None:
        """The same before something is written, which makes it the store of the record; raises FilesUnsharedError."""
        async with self._turn:
            if not self._sure:
                await self._claim(now)
                self._sure = True

    async def _claim(self, now: int) -> None:
        read, write = self._store.read, self._store.write
        known, found = await read(files.store_id), await self._files.mark()
        if known is None:
            if found is not None:
                # The mark is of another record, gone or still in use, whose sweep would delete our files.
                raise _unshared(self._files.where, None, found)
            # The record names its store, and the node that entered the name marks the place: of two nodes at once just
            # one.
            wanted = secrets.token_hex(16)
            known = await write(files.name_store, (wanted, now))
            if known == wanted:
                try:
                    await self._files.set_mark(wanted)
                except FileStoreError:
                    # The place cannot be used. Once it can, or another is configured, that one is marked.
                    await write(files.unname_store, wanted)
                    raise
            found = await self._files.mark()
        if found is None and await read(files.unmarked, now - MINUTE):
            # The node that entered the name ended before it marked the place.
            await self._files.set_mark(known)
            found = await self._files.mark()
        if found != known:
            raise _unshared(self._files.where, known, found)


def _unshared(where: str, wanted: str | None, found: str | None) -> FilesUnsharedError:
    if wanted is None:
        return FilesUnsharedError(
            f"{where} holds the files of another record (its receiver-files.id is {found}). Have RECEIVER_FILES_URL "
            "name an empty place; or, if that record is gone for good, delete receiver-files.id there."
        )
    state = "is not there" if found is None else f"is {found}"
    return FilesUnsharedError(
        f"The record's files are in the store {wanted}, and receiver-files.id in {where} {state}. Have "
        "RECEIVER_FILES_URL name the same place on every node: a folder that they all mount, or an object store. If "
        f"the files were moved or are lost, write {wanted} into receiver-files.id there."
    )
