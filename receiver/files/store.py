"""The file store as everybody sees it, whichever kind it is.

The bytes of a file are kept under their SHA-256, so equal ones are kept once, and nothing that somebody else named ever
becomes a path of ours. What is not finished cannot be read.
"""

import hashlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from receiver.core.errors import ReceiverError
from receiver.core.model import Value

#: What stands in a store to say which one it is.
MARK: Final = "receiver-files.id"
#: Bytes that are read at once.
PIECE: Final = 256 * 1024
#: Tells which of so many digests some job still has.
Kept = Callable[[Sequence[str]], Awaitable[set[str]]]


class FileStoreError(ReceiverError):
    """The file store cannot be used right now; downloads wait, and are tried again by themselves."""

    code = "file_store_unavailable"
    status = 503


class DiskLowError(FileStoreError):
    """There is less room where files are kept than RECEIVER_DISK_FLOOR: downloads wait until there is more."""

    code = "files_disk_low"


class FileGoneError(FileStoreError):
    """The record says that the file is stored, and the file store does not have it: somebody deleted it there."""

    code = "file_bytes_missing"


class FilesUnsharedError(FileStoreError):
    """The place for files that is configured here is not the one that the record's files are in."""

    code = "files_unshared"


class Digests:
    """The digests of bytes that pass by."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._others: dict[str, hashlib._Hash] = {}
        self._crc32: int | None = None

    def want(self, names: Iterable[str]) -> None:
        """Compute these besides SHA-256, from the first byte on: md5, sha1, sha512, crc32."""
        for name in names:
            if name == "crc32":
                self._crc32 = 0
            elif name != "sha256":
                self._others[name] = hashlib.new(name, usedforsecurity=False)

    def add(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._sha256.update(piece)
        for one in self._others.values():
            one.update(piece)
        if self._crc32 is not None:
            self._crc32 = zlib.crc32(piece, self._crc32)

    def of(self, name: str) -> bytes | None:
        """The digest of that name; ``None`` where nobody wanted it in time."""
        if name == "sha256":
            return self._sha256.digest()
        if name == "crc32":
            return None if self._crc32 is None else self._crc32.to_bytes(4, "big")
        return self._others[name].digest() if name in self._others else None


class Writing(Protocol):
    """A file on its way into the store."""

    #: The name of what is left if the file is not finished; empty where nothing is left.
    name: str
    #: Bytes written so far.
    size: int
    digests: Digests

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Write on; raises FileStoreError, after which only ``discard`` helps."""
        ...

    async def secure(self) -> int:
        """Make what is written survive a power cut; return how many bytes do."""
        ...

    async def restart(self) -> None:
        """Forget what is written, and begin anew."""
        ...

    async def finish(self) -> str:
        """Complete the file, which is there for good then; return its SHA-256."""
        ...

    async def leave(self) -> None:
        """Stop, so that somebody can go on with it where that is possible."""
        ...

    async def discard(self) -> None:
        """Leave nothing behind."""
        ...


class Swept(Value, frozen=True, kw_only=True):
    """What a sweep deleted."""

    files: int = 0
    unfinished: int = 0
    bytes: int = 0


class FileStore(Protocol):
    """One place where files are kept. Every method raises FileStoreError where it cannot be used."""

    #: Where it is, without credentials.
    where: str
    #: Files that are written to it at once by one process.
    at_once: int

    async def begin(self, *, partial: str | None = None, received: int = 0) -> Writing:
        """Begin a file, or go on with the first *received* bytes of what somebody left unfinished, if it is there."""
        ...

    def read(self, sha256: str, *, start: int, length: int) -> AsyncIterator[bytes]:
        """A part of a file, piece by piece; raises FileGoneError where it is not there."""
        ...

    def open(self, sha256: str) -> BinaryIO:
        """A file, opened for reading, from a thread that may wait; raises FileGoneError where it is not there."""
        ...

    def path(self, sha256: str) -> Path | None:
        """The path of a file; ``None`` where it has none."""
        ...

    async def has(self, sha256: str) -> bool:
        """Whether a file is there."""
        ...

    async def delete(self, sha256: str) -> None:
        """Delete a file, if it is there."""
        ...

    async def sweep(self, kept: Kept, *, unfinished: Collection[str], older_than: int) -> Swept:
        """Delete what no job has, older than *older_than* seconds, and what nobody will go on with."""
        ...

    async def room(self) -> int | None:
        """Bytes that are free there; ``None`` where nobody knows."""
        ...

    async def mark(self) -> str | None:
        """The id that the store bears."""
        ...

    async def set_mark(self, text: str) -> None:
        """Give the store an id, unless it has one."""
        ...

    async def close(self) -> None:
        """Give everything back."""
        ...
