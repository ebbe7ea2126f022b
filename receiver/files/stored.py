"""A file as handlers get it: what is known of it, and its bytes once they are here."""

from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import anyio
import anyio.to_thread
import msgspec

from receiver.core.file import AsyncReading, File, FileState, Opening
from receiver.files.store import FileStore, FileStoreError


class FileNotStoredError(FileStoreError):
    """The file is not stored: its state and its code say why."""

    code = "file_not_stored"


class _Opening:
    """A file about to be opened."""

    def __init__(self, kept: FileStore, sha256: str) -> None:
        self._kept = kept
        self._sha256 = sha256
        self._file: BinaryIO | None = None

    def __enter__(self) -> BinaryIO:
        self._file = self._kept.open(self._sha256)
        return self._file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    async def __aenter__(self) -> AsyncReading:
        self._file = await anyio.to_thread.run_sync(self._kept.open, self._sha256)
        return anyio.wrap_file(self._file)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            await anyio.to_thread.run_sync(self._file.close)


class StoredFile(File, frozen=True, kw_only=True):
    """A file of a job, which can be opened once it is stored."""

    kept: FileStore

    def open(self) -> Opening:
        """Open it: ``with file.open() as stream`` or ``async with file.open() as stream``.

        Raises:
            FileNotStoredError: it waits, or is lost.
            FileGoneError: when it is entered: somebody deleted its bytes in the file store.
        """
        return _Opening(self.kept, self._digest())

    def path(self) -> Path:
        """Its path in a file store that is a folder, to be read only: nothing else may be done to it.

        Raises:
            FileNotStoredError: it waits, or is lost; or the file store is none of folders.
        """
        found = self.kept.path(self._digest())
        if found is None:
            raise FileNotStoredError(
                "The files are kept in an object store, where they have no path; use open()."
            )
        return found

    def _digest(self) -> str:
        if self.state is not FileState.STORED or self.sha256 is None:
            why = "" if self.code is None else f" ({self.code})"
            raise FileNotStoredError(f"The file {self.number} is {self.state}{why}; it has no bytes here.")
        return self.sha256


def stored_file(file: File, kept: FileStore) -> StoredFile:
    """*file*, to be opened."""
    return StoredFile(**msgspec.structs.asdict(file), kept=kept)
