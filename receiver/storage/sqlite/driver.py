"""SQLite under the store: one writing connection, a lock file around it, and readers beside it.

Why it is set up this way (sqlite.org/wal.html, read 2026-11-20): WAL with ``synchronous=FULL`` loses no
acknowledged commit at a power cut, NORMAL does; a deferred transaction that upgrades from read to write fails
at once under contention, IMMEDIATE waits; and below SQLite 3.51.3 two connections that write or checkpoint at
the same instant may damage the file, so every writer of every process holds the lock file first.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from receiver.core.errors import CommitUnknownError, ConfigurationError, StoreUnavailableError
from receiver.metrics import TableSize
from receiver.storage.driver import Vacuumed
from receiver.storage.sqlite.files import LOG, PATIENCE, Files, size
from receiver.storage.sqlite.log import reaches
from receiver.storage.sqlite.moving import Moving
from receiver.storage.sqlite.transaction import SQLiteTransaction

#: A log of this many bytes is moved into the file. Moving it costs two waits for the disk, and pages that were written
#: many times are moved once, so it is done seldom; but commits wait for it meanwhile, some milliseconds for each eight
#: megabytes, and with 64 one callback in thirty did.
_LARGEST_LOG: Final = 8 * 1024 * 1024
#: So much of the log's file is kept once all of it has been moved, to be written over: a commit that makes the file
#: longer costs more. It is more than the largest plus a usual commit; what a few huge bodies have made of it goes.
_KEPT_LOG: Final = 2 * _LARGEST_LOG
#: A log that is longer than this is moved beside the writer: to move it takes longer than commits may wait.
_LONG_LOG: Final = 64 * 1024 * 1024
#: What ``PRAGMA auto_vacuum`` answers where free pages can be given back some at a time.
_INCREMENTAL: Final = 2
#: Seconds that one step of giving pages back takes, and how many pages it gives back at least.
_STEP: Final = 0.05
_FEWEST: Final = 256
#: What SQLite says of a file whose content cannot be right, or whose disk does not give it back
#: (https://sqlite.org/rescode.html).
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR}
#: KiB of the file that the writing connection keeps at hand.
_CACHE: Final = 8 * 1024


class SQLite:
    """The default store: one file."""

    exclusive = True
    notified: Mapping[str, int] = MappingProxyType({})

    def __init__(self, path: Path) -> None:
        with closing(sqlite3.connect(":memory:")) as probe:
            check_library(probe)
        self._path = path
        self._files = Files(path)
        self._writing = threading.Lock()
        self._moving = Moving(connect=self._connect, locked=self._alone, short=4 * _LARGEST_LOG)
        self._writer: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def write(self, *, patient: bool = False) -> Iterator[SQLiteTransaction]:  # noqa: ARG002  (nothing hurries it)
        """Open a transaction that may write."""
        with self._writing, self._files.locked():
            try:
                connection = self._writer = self._writer or self._connect()
                connection.execute("BEGIN IMMEDIATE")
                self._files.began()
            except sqlite3.Error as error:
                self._drop_writer()
                raise _unavailable(error) from error
            committing = False
            try:
                yield SQLiteTransaction(connection)
                # Nobody will ever read what is committed to a file that is gone.
                self._files.check()
                committing = True
                connection.execute("COMMIT")
            except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError):
                self._undo(connection)
                raise
            except sqlite3.DatabaseError as error:
                self._undo(connection)
                # After an I/O error nothing that this connection remembers can be trusted.
                self._drop_writer()
                unavailable = _unavailable(error)
                if committing:
                    # What the disk did not confirm may be on it all the same.
                    raise CommitUnknownError(str(unavailable), code=unavailable.code) from error
                raise unavailable from error
            except BaseException:
                self._undo(connection)
                raise

    @contextmanager
    def read(self, *, patient: bool = False) -> Iterator[SQLiteTransaction]:  # noqa: ARG002  (nothing hurries it)
        """Open a transaction that writes nothing."""
        self._files.check()
        try:
            connection = self._idle_reader() or self._connect(readonly=True)
        except sqlite3.Error as error:
            raise _unavailable(error) from error
        try:
            connection.execute("BEGIN")
            yield SQLiteTransaction(connection)
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            connection.close()
            raise _unavailable(error) from error
        except BaseException:
            connection.close()
            raise
        self._readers.append(connection)
        if self._closed:
            self._close_readers()

    def tables(self) -> set[str]:
        """The names of the tables."""
        if not self._path.exists():
            return set()
        with self.read() as tx:
            return {row[0] for row in tx.run("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def serve(self) -> None:
        """Claim the right to serve this file."""
        self._files.serve()
        if (where := self._files.given_away()) is not None:
            raise ConfigurationError(
                f"{self._path} was copied to {where}, and served again it would run the same jobs and handlers a "
                "second time. Move it away, and have RECEIVER_DATABASE_URL name the other; or, if this is the one that "
                "goes on, say so with: receiver db reclaim",
                code="database_copied",
            )

    def time(self) -> None:
        """None: SQLite has no clock of its own."""

    def listen(self, heard: Callable[[], object]) -> None:
        """Do nothing: no other process announces anything."""

    def sizes(self) -> list[TableSize]:
        """The size of the file and of its log: what each table takes is not counted."""
        files = {"database": self._path, "log": Path(f"{self._path}{LOG}")}
        return [TableSize(table=name, size=size(path)) for name, path in files.items()]

    def relax(self) -> None:
        """See whether the files still are those that are open, and move the log into the database once it is long."""
        self._files.check()
        if self._writer is None or not reaches(f"{self._path}{LOG}", _LARGEST_LOG):
            return
        if not self._moving.caught_up and reaches(f"{self._path}{LOG}", _LONG_LOG):
            self._moving.begin(size(Path(f"{self._path}{LOG}")))
            return
        self._moving.caught_up = False
        with self._writing, self._files.locked():
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def vacuum(self) -> Iterator[Vacuumed]:
        """Give what is free to the disk, some milliseconds at a time."""
        with self.read() as tx:
            ((mode,),) = tx.run("PRAGMA auto_vacuum")
            ((page,),) = tx.run("PRAGMA page_size")
        if mode != _INCREMENTAL:
            yield from self._rewrite()
            return
        pages, left = _FEWEST, 1
        while left:
            began = time.monotonic()
            free, left = self._give_back(pages)
            took = time.monotonic() - began
            pages = max(_FEWEST, pages * 2 if took < _STEP / 2 else pages // 2)
            yield Vacuumed(freed=(free - left) * page, left=left * page)
            self._move_some(_LARGEST_LOG)
            # Whoever waits for the lock looks for it every few milliseconds.
            time.sleep(0.01)
        self._move_some(0)

    def _give_back(self, pages: int) -> tuple[int, int]:
        """Give up to so many pages back; how many were free before, and are now."""
        with self._alone():
            try:
                connection = self._writer = self._writer or self._connect()
                ((before,),) = connection.execute("PRAGMA freelist_count")
                # The pragma gives back one page a step. Python takes a single step of a statement without columns, and
                # all of a script.
                connection.executescript(f"BEGIN IMMEDIATE; PRAGMA incremental_vacuum({pages}); COMMIT")
                ((after,),) = connection.execute("PRAGMA freelist_count")
            except sqlite3.Error as error:
                self._drop_writer()
                raise _unavailable(error) from error
        return before, after

    def _rewrite(self) -> Iterator[Vacuumed]:
        """Write the whole file anew, once: it was made before a part of it could be given back."""
        self._files.serve()
        before = size(self._path)
        with self._writing, self._files.locked():
            connection = self._writer = self._writer or self._connect()
            try:
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                raise _unavailable(error) from error
        yield Vacuumed(freed=max(before - size(self._path), 0), left=0)

    def _move_some(self, least: int) -> None:
        """Have the file cut to what is left in it, which is done as the log is moved, once that has *least* bytes."""
        log = f"{self._path}{LOG}"
        if self._writer is not None and reaches(log, least) and not reaches(log, _LONG_LOG):
            with self._writing, self._files.locked():
                self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close every connection and give the locks back; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        self._close_readers()
        self._moving.close()
        # The last process to close the file moves the log anyway. To move a long one, or one beside a process that
        # serves, would hold up others.
        with suppress(sqlite3.Error, StoreUnavailableError), self._writing:
            if (
                self._writer is not None
                and self._files.serving
                and not reaches(f"{self._path}{LOG}", _LONG_LOG)
            ):
                with self._files.locked():
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._drop_writer()
        self._files.close()

    def mark(self) -> None:
        """Leave word beside the file that a database was made here."""
        self._files.mark()

    def marked(self) -> bool:
        """Whether a database was made here once."""
        return self._files.marked()

    def give_away(self, where: str) -> None:
        """Leave word beside the file that its record is at *where* now."""
        try:
            self._files.give_away(where)
        except OSError as error:
            raise StoreUnavailableError(
                f"No word could be left beside {self._path}: {error.strerror}."
            ) from error

    def given_away(self) -> str | None:
        """Where its record is now, if there is such a word."""
        return self._files.given_away()

    def reclaim(self) -> bool:
        """Take that word away; whether there was one."""
        try:
            return self._files.reclaim()
        except OSError as error:
            raise StoreUnavailableError(
                f"The word beside {self._path} cannot be removed: {error.strerror}."
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._writing, self._files.locked():
            yield

    def _connect(self, *, readonly: bool = False) -> sqlite3.Connection:
        # No connection of ours may make a file in the place of one that is gone, nor read another one.
        self._files.check()
        if not readonly:
            self._files.make()
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}{'?mode=ro' if readonly else ''}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        pragmas: dict[str, Any] = {
            "busy_timeout": int(PATIENCE * 1000),
            "synchronous": "FULL",
            "foreign_keys": "ON",
            "trusted_schema": "OFF",
            "mmap_size": 0,
            "wal_autocheckpoint": 0,
            "journal_size_limit": _KEPT_LOG,
            "query_only": "ON" if readonly else "OFF",
            "cache_size": -2000 if readonly else -_CACHE,
        }
        if not readonly and not size(self._path):
            # This can be set only while the file is empty.
            pragmas["auto_vacuum"] = "INCREMENTAL"
        try:
            for name, value in pragmas.items():
                connection.execute(f"PRAGMA {name}={value}").fetchall()
            if not readonly and connection.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
                raise sqlite3.OperationalError("the file system does not carry SQLite's WAL")
            self._files.opened()
            self._files.check()
        except (sqlite3.Error, StoreUnavailableError):
            connection.close()
            raise
        return connection

    def _close_readers(self) -> None:
        while (connection := self._idle_reader()) is not None:
            connection.close()

    def _idle_reader(self) -> sqlite3.Connection | None:
        try:
            return self._readers.pop()
        except IndexError:  # another thread took the last one
            return None

    @staticmethod
    def _undo(connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:
                return

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            # Whoever closes last takes the log away; the next connection makes another.
            self._files.forget_log()


def check_library(probe: sqlite3.Connection) -> None:
    """Raise ConfigurationError where the SQLite behind *probe* cannot run the store's statements.

    RETURNING came with 3.35 (https://sqlite.org/lang_returning.html), and what is older than 3.38 may have been built
    without JSON (https://sqlite.org/json1.html, both read 2026-11-22).
    """
    try:
        probe.execute("CREATE TEMPORARY TABLE probe (id TEXT)")
        probe.execute(
            "DELETE FROM probe WHERE id IN (SELECT value FROM json_each('[]')) RETURNING id"
        ).fetchall()
    except sqlite3.Error as error:
        raise ConfigurationError(
            f"SQLite {sqlite3.sqlite_version}, which this Python uses, is too old or was built without JSON ({error}); "
            "take a Python with SQLite 3.38 or later, or set RECEIVER_DATABASE_URL to PostgreSQL.",
            code="database_too_old",
        ) from error


def _unavailable(error: sqlite3.Error) -> StoreUnavailableError:
    # An extended code holds the primary one in its lowest byte.
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
        return StoreUnavailableError(
            f"The database file is damaged, or its disk is ({error}); nothing was acknowledged. 'receiver doctor' says "
            "more; restore the last backup if it agrees.",
            code="database_damaged",
        )
    return StoreUnavailableError(
        f"The database cannot be used right now ({error}); nothing was acknowledged."
    )
