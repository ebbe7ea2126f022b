"""A transaction on one connection to PostgreSQL, and the text of its statements: rows are sent as arrays."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import psycopg

from receiver.storage.driver import Params, Row, Rows, split
from receiver.storage.postgres.connection import Connection, Statement, commit
from receiver.storage.postgres.listener import CHANNEL

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
#: Bytes that tell a listener; a payload has less than 8,000.
LONGEST_PAYLOAD: Final = 7_999
_NAMED: Final = re.compile(r":([a-z_]\w*)")


class PostgresTransaction:
    """An open transaction on one connection."""

    def __init__(self, connection: Connection, types: dict[str, dict[str, str]]) -> None:
        self._connection = connection
        self._cursor = connection.cursor(binary=True)
        #: What is to be written, and has not been sent yet: statements whose answers nobody needs.
        self._unsent: list[Statement] = []
        self._types = types
        self._announced = False
        #: How often those who listen are told for a handler once this is committed.
        self.notified: Counter[str] = Counter()
        #: Whether the server has room for what listeners have not taken yet; asked once.
        self._room: bool | None = None
        #: Its number, by which the server tells later whether it was committed, if that matters.
        self.number: str | None = None

    def run(self, sql: str, params: Params = {}) -> list[Row]:  # noqa: B006  (never changed)
        """Run one statement; return its rows."""
        for one, values in self._unsent:
            self._cursor.execute(one, values)
        self._unsent.clear()
        self._cursor.execute(_translate(sql), params or None)
        return self._cursor.fetchall() if self._cursor.description is not None else []

    def commit(self) -> None:
        """Commit, once what has not been sent yet is written; see ``connection.commit``."""
        commit(self._connection, self._unsent)

    def write(self, sql: str, params: Params) -> None:
        """Run one statement that is asked nothing, before the next question or with COMMIT."""
        self._later(_translate(sql), params)

    def insert(self, table: str, columns: str, rows: Rows, *, conflict: str = "") -> None:
        """Insert *rows*."""
        if rows:
            source, params = self._arrays(table, columns, rows)
            self._later(f"INSERT INTO {table} ({columns}) SELECT * FROM {source} {conflict}", params)

    def update(self, table: str, columns: str, rows: Rows, *, key: str) -> None:
        """Set *columns* of the rows that the values after them name."""
        if rows:
            source, params = self._arrays(table, f"{columns}, {key}", rows)
            settings = ", ".join(f"{name} = given.{name}" for name in split(columns))
            self._later(
                f"UPDATE {table} SET {settings} FROM {source} AS given ({columns}, {key}) "
                f"WHERE {_matching(table, key)}",
                params,
            )

    def delete(self, table: str, rows: Rows, *, key: str) -> None:
        """Delete the rows that are named by their *key*."""
        if rows:
            source, params = self._arrays(table, key, rows)
            self._later(
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

    def notify(self, channel: str, payload: str, *, handler: str) -> bool:
        """Have those who listen to *channel* told once this is committed; whether that will be so.

        A listener that takes nothing fills the server's queue, and a full one would make every commit fail, also that
        of a callback: from half of it on nobody is told here (https://www.postgresql.org/docs/17/sql-notify.html).
        """
        if len(payload.encode()) > LONGEST_PAYLOAD:
            return False
        if self._room is None:
            self._room = self.run("SELECT pg_notification_queue_usage() < 0.5")[0][0]
        if self._room:
            self.run("SELECT pg_notify(:channel, :payload)", {"channel": channel, "payload": payload})
            self.notified[handler] += 1
        return self._room

    def announce(self) -> None:
        """Have every node that listens told once this is committed."""
        if not self._announced:
            self._announced = True
            self._later(f"NOTIFY {CHANNEL}", {})

    def be_sure(self) -> None:
        """Have it looked up whether this was committed, should the answer to that be lost."""
        if self.number is None:
            self.number = str(self.run("SELECT CAST(pg_current_xact_id() AS text)")[0][0])

    def _later(self, sql: str, params: Params) -> None:
        """Write before the next question is asked; what none follows goes with COMMIT."""
        self._unsent.append((sql, params))

    def _types_of(self, table: str) -> Mapping[str, str]:
        """The types of a table's columns, asked for once, and here: a pooler may have no second connection for us."""
        if table not in self._types:
            found = self.run(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped",
                {"name": table},
            )
            if not found:
                raise psycopg.errors.UndefinedTable(table)
            self._types[table] = dict(found)
        return self._types[table]

    def _arrays(self, table: str, columns: str, rows: Rows) -> tuple[str, dict[str, Any]]:
        names, types = split(columns), self._types_of(table)
        arrays = ", ".join(f"%({name})b::{types[name]}[]" for name in names)
        return f"unnest({arrays})", dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


@cache
def _translate(sql: str) -> str:
    return _NAMED.sub(r"%(\1)s", sql.format_map(MACROS).replace("%", "%%"))


def _matching(table: str, key: str) -> str:
    return " AND ".join(f"{table}.{name} = given.{name}" for name in split(key))


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
