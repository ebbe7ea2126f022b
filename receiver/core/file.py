"""Files: the documents that a result links to, each on its way into the store or there, or lost.

Times are milliseconds since the Unix epoch, as everywhere.
"""

from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Protocol

import msgspec

#: Whether handlers wait until the files of a result are here, or whether they are fetched at all.
When = Literal["before", "beside", "never"]


class FileState(StrEnum):
    """How far a file has come."""

    #: It is still to be fetched.
    WAITING = "waiting"
    #: Its bytes are in the file store.
    STORED = "stored"
    #: It cannot be had; ``code`` says why.
    LOST = "lost"


class AsyncReading(Protocol):
    """A file that is open for reading, for coroutines."""

    async def read(self, size: int = -1) -> bytes:
        """The next *size* bytes, or all that are left."""
        ...

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Go to another place."""
        ...


class Opening(Protocol):
    """A file about to be opened: by ``with`` in a plain function, by ``async with`` in a coroutine."""

    def __enter__(self) -> BinaryIO: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> AsyncReading: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One document that a result links to. Numbers begin at 1, in the order of the result."""

    number: int
    #: As its description, its link or the file itself names it. Somebody else's words: never a path on a disk of ours.
    name: str
    #: Where in the result its link stands (``output.0``).
    place: str = ""
    #: Where it came from: the link without its query, which is what opens it.
    source: str = ""
    state: FileState = FileState.WAITING
    #: Why it is lost, or what its last attempt met.
    code: str | None = None
    #: Of a stored file: its size in bytes, its type as the sender called it, its digest.
    size: int | None = None
    content_type: str | None = None
    sha256: str | None = None
    stored_at: int | None = None

    def open(self) -> Opening:
        """Open it for reading; raises FileStoreError where it is not stored, TypeError unless a handler got it."""
        raise TypeError(
            "This only describes a file; handlers, receiver.wait() and receiver.files() give ones to open."
        )

    def path(self) -> Path:
        """Its path, where the file store is a folder; raises as ``open`` does."""
        raise TypeError(
            "This only describes a file; handlers, receiver.wait() and receiver.files() give ones to open."
        )


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is still to be fetched, as a row of what is due. A claim moves ``run_at`` to the end of its lease."""

    job_id: str
    number: int
    provider: str
    #: Where it is; empty for one that is written out in the result itself (``data:``).
    url: str
    #: The origin of the address: the number of files fetched at once is bounded for each.
    origin: str
    #: Whether its address, where its origin is listed, wants our credentials.
    authenticated: bool = False
    #: Bytes that it may have.
    largest: int
    run_at: int
    #: By when its provider deletes it, as far as anybody tells, or by our guess; the order goes by it.
    expires_at: int
    attempt: int = 0
    owner: str | None = None
    failures: int = 0
    #: Whether its provider was asked for a fresh link already.
    renewed: bool = False
    #: What an earlier attempt left: its name in the file store, how much of it is safe, and of which entity it is part.
    partial: str | None = None
    received: int = 0
    validator: str | None = None
