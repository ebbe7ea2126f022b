"""PostgreSQL under the store, for more than one node: a writing connection, readers beside it, one that listens.

Why it is set up this way: behind a transaction-mode pooler nothing that is set outlives its transaction, so every
setting is ``SET LOCAL`` and no statement is prepared (https://www.pgbouncer.org/features.html, read 2026-11-21);
rows are sent as arrays, so that five hundred cost one statement; and a connection that has failed is never used
again, so that a failover needs nothing but the next attempt.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import psycopg
from psycopg import sql

from receiver.core.errors import (
    CommitUnknownError,
    ConfigurationError,
    DoneUnknownError,
    StoreUnavailableError,
)
from receiver.metrics import TableSize
from receiver.storage.driver import Vacuumed
from receiver.storage.postgres.connection import (
    DEFAULTS,
    UNAVAILABLE,
    Connection,
    parsed,
    told_apart,
    undone,
)
from receiver.storage.postgres.listener import Listener
from receiver.storage.postgres.transaction import PostgresTransaction

#: Milliseconds. A node that is frozen within a transaction loses it, so that the others get its rows; whoever
#: waits for a row gives up a little before that and tries again.
_LIMITS: Final = {
    "idle_in_transaction_session_timeout": 5_000,
    "lock_timeout": 4_000,
    "statement_timeout": 30_000,
}
#: The bounds of a transaction that reads as long as a copy or an export needs; it waits no longer than others for a
#: lock.
_PATIENT: Final = {"idle_in_transaction_session_timeout": 0, "statement_timeout": 0}
_OLDEST: Final = 13
#: Whether a transaction was committed, by its number.
_STATUS: Final = "SELECT pg_xact_status(CAST(%s AS xid8))"
#: Seconds before each look for that.
_LOOKS: Final = (0.0, 0.1, 0.3, 0.6, 1.0, 1.0, 2.0)


class Postgres:
    """The store of several nodes."""

    exclusive = False

    def __init__(self, url: str) -> None:
        given = parsed(url)
        self._connection: dict[str, Any] = {**DEFAULTS, **given}
        #: Where it is, without a password.
        self.place = f"{given.get('host', 'localhost')}/{given.get('dbname', '')}"
        self._writing = threading.Lock()
        self._writer: Connection | None = None
        self._readers: list[Connection] = []
        self._types: dict[str, dict[str, str]] = {}
        self._listener: Listener | None = None
        self._closed = False
        #: Replaced as a whole: others read it.
        self.notified: Counter[str] = Counter()

    @contextmanager
    def write(self, *, patient: bool = False) -> Iterator[PostgresTransaction]:
        """Open a transaction that may write."""
        limits = dict.fromkeys(_LIMITS, 0) if patient else _LIMITS
        with self._writing, told_apart():
            # Whoever waited for a name or a row must see what was committed meanwhile, whatever the default is.
            connection = self._begin(self._writer, _begin("ISOLATION LEVEL READ COMMITTED", limits))
            self._writer = None
            connection.patient = patient
            tx = PostgresTransaction(connection, self._types)
            try:
                yield tx
                tx.commit()
                self._writer = connection
            except CommitUnknownError as unknown:
                connection.close()
                if tx.number is None:
                    raise
                self._look_up(tx.number, unknown)
            except BaseException as error:
                self._writer = undone(connection, error)
                raise
            if tx.notified:
                self.notified = self.notified + tx.notified

    @contextmanager
    def read(self, *, patient: bool = False) -> Iterator[PostgresTransaction]:
        """Open a transaction that writes nothing."""
        limits = _LIMITS | _PATIENT if patient else _LIMITS
        with told_apart():
            began = _begin("ISOLATION LEVEL REPEATABLE READ READ ONLY", limits)
            connection = self._begin(self._idle_reader(), began)
            connection.patient = patient
            try:
                tx = PostgresTransaction(connection, self._types)
                yield tx
                tx.commit()
            except BaseException as error:
                if (kept := undone(connection, error)) is not None:
                    self._readers.append(kept)
                raise
            self._readers.append(connection)
            if self._closed:
                self._close_readers()

    def tables(self) -> set[str]:
        """The names of the tables."""
        with self.read() as tx:
            return {
                row[0]
                for row in tx.run("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
            }

    def mark(self) -> None:
        """Do nothing: nothing beside the database would outlive it."""

    def marked(self) -> bool:
        """False: nothing beside the database tells."""
        return False

    def give_away(self, where: str) -> None:
        """Do nothing, as there is nothing beside the database."""

    def given_away(self) -> None:
        """None: nothing beside the database tells."""

    def reclaim(self) -> bool:
        """False: nothing beside the database tells."""
        return False

    def serve(self) -> None:
        """Do nothing: any number of processes may serve the database."""

    def time(self) -> int:
        """The server's clock."""
        with self.read() as tx:
            found = tx.run("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")
        return int(found[0][0])

    def listen(self, heard: Callable[[], object]) -> None:
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

    def vacuum(self) -> Iterator[Vacuumed]:
        """Have the server clean up one table after the other: it gives back what is free at their ends."""
        for name in sorted(self.tables()):
            with told_apart():
                connection = self._connect()
                connection.patient = True
                try:
                    (before,) = connection.execute(
                        "SELECT pg_total_relation_size(%s)", (name,)
                    ).fetchone() or (0,)
                    connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(name)))
                    (after,) = connection.execute(
                        "SELECT pg_total_relation_size(%s)", (name,)
                    ).fetchone() or (0,)
                finally:
                    connection.close()
            yield Vacuumed(freed=max(before - after, 0), left=0)

    def relax(self) -> None:
        """The server looks after itself."""

    def close(self) -> None:
        """Close every connection; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._listener is not None:
            self._listener.stop()
        self._close_readers()
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
            # The connection still has the last transaction's patience; to begin takes a moment.
            connection.patient = False
            try:
                connection.execute(began)
            except UNAVAILABLE:
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

    def _look_up(self, number: str, unknown: CommitUnknownError) -> None:
        """Return if the transaction of this *number* was committed.

        Raises:
            StoreUnavailableError: it was not.
            DoneUnknownError: the server cannot be asked.
        """
        for wait in _LOOKS:
            time.sleep(wait)
            try:
                connection = self._connect()
                try:
                    found = connection.execute(_STATUS, (number,)).fetchone()
                finally:
                    connection.close()
            except psycopg.errors.InvalidParameterValue:
                found = ("aborted",)  # a server that came back does not even know the number
            except UNAVAILABLE:
                continue
            match found:
                case ("committed",):
                    return
                case ("aborted",):
                    raise StoreUnavailableError(str(unknown)) from unknown
                case _:
                    continue  # the server has not noticed yet that we are gone
        raise DoneUnknownError from unknown

    def _close_readers(self) -> None:
        while (connection := self._idle_reader()) is not None:
            connection.close()

    def _idle_reader(self) -> Connection | None:
        try:
            return self._readers.pop()
        except IndexError:  # another thread took the last one
            return None


@cache
def _begin_text(mode: str, limits: tuple[tuple[str, int], ...]) -> str:
    settings = [f"SET LOCAL {name} = {value}" for name, value in limits]
    # A server may be set up to confirm commits that are not on disk yet; what we acknowledge must be on disk.
    settings.append(
        "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
    )
    return "; ".join([f"BEGIN {mode}".rstrip(), *settings])


def _begin(mode: str, limits: Mapping[str, int]) -> str:
    return _begin_text(mode, tuple(limits.items()))
