"""The file store in a folder: written aside, synced, then named by its digest.

::

    receiver.files/
    ├── receiver-files.id     which store this is
    ├── sha256/ab/ab12…       what is whole, by its digest
    └── unfinished/7d41…      what is still being written, by a name that we made up
"""

import asyncio
import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from receiver.durable import sync
from receiver.files.store import (
    MARK,
    PIECE,
    Digests,
    DiskLowError,
    FileGoneError,
    FileStoreError,
    Kept,
    Swept,
)

T = TypeVar("T")

_NAME: Final = re.compile(r"[0-9a-f]{32}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
#: After so many bytes it is looked whether the disk is about to be full.
_LOOK_EVERY: Final = 16 * 1024 * 1024
#: So many digests are asked about at a time.
_BATCH: Final = 500


class Folder:
    """Files in a folder.

    Args:
        root: Which; made when it is first written to.
        floor: Bytes that are to stay free on its disk.
    """

    at_once = 20

    def __init__(self, root: Path, *, floor: int) -> None:
        # A handler may change the folder of the process.
        root = root.absolute()
        self._root = root
        self._floor = floor
        self.where = f"file://{root}"
        # Threads of its own: a slow disk keeps nobody else waiting.
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="receiver-files")

    async def run(self, work: Callable[..., T], *args: Any) -> T:  # noqa: ANN401
        """Do *work* in a thread of ours; raises FileStoreError where the disk refuses."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        except FileNotFoundError as error:
            raise FileGoneError("A file is not in the folder any more where files are kept.") from error
        except OSError as error:
            if error.errno in _FULL:
                raise DiskLowError(f"The disk of {self.where} is full.") from error
            raise FileStoreError(f"{self.where} cannot be used: {error.strerror}.") from error

    async def begin(self, *, partial: str | None = None, received: int = 0) -> "FolderWriting":
        """Begin a file; see ``store.FileStore``."""
        return await self.run(self._begin, partial, received)

    async def read(self, sha256: str, *, start: int, length: int) -> AsyncIterator[bytes]:
        """A part of a file; see ``store.FileStore``."""
        file = await self.run(self.open, sha256)
        try:
            await self.run(file.seek, start)
            while length > 0 and (piece := await self.run(file.read, min(length, PIECE))):
                length -= len(piece)
                yield piece
        finally:
            file.close()

    def open(self, sha256: str) -> BinaryIO:
        """A file, opened for reading; raises FileGoneError."""
        try:
            return self.path(sha256).open("rb")
        except OSError as error:
            raise FileGoneError(f"The file {sha256} is not in {self.where}.") from error

    def path(self, sha256: str) -> Path:
        """The path of a file."""
        assert _DIGEST.fullmatch(sha256)  # noqa: S101  (it is one that we computed)
        return self._root / "sha256" / sha256[:2] / sha256

    async def has(self, sha256: str) -> bool:
        """Whether a file is there."""
        return await self.run(self.path(sha256).is_file)

    async def delete(self, sha256: str) -> None:
        """Delete a file."""
        await self.run(_unlink, self.path(sha256))

    async def sweep(self, kept: Kept, *, unfinished: Collection[str], older_than: int) -> Swept:
        """Delete what nobody has; see ``store.FileStore``."""
        files = unfinished_ones = size = 0
        before = time.time() - older_than  # noqa: TID251  (the disk's own times are compared, which are this clock's)
        for batch in await self.run(self._old, before):
            here = {path.name: path for path in batch}
            for name in here.keys() - await kept(sorted(here)):
                freed = await self.run(self._drop, here[name], before)
                files, size = files + (freed is not None), size + (freed or 0)
        for path in await self.run(self._old_unfinished, before):
            if path.name not in unfinished:
                freed = await self.run(_unlink, path)
                unfinished_ones, size = unfinished_ones + (freed is not None), size + (freed or 0)
        return Swept(files=files, unfinished=unfinished_ones, bytes=size)

    async def room(self) -> int | None:
        """Bytes that are free."""
        return await self.run(self.free)

    def free(self) -> int:
        """Bytes that are free; from a thread."""
        there = next(one for one in (self._root, *self._root.parents) if one.exists())
        return shutil.disk_usage(there).free

    def look(self, more: int = 0) -> None:
        """Raise DiskLowError where *more* bytes would leave less than the floor; from a thread."""
        if self.free() - more < self._floor:
            raise DiskLowError(
                f"The disk of {self.where} has less than {self._floor} bytes left (RECEIVER_DISK_FLOOR)."
            )

    async def mark(self) -> str | None:
        """The id that stands in the folder."""
        try:
            return await self.run(_text, self._root / MARK)
        except FileGoneError:
            return None

    async def set_mark(self, text: str) -> None:
        """Give the folder its id."""
        await self.run(self._set_mark, text)

    async def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False)

    def _set_mark(self, text: str) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self._root / f"{MARK}.{secrets.token_hex(4)}"
        aside.write_text(text, encoding="ascii")
        try:
            os.link(aside, self._root / MARK)  # fails where one is there
        except FileExistsError:
            return
        finally:
            aside.unlink()
        sync(self._root)

    def _begin(self, partial: str | None, received: int) -> "FolderWriting":
        self.look()
        folder = self._root / "unfinished"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = secrets.token_hex(16)
        writing = FolderWriting(self, folder / name)
        if partial is not None and received and _NAME.fullmatch(partial):
            try:
                # By its new name it is ours alone, whoever else may have had it.
                (folder / partial).rename(folder / name)
            except FileNotFoundError:
                writing.create()
            else:
                writing.go_on(received)
        else:
            writing.create()
        return writing

    def put(self, unfinished: Path, sha256: str) -> None:
        """Name a file that is whole and synced; from a thread."""
        target = self.path(sha256)
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync(target.parent.parent)
            sync(self._root)
        # Also over equal bytes: it is fresh then, and no sweep that is under way takes it for an orphan.
        unfinished.replace(target)
        sync(target.parent)

    def _old(self, before: float) -> list[list[Path]]:
        found = [
            entry
            for entry in (self._root / "sha256").glob("*/*")
            if _DIGEST.fullmatch(entry.name) and _changed(entry) < before
        ]
        return [found[start : start + _BATCH] for start in range(0, len(found), _BATCH)]

    def _old_unfinished(self, before: float) -> list[Path]:
        return [one for one in (self._root / "unfinished").glob("*") if _changed(one) < before]

    def _drop(self, path: Path, before: float) -> int | None:
        """Delete a file unless it was put there anew meanwhile; the bytes that it took."""
        aside = self._root / "unfinished" / secrets.token_hex(16)
        aside.parent.mkdir(exist_ok=True, mode=0o700)
        try:
            path.rename(aside)
        except FileNotFoundError:
            return None
        if _changed(aside) >= before:
            aside.replace(path)
            return None
        return _unlink(aside)


class FolderWriting:
    """A file on its way into a folder."""

    def __init__(self, folder: Folder, path: Path) -> None:
        self._folder = folder
        self._path = path
        self._file: Any = None
        self._looked = 0
        self.name = path.name
        self.size = 0
        self.digests = Digests()

    def create(self) -> None:
        """Begin it; from a thread."""
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def go_on(self, received: int) -> None:
        """Go on with its first *received* bytes, or from the beginning if there are not so many; from a thread."""
        self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        # Bytes beyond may be there without ever having been synced.
        if os.fstat(self._file).st_size < received:
            os.ftruncate(self._file, 0)
            return
        os.ftruncate(self._file, received)
        for piece in iter(lambda: os.read(self._file, PIECE), b""):
            self.digests.add(piece)
            self.size += len(piece)

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Write on."""
        await self._folder.run(self._write, pieces)

    async def secure(self) -> int:
        """Sync what is written."""
        await self._folder.run(os.fsync, self._file)
        return self.size

    async def restart(self) -> None:
        """Begin anew."""
        await self._folder.run(self._restart)

    async def finish(self) -> str:
        """Sync it, and name it."""
        await self._folder.run(os.fsync, self._file)
        self._close()
        digest = self.digests.of("sha256") or b""
        await self._folder.run(self._folder.put, self._path, digest.hex())
        return digest.hex()

    async def leave(self) -> None:
        """Close it."""
        self._close()

    async def discard(self) -> None:
        """Delete it."""
        self._close()
        await self._folder.run(_unlink, self._path)

    def _write(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(self._file, view) :]
            self.digests.add(piece)
            self.size += len(piece)
        if self.size - self._looked >= _LOOK_EVERY:
            self._looked = self.size
            self._folder.look()

    def _restart(self) -> None:
        os.lseek(self._file, 0, os.SEEK_SET)
        os.ftruncate(self._file, 0)
        self.size = self._looked = 0
        self.digests = Digests()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace").strip()


def _unlink(path: Path) -> int | None:
    """Delete a file; the bytes that it took, or ``None`` where it was not there."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return None
    return size


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
