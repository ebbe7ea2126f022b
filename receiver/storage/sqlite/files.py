"""The files of an SQLite database: whether they still are the ones that are open, and the locks beside them.

A file that is removed, moved or hidden by another mount stays open for whoever has it open: it can be written to and
committed to, and nobody will ever read what it holds. So what lies at the path is compared with what was opened.
"""

import fcntl
import os
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final, NoReturn

import structlog

from receiver import forks
from receiver.core.errors import ConfigurationError, StoreUnavailableError

log = structlog.get_logger(__name__)

#: How long a write waits for another process, in seconds: below the two seconds in which ingest answers.
PATIENCE: Final = 1.2
#: What lies beside the database for as long as it is open: its log, and the index of that which processes share.
LOG: Final = "-wal"
_SHARED: Final = "-shm"
#: Written into the lock file once the database has its tables, and left there: where the file is gone later, somebody
#: has lost it, and a new one in its place would take callbacks for jobs that it does not know.
_MARK: Final = b"A receiver database was made beside this file. See 'receiver explain database_gone'.\n"

#: Which file something is: inode and device, as they stand side by side in what ``os.stat`` returns.
Identity = tuple[int, ...]


class _Held:
    """The lock while it is held: a class, because each commit takes it, and a generator takes twice as long."""

    def __init__(self, files: "Files") -> None:
        self._files = files

    def __enter__(self) -> None:
        self._files.take()

    def __exit__(self, *_: object) -> None:
        self._files.leave()


class Files:
    """The files of the database at *path*."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Which files are open: paths and identities. Several threads ask, so it is replaced and never changed.
        self._open: tuple[tuple[str, Identity], ...] = ()
        # As text: they are asked about with each commit, and a Path is turned into text each time.
        self._name = str(path)
        self._with_it = (f"{path}{LOG}", f"{path}{_SHARED}")
        self._lock_name = f"{path}-lock"
        self._copied_name = f"{path}-copied"
        #: Whether there was something in it.
        self._filled = False
        self._lock_file: int | None = None
        self._serve_file: int | None = None
        self._told = ""
        self._held = _Held(self)

    def make(self) -> None:
        """Make the file if there is none, for nobody but us: it holds requests, callbacks and results.

        Its log gets the same mode. SQLite says what is wrong with the path.
        """
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_EXCL, 0o600))
        except OSError:
            return

    def opened(self) -> None:
        """Remember which file is open now, unless that is known already."""
        self._remember(self._name)

    def began(self) -> None:
        """Remember which log is open, once something has been read or written."""
        if len(self._open) == 1:
            self._remember(*self._with_it)

    def forget_log(self) -> None:
        """The log that was open may be no more."""
        self._open = self._open[:1]

    def check(self) -> None:
        """Raise StoreUnavailableError where something else, or nothing, lies where what is open lay."""
        for path, identity in self._open:
            try:
                found = os.stat(path)  # noqa: PTH116
            except OSError:
                self._refuse(path, "is gone")
            if found[1:3] != identity:
                self._refuse(path, "is not the file that is open")
            if path is self._name:
                filled = found.st_size > 0
                if self._filled and not filled:
                    self._refuse(path, "is empty")
                self._filled = filled
        self._told = ""

    def _refuse(self, path: str, what: str) -> NoReturn:
        told = f"{path} {what}"
        if self._told != told:
            # Once, and not for each callback.
            self._told = told
            log.error("database_gone", file=path, found=what)
        raise StoreUnavailableError(
            f"{told}: it was removed, emptied, replaced, or hidden by another mount. Nothing was acknowledged. "
            "Stop this process, put the database back, and start again.",
            code="database_gone",
        )

    def _remember(self, *paths: str) -> None:
        known = {path for path, _ in self._open}
        found = [(path, _identity(path)) for path in paths if path not in known]
        self._open += tuple((path, identity) for path, identity in found if identity is not None)

    # -- the mark that there was a database ----------------------------------------------------------------

    def mark(self) -> None:
        """Leave word that a database was made here."""
        if size(Path(self._lock_name)) == 0:
            # Where nothing can be written beside it, it is served without a mark.
            with suppress(OSError, StoreUnavailableError):
                os.pwrite(self._lock(), _MARK, 0)

    def marked(self) -> bool:
        """Whether a database was made here once, or has left its log behind."""
        return size(Path(self._lock_name)) > 0 or (
            not self.path.exists() and size(Path(f"{self.path}{LOG}")) > 0
        )

    # -- the mark that another database has its record -------------------------------------------------------

    def give_away(self, where: str) -> None:
        """Leave word that all of it was copied to *where*; raises OSError where nothing can be written beside it."""
        Path(self._copied_name).write_text(f"{where}\n", encoding="utf-8")

    def given_away(self) -> str | None:
        """Where all of it was copied to, if it was."""
        try:
            return Path(self._copied_name).read_text(encoding="utf-8").strip() or "another database"
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            return "another database"

    def reclaim(self) -> bool:
        """Take that word away; whether there was one."""
        try:
            Path(self._copied_name).unlink()
        except FileNotFoundError:
            return False
        return True

    # -- locks ---------------------------------------------------------------------------------------------

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock that every process holds while it writes or moves the log."""
        return self._held

    def take(self) -> None:
        """Take the lock; raises StoreUnavailableError where another process keeps it."""
        file = self._lock()
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise StoreUnavailableError(
                        "Another process holds the database; try again.", code="store_unavailable"
                    ) from error
                time.sleep(0.002)

    def leave(self) -> None:
        """Give the lock back."""
        if self._lock_file is not None:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def serve(self) -> None:
        """Claim the right to serve this file; raises ConfigurationError where another process has it."""
        file = self._beside("serve")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            forks.close(file)
            raise ConfigurationError(
                f"Another receiver process already serves {self.path}. SQLite takes one: a program of "
                "yours asks it by receiver.client, and for several nodes RECEIVER_DATABASE_URL is PostgreSQL.",
                code="already_served",
            ) from error
        if self._serve_file is not None:
            forks.close(self._serve_file)
        self._serve_file = file

    @property
    def serving(self) -> bool:
        """Whether the right to serve this file is ours."""
        return self._serve_file is not None

    def close(self) -> None:
        """Give the locks back."""
        for file in (self._lock_file, self._serve_file):
            if file is not None:
                forks.close(file)
        self._lock_file = self._serve_file = None

    def _lock(self) -> int:
        """The lock file: the one that lies there, which is the one that others lock."""
        if self._lock_file is not None and _identity(self._lock_name) != _of(self._lock_file):
            forks.close(self._lock_file)
            self._lock_file = None
        if self._lock_file is None:
            # Nothing is made where the database is hidden by another mount.
            self.check()
            self._lock_file = self._beside("lock")
        return self._lock_file

    def _beside(self, name: str) -> int:
        """A file beside the database, and the folder that it is in; whoever only reads makes neither."""
        try:
            if not self._open:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            return forks.keep(os.open(f"{self.path}-{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreUnavailableError(
                f"The database cannot be used right now ({error.filename}: {error.strerror}); nothing was acknowledged."
            ) from error


def size(path: Path) -> int:
    """The size of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _identity(path: str) -> Identity | None:
    """Which file lies there, if one does."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found[1:3]


def _of(file: int) -> Identity:
    return os.fstat(file)[1:3]
