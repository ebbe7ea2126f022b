"""PostgreSQL under the store, for more than one node: a writing connection, readers beside it, one that listens.

Why it is set up this way: behind a transaction-mode pooler nothing that is set outlives its transaction, so every
setting is ``SET LOCAL`` and no statement is prepared (https://www.pgbouncer.org/features.html, read 2026-11-21);
rows are sent as arrays, so that five hundred cost one statement; and a connection that has failed is never used
again, so that a failover needs nothing but the next attempt.
"""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Final, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from receiver.core.errors import ConfigurationError, StoreUnavailableError
from receiver.core.model import TableSize
from receiver.storage.driver import ContendedError, Params, Row, Rows, split
from receiver.storage.listener import CHANNEL, Listener

T = TypeVar("T")
MACROS: Final = {
    # Ids are compared byte by byte: by them lists are paged and rows are locked in order.
    "text": 'TEXT COLLATE "C"',
    "integer": "BIGINT",
    "blob": "BYTEA",
    "clustered": "",
    # Rows that change often get room beside them and are cleaned up early, not when a fifth of a table is dead.
    "hot": "WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, "
    "autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)",
    "for_update": "FOR UPDATE",
    "skip_locked": "SKIP LOCKED",
}
#: Milliseconds. A node that is frozen within a transaction loses it, so that the others get its rows; whoever
#: waits for a row gives up a little before that and tries again.
_LIMITS: Final = {
    "idle_in_transaction_session_timeout": 5_000,
    "lock_timeout": 4_000,
    "statement_timeout": 30_000,
}
#: Of one that reads for as long as another database, or whoever takes our output, needs; for a lock it waits no
#: longer than others.
_PATIENT: Final = {"idle_in_transaction_session_timeout": 0, "statement_timeout": 0}
#: What the address does not say itself: a server that is gone is noticed within seconds, and of several the one
#: is taken that can be written to.
_CONNECTION: Final = {
    "connect_timeout": "2",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "target_session_attrs": "read-write",
    "application_name": "receiver",
}
_OLDEST: Final = 13
_NAMED: Final = re.compile(r":([a-z_]\w*)")
#: A deadlock, a serialization failure, a row locked for too long, and a key that another transaction has just made.
_CONTENDED: Final = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.UniqueViolation,
)
#: Gone, out of room or shutting down; closed; a server that has become a standby, or that ended our transaction.
_UNAVAILABLE: Final = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)

#: Seconds after which an answer is no longer waited for. A server that is frozen cannot end a statement itself.
_LONGEST_WAIT: Final = 35.0

Waiting = Generator[Any, Any, T]


class Connection(psycopg.Connection[Row]):
    """A connection that waits for no answer for ever."""

    #: Whether what it is waiting for may take as long as it likes.
    patient = False

    def wait(self, gen: Waiting[T], *args: Any, **options: Any) -> T:  # noqa: ANN401  (the library's own)
        """Wait for an answer."""
        return super().wait(gen if self.patient else _bounded(gen, _LONGEST_WAIT), *args, **options)


