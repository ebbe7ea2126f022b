"""SQLite under the store: one writing connection, a lock file around it, and readers beside it.

Why it is set up this way (sqlite.org/wal.html, read 2026-11-20): WAL with ``synchronous=FULL`` loses no
acknowledged commit at a power cut, NORMAL does; a deferred transaction that upgrades from read to write fails
at once under contention, IMMEDIATE waits; and below SQLite 3.51.3 two connections that write or checkpoint at
the same instant may damage the file, so every writer of every process holds the lock file first.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from receiver.core.errors import ConfigurationError, StoreUnavailableError
from receiver.core.model import TableSize
from receiver.storage.driver import Params, Row, Rows, split

MACROS: Final = {
    "text": "TEXT",
    "integer": "INTEGER",
    "blob": "BLOB",
    "clustered": "WITHOUT ROWID",
    "hot": "",
    "for_update": "",
    "skip_locked": "",
}
#: How long a write waits for another process, in seconds: below the two seconds in which ingest answers.
_PATIENCE: Final = 1.2
#: A log of this many bytes is moved into the file. Moving it costs two waits for the disk, and pages that were written
#: many times are moved once, so it is done seldom; but commits wait for it meanwhile, some milliseconds for each eight
#: megabytes, and with 64 one callback in thirty did.
_LARGEST_LOG: Final = 8 * 1024 * 1024
#: So much of the log's file is kept once all of it has been moved, to be written over: a commit that makes the file
#: longer costs more. It is more than the largest plus a usual commit; what a few huge bodies have made of it goes.
_KEPT_LOG: Final = 2 * _LARGEST_LOG
#: The sizes of the header of the log, and of that of each page in it.
_LOG_HEADER: Final = 32
_FRAME_HEADER: Final = 24
#: KiB of the file that the writing connection keeps at hand.
_CACHE: Final = 8 * 1024

_encode = msgspec.json.encode


def _as_it_is(value: Any) -> Any:  # noqa: ANN401  (whatever it is)
    return value


# For every None and every bytes the library asks whether it can be adapted, and drops the error that says no; told that
# they are fine as they are, it does not ask. It asked fifteen times a callback, which was a twentieth of the work. This
# holds for the whole process, and changes nothing for anybody else in it.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(type(None), _as_it_is)


class SQLiteTransaction:
    """An open transaction on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, params: Params = {}) -> list[Row]:  # noqa: B006  (never changed)
        """Run one statement; return its rows."""
        return self._connection.execute(_expand(sql) if "{" in sql else sql, params).fetchall()

    def insert(self, table: str, columns: str, rows: Rows, *, conflict: str = "") -> None:
        """Insert *rows*."""
        if rows:
            self._connection.executemany(_insert(table, columns, conflict), rows)

    def update(self, table: str, columns: str, rows: Rows, *, key: str) -> None:
        """Set *columns* of the rows that the values after them name."""
        if rows:
            self._connection.executemany(_update(table, columns, key), rows)

    def delete(self, table: str, rows: Rows, *, key: str) -> None:
        """Delete the rows that are named by their *key*."""
        if rows:
            self._connection.executemany(_delete(table, key), rows)

    def among(self, column: str, values: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """A condition that *column* is one of *values*.

        They are one parameter: the statement is the same for any number of them, and to bind one for each took as long
        as to find its row, because each name is looked for among all the others.
        """
        name = f"{column}_among"
        return f"{column} IN (SELECT value FROM json_each(:{name}))", {name: _encode(values).decode()}

    def guard(self, names: Sequence[str]) -> None:
        """Nothing to do: whoever writes is alone."""

    def announce(self) -> None:
        """Nothing to do: the one process that serves the file tells its worker itself."""


class SQLite:
    """The default store: one file."""

    exclusive = True

    def __init__(self, path: Path) -> None:
        with closing(sqlite3.connect(":memory:")) as probe:
            check_library(probe)
        self._path = path
        self._lock_file: int | None = None
        self._serve_file: int | None = None
        self._writing = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def write(self, *, patient: bool = False) -> Iterator[SQLiteTransaction]:  # noqa: ARG002  (nothing hurries it)
        """Open a transaction that may write."""
        with self._writing, self._locked():
            try:
                connection = self._writer = self._writer or self._connect()
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                self._drop_writer()
                raise _unavailable(error) from error
            try:
                yield SQLiteTransaction(connection)
                connection.execute("COMMIT")
            except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError):
                self._undo(connection)
                raise
            except sqlite3.DatabaseError as error:
                self._undo(connection)
                # After an I/O error nothing that this connection remembers can be trusted.
                self._drop_writer()
                raise _unavailable(error) from error
            except BaseException:
                self._undo(connection)
                raise

    @contextmanager
    def read(self, *, patient: bool = False) -> Iterator[SQLiteTransaction]:  # noqa: ARG002  (nothing hurries it)
        """Open a transaction that writes nothing."""
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

    def tables(self) -> set[str]:
        """The names of the tables."""
        if not self._path.exists():
            return set()
        with self.read() as tx:
            return {row[0] for row in tx.run("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def serve(self) -> None:
        """Claim the right to serve this file."""
        self._serve_file = self._beside("serve")
        try:
            fcntl.flock(self._serve_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._serve_file)
            self._serve_file = None
            raise ConfigurationError(
                f"Another receiver process already serves {self._path}. SQLite takes one; for several nodes "
                "set RECEIVER_DATABASE_URL to PostgreSQL.",
                code="already_served",
            ) from error

    def time(self) -> None:
        """SQLite has the clock of whoever asks."""

    def listen(self, heard: Callable[[], None]) -> None:
        """Nobody else announces anything."""

    def sizes(self) -> list[TableSize]:
        """The size of the file and of its log: what each table takes is not counted."""
        files = {"database": self._path, "log": Path(f"{self._path}-wal")}
        return [TableSize(table=name, size=_size(path)) for name, path in files.items()]

    def relax(self) -> None:
        """Move the log into the database file once it is long."""
        if self._writer is None or not _reaches(f"{self._path}-wal", _LARGEST_LOG):
            return
        with self._writing, self._locked():
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close every connection and give the locks back; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        while self._readers:
            self._readers.pop().close()
        # The log stays beside the file otherwise, and is read at the next start.
        with suppress(sqlite3.Error, StoreUnavailableError), self._writing:
            if self._writer is not None:
                with self._locked():
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._drop_writer()
        if self._lock_file is not None:
            os.close(self._lock_file)
        if self._serve_file is not None:
            os.close(self._serve_file)

    def _connect(self, *, readonly: bool = False) -> sqlite3.Connection:
        if not readonly and not self._path.exists():
            # Requests, callbacks and results are nobody else's to read; the log files get the same mode.
            with suppress(OSError):  # SQLite says what is wrong with the path
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}{'?mode=ro' if readonly else ''}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        pragmas: dict[str, Any] = {
            "busy_timeout": int(_PATIENCE * 1000),
            "synchronous": "FULL",
            "foreign_keys": "ON",
            "trusted_schema": "OFF",
            "mmap_size": 0,
            "wal_autocheckpoint": 0,
            "journal_size_limit": _KEPT_LOG,
            "query_only": "ON" if readonly else "OFF",
            "cache_size": -2000 if readonly else -_CACHE,
        }
        try:
            for name, value in pragmas.items():
                connection.execute(f"PRAGMA {name}={value}").fetchall()
            if not readonly and connection.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
                raise sqlite3.OperationalError("the file system does not carry SQLite's WAL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _idle_reader(self) -> sqlite3.Connection | None:
        try:
            return self._readers.pop()
        except IndexError:  # another thread took the last one
            return None

    def _beside(self, name: str) -> int:
        """A file beside the database, and the folder that it is in; whoever only reads makes neither."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(f"{self._path}-{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailableError(
                f"The database cannot be used right now ({error.filename}: {error.strerror}); nothing was acknowledged."
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock_file is None:
            self._lock_file = self._beside("lock")
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise StoreUnavailableError(
                        "Another process holds the database; try again.", code="store_unavailable"
                    ) from error
                time.sleep(0.002)
        try:
            yield
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

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


@cache
def _expand(sql: str) -> str:
    return sql.format_map(MACROS)


@cache
def _insert(table: str, columns: str, conflict: str) -> str:
    values = ", ".join("?" for _ in split(columns))
    return f"INSERT INTO {table} ({columns}) VALUES ({values}) {conflict}"


@cache
def _update(table: str, columns: str, key: str) -> str:
    settings = ", ".join(f"{name} = ?" for name in split(columns))
    return f"UPDATE {table} SET {settings} WHERE {_named(key)}"


@cache
def _delete(table: str, key: str) -> str:
    return f"DELETE FROM {table} WHERE {_named(key)}"


def _named(key: str) -> str:
    return " AND ".join(f"{name} = ?" for name in split(key))


def _reaches(log: str, size: int) -> bool:
    """Whether the log is *size* bytes long, not counting what is left in its file from before it was last moved.

    Each page in it bears the salts of the log's header, and these change when the log begins anew (the head of
    https://sqlite.org/src/file/src/wal.c, read 2026-11-21). On this file SQLite has no lock that closing it would drop.
    """
    try:
        file = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        header = os.pread(file, _LOG_HEADER, 0)
        if len(header) < _LOG_HEADER:
            return False
        frame = _FRAME_HEADER + int.from_bytes(header[8:12], "big")
        last = _LOG_HEADER + (size // frame) * frame
        return os.pread(file, 8, last + 8) == header[16:24]
    finally:
        os.close(file)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _unavailable(error: sqlite3.Error) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"The database cannot be used right now ({error}); nothing was acknowledged."
    )
