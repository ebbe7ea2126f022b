"""A file of a job on its way to this machine: aside until it is whole, and gone on with after a break."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from receiver.client.calls import NoAnswerFromReceiverError

#: Seconds to wait before it is gone on with, each time that it breaks off.
WAITS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_WHOLE, _PART = 200, 206
_READ: Final = 1024 * 1024


class Download:
    """The bytes that have arrived, and what is to be asked for next."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = 0
        self._etag: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What asks for the rest, if the file is still the same; for all of it at first."""
        if not self._size or self._etag is None:
            return {}
        return {"range": f"bytes={self._size}-", "if-range": self._etag}

    def begin(self, status: int, headers: Mapping[str, str]) -> bool:
        """Take an answer's head; False where it is neither the file nor the rest of it."""
        if status == _WHOLE:
            self._file.seek(0)
            self._file.truncate()
            self._size = 0
        self._etag = headers.get("etag", self._etag)
        return status in {_WHOLE, _PART}

    def write(self, piece: bytes) -> None:
        """Take some bytes."""
        self._file.write(piece)
        self._size += len(piece)

    def check(self) -> None:
        """Compare what arrived with the digest that the receiver names; raises NoAnswerFromReceiverError."""
        if self._etag is None:
            return
        self._file.flush()
        self._file.seek(0)
        digest = hashlib.sha256()
        while piece := self._file.read(_READ):
            digest.update(piece)
        if digest.hexdigest() != self._etag.strip('"'):
            raise NoAnswerFromReceiverError(
                "What arrived is not the file that the receiver names; try again."
            )


@contextmanager
def download(path: Path) -> Iterator[Download]:
    """A download to *path*, which is there once it is whole, and only then; raises OSError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("w+b") as file:
            one = Download(file)
            yield one
            one.check()
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