class PostgresTransaction:
    """An open transaction on one connection."""

    def __init__(self, connection: Connection, types: dict[str, dict[str, str]]) -> None:
        self._cursor = connection.cursor(binary=True)
        self._types = types
        self._announced = False

    def run(self, sql: str, params: Params = {}) -> list[Row]:  # noqa: B006  (never changed)
        """Run one statement; return its rows."""
        self._cursor.execute(_translate(sql), params or None)
        return self._cursor.fetchall() if self._cursor.description is not None else []

    def insert(self, table: str, columns: str, rows: Rows, *, conflict: str = "") -> None:
        """Insert *rows*."""
        if rows:
            source, params = self._arrays(table, columns, rows)
            self._cursor.execute(f"INSERT INTO {table} ({columns}) SELECT * FROM {source} {conflict}", params)

    def update(self, table: str, columns: str, rows: Rows, *, key: str) -> None:
        """Set *columns* of the rows that the values after them name."""
        if rows:
            source, params = self._arrays(table, f"{columns}, {key}", rows)
            settings = ", ".join(f"{name} = given.{name}" for name in split(columns))
            self._cursor.execute(
                f"UPDATE {table} SET {settings} FROM {source} AS given ({columns}, {key}) "
                f"WHERE {_matching(table, key)}",
                params,
            )

    def delete(self, table: str, rows: Rows, *, key: str) -> None:
        """Delete the rows that are named by their *key*."""
        if rows:
            source, params = self._arrays(table, key, rows)
            self._cursor.execute(
                f"DELETE FROM {table} USING {source} AS given ({key}) WHERE {_matching(table, key)}",
                params,
            )

    def among(self, column: str, values: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """A condition that *column* is one of *values*."""
        return f"{column} = ANY(:{column}_among)", {f"{column}_among": list(values)}

    def guard(self, names: Sequence[str]) -> None:
        """Hold *names* until the transaction ends."""
        if names:
            # Always in one order, or two transactions would each hold what the other waits for.
            numbers = sorted({_number(name) for name in names})
            self._cursor.execute(
                "SELECT pg_advisory_xact_lock(number) FROM unnest(%b::bigint[]) AS number", (numbers,)
            )

    def announce(self) -> None:
        """Have every node that listens told once this is committed."""
        if not self._announced:
            self._announced = True
            self._cursor.execute(f"NOTIFY {CHANNEL}")

    def _types_of(self, table: str) -> Mapping[str, str]:
        """The types of a table's columns, asked for once, and here: a pooler may have no second connection for us."""
        if table not in self._types:
            found = self.run(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped",
                {"name": table},
            )
            self._types[table] = dict(found)
        return self._types[table]

    def _arrays(self, table: str, columns: str, rows: Rows) -> tuple[str, dict[str, Any]]:
        names, types = split(columns), self._types_of(table)
        arrays = ", ".join(f"%({name})b::{types[name]}[]" for name in names)
        return f"unnest({arrays})", dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


class Postgres:
    """The store of several nodes."""

    exclusive = False

    def __init__(self, url: str) -> None:
        given = _parsed(url)
        self._connection: dict[str, Any] = {**_CONNECTION, **given}
        #: Where it is, without a password.
        self.place = f"{given.get('host', 'localhost')}/{given.get('dbname', '')}"
        self._writing = threading.Lock()
        self._writer: Connection | None = None
        self._readers: list[Connection] = []
        self._types: dict[str, dict[str, str]] = {}
        self._listener: Listener | None = None
        self._closed = False

    @contextmanager
    def write(self, *, patient: bool = False) -> Iterator[PostgresTransaction]:
        """Open a transaction that may write."""
        limits = dict.fromkeys(_LIMITS, 0) if patient else _LIMITS
        with self._writing, _told_apart():
            # Whoever waited for a name or a row must see what was committed meanwhile, whatever the default is.
            connection = self._begin(self._writer, _begin("ISOLATION LEVEL READ COMMITTED", limits))
            self._writer = None
            connection.patient = patient
            try:
                yield PostgresTransaction(connection, self._types)
                _commit(connection)
            except BaseException as error:
                self._writer = _undone(connection, error)
                raise
            self._writer = connection

    @contextmanager
    def read(self, *, patient: bool = False) -> Iterator[PostgresTransaction]:
        """Open a transaction that writes nothing."""
        limits = _LIMITS | _PATIENT if patient else _LIMITS
        with _told_apart():
            began = _begin("ISOLATION LEVEL REPEATABLE READ READ ONLY", limits)
            connection = self._begin(self._idle_reader(), began)
            connection.patient = patient
            try:
                yield PostgresTransaction(connection, self._types)
                _commit(connection)
            except BaseException as error:
                if (kept := _undone(connection, error)) is not None:
                    self._readers.append(kept)
                raise
            self._readers.append(connection)

    def tables(self) -> set[str]:
        """The names of the tables."""
        with self.read() as tx:
            return {
                row[0]
                for row in tx.run("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
            }

    def serve(self) -> None:
        """Any number of processes may."""

    def time(self) -> int:
        """The server's clock."""
        with self.read() as tx:
            found = tx.run("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")
        return int(found[0][0])

    def listen(self, heard: Callable[[], None]) -> None:
        """Call *heard* whenever another node has announced work, and whenever that may have been missed."""
        if self._listener is None:
            self._listener = Listener(self._connect, heard)
            self._listener.start()

    def sizes(self) -> list[TableSize]:
        """How much room the tables take, and how many dead rows the server counts in them."""
        with self.read() as tx:
            found = tx.run(
                "SELECT relname, pg_total_relation_size(relid), n_dead_tup FROM pg_stat_user_tables "
                "WHERE schemaname = current_schema() ORDER BY relname"
            )
        return [TableSize(table=name, size=size, dead_rows=dead) for name, size, dead in found]

    def relax(self) -> None:
        """The server looks after itself."""

    def close(self) -> None:
        """Close every connection; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._listener is not None:
            self._listener.stop()
        while self._readers:
            self._readers.pop().close()
        with self._writing:
            if self._writer is not None:
                self._writer.close()

    def _connect(self) -> Connection:
        connection = Connection.connect(**self._connection, autocommit=True, prepare_threshold=None)
        try:
            self._check(connection.info)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, info: psycopg.ConnectionInfo) -> None:
        if info.server_version < _OLDEST * 10_000:
            raise ConfigurationError(
                f"The PostgreSQL server at {self.place} is of version {info.server_version // 10_000}; "
                f"receiver needs {_OLDEST} or newer.",
                code="database_too_old",
            )
        if info.parameter_status("server_encoding") != "UTF8":
            raise ConfigurationError(
                f"The database at {self.place} is not encoded in UTF8; make one with "
                "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
                code="database_encoding",
            )

    def _begin(self, connection: Connection | None, began: str) -> Connection:
        """Begin on *connection*, or on a new one where it is gone: so far nothing is lost with it."""
        if connection is not None:
            # Patience was the last one's; to begin takes a moment.
            connection.patient = False
            try:
                connection.execute(began)
            except _UNAVAILABLE:
                connection.close()
            else:
                return connection
        connection = self._connect()
        try:
            connection.execute(began)
        except BaseException:
            connection.close()
            raise
        return connection

    def _idle_reader(self) -> Connection | None:
        try:
            return self._readers.pop()
        except IndexError:  # another thread took the last one
            return None


def _parsed(url: str) -> dict[str, Any]:
    """The parts of an address; no error repeats any of it, because what is misread may be the password."""
    place = url.partition("://")[2].partition("?")[0]
    user, found, _ = place.rpartition("@")
    if not (found and ("@" in user or "/" in user)):
        with suppress(psycopg.ProgrammingError):
            return dict(conninfo_to_dict(url))
    raise ConfigurationError(
        "RECEIVER_DATABASE_URL cannot be read: write postgresql://user:password@host:5432/database, with every "
        "@, /, :, # and % of the user's name and password percent-encoded (%40, %2F, %3A, %23, %25).",
        code="database_url_invalid",
    )


def _commit(connection: Connection) -> None:
    """Commit; what failed within a transaction and went unnoticed makes the server undo it in silence."""
    if connection.execute("COMMIT").statusmessage != "COMMIT":
        raise psycopg.InternalError("the transaction was undone")


def _bounded(waiting: Waiting[T], patience: float) -> Waiting[T]:
    """*waiting*, until *patience* is over; the library looks ten times a second whether something has come."""
    until = time.monotonic() + patience
    ready: Any = None
    while True:
        try:
            asked = waiting.send(ready)
        except StopIteration as finished:
            result: T = finished.value
            return result
        ready = yield asked
        if not ready and time.monotonic() > until:
            raise psycopg.OperationalError("the server does not answer")


def _undone(connection: Connection, error: BaseException) -> Connection | None:
    """Undo what *connection* has begun; ``None`` where, after *error*, it is of no more use."""
    if isinstance(error, _CONTENDED) or not isinstance(error, _UNAVAILABLE):
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            pass
        else:
            return connection
    connection.close()
    return None


@contextmanager
def _told_apart() -> Iterator[None]:
    """Tell a database that cannot be used from a transaction that was in the way, and both from our mistakes."""
    try:
        yield
    except _CONTENDED as error:
        raise ContendedError(str(error).strip()) from error
    except _UNAVAILABLE as error:
        reason = str(error).strip().partition("\n")[0]
        raise StoreUnavailableError(
            f"The database cannot be used right now ({reason}); nothing was acknowledged."
        ) from error


@cache
def _begin_text(mode: str, limits: tuple[tuple[str, int], ...]) -> str:
    settings = [f"SET LOCAL {name} = {value}" for name, value in limits]
    # A server may be set up to confirm what is not on disk yet; what we acknowledge is.
    settings.append(
        "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
    )
    return "; ".join([f"BEGIN {mode}".rstrip(), *settings])


def _begin(mode: str, limits: Mapping[str, int]) -> str:
    return _begin_text(mode, tuple(limits.items()))


@cache
def _translate(sql: str) -> str:
    return _NAMED.sub(r"%(\1)s", sql.format_map(MACROS).replace("%", "%%"))


def _matching(table: str, key: str) -> str:
    return " AND ".join(f"{table}.{name} = given.{name}" for name in split(key))


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
