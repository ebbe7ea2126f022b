"""The spool: answers of providers that the database cannot take yet, each in a file of its own.

What a provider answered to a submission may be all that is known of a job that is paid for. While the database is
locked, full or gone it is kept here, so that it also survives the end of the process; whoever starts next stores it.
"""

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from receiver.storage.settlements import SubmitSettled

log = structlog.get_logger(__name__)

_KEPT: Final = ".answer"
#: What becomes of the name of a file that cannot be read, or that is about no job of this database.
_ASIDE: Final = ".refused"
_decoder: Final = msgspec.msgpack.Decoder(SubmitSettled)
_encoder: Final = msgspec.msgpack.Encoder()


class Spool:
    """A folder of answers; every method blocks.

    A file that some process holds is locked, so that no two store the same answer; with the process the lock ends.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}

    def put(self, settled: SubmitSettled) -> bool:
        """Keep an answer until it is dropped; whether it is on the disk."""
        job_id = settled.due.job_id
        path = self._folder / f"{job_id}{_KEPT}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            aside = path.with_suffix(".new")
            file = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with open(file, "wb", closefd=False) as written:
                    written.write(_encoder.encode(settled))
                os.fsync(file)
                aside.replace(path)
                self._sync_folder()
            except BaseException:
                os.close(file)
                raise
        except OSError as error:
            log.error("answer_not_spooled", job=job_id, folder=str(self._folder), reason=error.strerror)
            return False
        self._hold(job_id, file)
        return True

    def drop(self, job_id: str) -> None:
        """Forget an answer: it is stored."""
        with suppress(OSError):
            (self._folder / f"{job_id}{_KEPT}").unlink(missing_ok=True)
        self._let_go(job_id)

    def refuse(self, job_id: str) -> None:
        """Put an answer aside that can never be stored; a person may look at it."""
        path = self._folder / f"{job_id}{_KEPT}"
        with suppress(OSError):
            path.replace(path.with_suffix(_ASIDE))
        self._let_go(job_id)

    def take(self) -> list[SubmitSettled]:
        """The answers that no process holds; they are held here now."""
        taken = []
        with suppress(FileNotFoundError):
            for path in sorted(self._folder.glob(f"*{_KEPT}")):
                found = self._take(path)
                if found is not None:
                    taken.append(found)
        return taken

    def close(self) -> None:
        """Hold nothing any more; what is there stays for whoever starts next."""
        with self._lock:
            held, self._held = self._held, {}
        for file in held.values():
            os.close(file)

    def _take(self, path: Path) -> SubmitSettled | None:
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None  # it has just been stored
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink == 0:
                os.close(file)
                return None
            settled = _decoder.decode(path.read_bytes())
        except OSError:
            os.close(file)
            return None
        except msgspec.DecodeError as error:
            log.error("answer_unreadable", file=str(path), reason=str(error))
            with suppress(OSError):
                path.replace(path.with_suffix(_ASIDE))
            os.close(file)
            return None
        self._hold(settled.due.job_id, file)
        return settled

    def _hold(self, job_id: str, file: int) -> None:
        with self._lock:
            before = self._held.pop(job_id, None)
            self._held[job_id] = file
        if before is not None:
            os.close(before)

    def _let_go(self, job_id: str) -> None:
        with self._lock:
            file = self._held.pop(job_id, None)
        if file is not None:
            os.close(file)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
