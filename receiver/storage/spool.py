"""The spool: what the database cannot take yet, each in a file of its own: answers of providers, and orders.

What a provider answered to a submission may be all that is known of a job that is paid for, a result that it gives once
is nowhere else, and of an order its caller was told that it is sent later. While the database is locked, full or gone
they are kept here, so that they also survive the end of the process; whoever starts next stores them.
"""

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec
import structlog

from receiver import forks
from receiver.core.asking.exchange import Seen
from receiver.core.model import Due, Value
from receiver.durable import sync
from receiver.storage.records import NewJob
from receiver.storage.settlements import SubmitSettled

log = structlog.get_logger(__name__)

#: What becomes of the name of a file that cannot be read, or that is about no job of this database.
_ASIDE: Final = ".refused"
#: What is there while something is asked for that is given once.
_ASKED: Final = ".asked"
_encoder: Final = msgspec.msgpack.Encoder()


class HeldResult(Value, frozen=True, kw_only=True):
    """A result that its provider gives once, or a page of one, as far as it is not in the database."""

    due: Due
    #: What came; a page has its bytes in it.
    finding: Seen
    #: What is not stored yet of bytes that come in pieces: the part, the number of its first chunk, and the bytes.
    pieces: tuple[tuple[int, int, bytes], ...]


class HeldOrder(Value, frozen=True, kw_only=True):
    """A job of which nobody knows whether it is recorded; it was not sent."""

    due: Due
    new: NewJob


T = TypeVar("T", bound=SubmitSettled | HeldResult | HeldOrder)


class Spool(Generic[T]):
    """A folder of answers of one kind, one of a job; every method blocks.

    A file that some process holds is locked, so that no two store the same answer; with the process the lock ends.
    """

    def __init__(self, folder: Path, kind: type[T], *, suffix: str) -> None:
        # A handler may change the folder of the process.
        self._folder = folder.absolute()
        self._suffix = suffix
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}
        self._asking: dict[str, int] = {}
        #: The jobs of answers that are nothing to this process.
        self._others: set[str] = set()

    def ask(self, job_id: str) -> None:
        """Leave a mark that what is given once is asked for from here; it is told apart from one of a process gone."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(self._folder / f"{job_id}{_ASKED}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                return
            with self._lock:
                self._asking[job_id] = forks.keep(file)

    def asked(self, job_id: str, *, came: bool) -> None:
        """Take the mark away: what came of it is stored or held; else it stays, and nobody asks any more."""
        with self._lock:
            file = self._asking.pop(job_id, None)
        if file is None:
            return
        if came:
            self.forget(job_id)
        forks.close(file)

    def forget(self, job_id: str) -> None:
        """Take the mark of a process away that is gone."""
        with suppress(OSError):
            (self._folder / f"{job_id}{_ASKED}").unlink(missing_ok=True)

    def deserted(self) -> list[str]:
        """The jobs whose results were asked for from here by processes that are gone, and left nothing."""
        found = []
        for path in sorted(self._folder.glob(f"*{_ASKED}")):
            with suppress(OSError):
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    found.append(path.stem)
                finally:
                    os.close(file)
        return [one for one in found if one not in self._others]

    def put(self, answer: T) -> bool:
        """Keep an answer until it is dropped; whether it is on the disk."""
        job_id = answer.due.job_id
        path = self._folder / f"{job_id}{self._suffix}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            aside = path.with_suffix(".new")
            file = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with open(file, "wb", closefd=False) as written:
                    written.write(_encoder.encode(answer))
                os.fsync(file)
                aside.replace(path)
                sync(self._folder)
            except BaseException:
                os.close(file)
                raise
        except OSError as error:
            log.error("answer_not_spooled", job=job_id, folder=str(self._folder), reason=error.strerror)
            return False
        self._hold(job_id, file)
        return True

    def drop(self, job_id: str, *, surely: bool = False) -> bool:
        """Forget an answer: it is stored; whether it is gone. With *surely* it does not come back after a power cut."""
        try:
            (self._folder / f"{job_id}{self._suffix}").unlink()
            if surely:
                sync(self._folder)
        except FileNotFoundError:
            pass  # it could not be written, or another has put it aside
        except OSError as error:
            log.error("answer_not_dropped", job=job_id, folder=str(self._folder), reason=error.strerror)
            return False
        finally:
            self._let_go(job_id)
        return True

    def refuse(self, job_id: str) -> None:
        """Put an answer aside that can never be stored; a person may look at it."""
        path = self._folder / f"{job_id}{self._suffix}"
        with suppress(OSError):
            path.replace(path.with_suffix(_ASIDE))
        self._let_go(job_id)

    def pass_over(self, job_id: str) -> None:
        """Leave an answer to whoever knows its job: it is of another database, whose process uses this folder, too."""
        log.warning("answer_of_others", job=job_id, folder=str(self._folder))
        self._others.add(job_id)
        self._let_go(job_id)

    def take(self) -> list[T]:
        """The answers that no process holds; they are held here now."""
        taken = []
        with suppress(FileNotFoundError):
            for path in sorted(self._folder.glob(f"*{self._suffix}")):
                if path.stem in self._others:
                    continue
                found = self._take(path)
                if found is not None:
                    taken.append(found)
        return taken

    def take_one(self, job_id: str) -> T | None:
        """The answer about a job, if there is one and no process holds it; it is held here now."""
        return self._take(self._folder / f"{job_id}{self._suffix}")

    def has(self, job_id: str) -> bool:
        """Whether there is an answer about a job, whoever holds it."""
        return (self._folder / f"{job_id}{self._suffix}").exists()

    def leave(self, job_id: str) -> None:
        """Hold an answer no more; it stays for whoever comes."""
        self._let_go(job_id)

    def close(self) -> None:
        """Hold nothing any more; what is there stays for whoever starts next."""
        with self._lock:
            held, self._held = [*self._held.values(), *self._asking.values()], {}
            self._asking = {}
        for file in held:
            forks.close(file)

    def _take(self, path: Path) -> T | None:
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None  # it has just been stored
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink == 0:
                os.close(file)
                return None
            answer = self._decoder.decode(path.read_bytes())
        except OSError:
            os.close(file)
            return None
        except msgspec.DecodeError as error:
            log.error("answer_unreadable", file=str(path), reason=str(error))
            with suppress(OSError):
                path.replace(path.with_suffix(_ASIDE))
            os.close(file)
            return None
        self._hold(answer.due.job_id, file)
        return answer

    def _hold(self, job_id: str, file: int) -> None:
        with self._lock:
            before = self._held.pop(job_id, None)
            self._held[job_id] = forks.keep(file)
        if before is not None:
            forks.close(before)

    def _let_go(self, job_id: str) -> None:
        with self._lock:
            file = self._held.pop(job_id, None)
        if file is not None:
            forks.close(file)


def answers(folder: Path) -> Spool[SubmitSettled]:
    """The answers to submissions in *folder*."""
    return Spool(folder, SubmitSettled, suffix=".answer")


def orders(folder: Path) -> Spool[HeldOrder]:
    """The jobs in *folder* of which nobody knows whether they are recorded."""
    return Spool(folder, HeldOrder, suffix=".order")


def results(folder: Path) -> Spool[HeldResult]:
    """The results in *folder* that are given once."""
    return Spool(folder, HeldResult, suffix=".result")
