"""A transaction on one connection to SQLite, and the text of its statements."""

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, Final

import msgspec

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

#: Rows that one statement inserts. It opens the table and every index of it once for all of them, which saves a third
#: of the time (callbacks) or half of it (dispatches, of which there are seven indexes); below four it saves nothing.
_TOGETHER: Final = 16
_WORTH_IT: Final = 4

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

    def write(self, sql: str, params: Params) -> None:
        """Run one statement that is asked nothing."""
        self._connection.execute(sql, params)

    def insert(self, table: str, columns: str, rows: Rows, *, conflict: str = "") -> None:
        """Insert *rows*."""
        if not rows:
            return
        if len(rows) < _WORTH_IT:
            self._connection.executemany(_insert(table, columns, conflict), rows)
            return
        for begin in range(0, len(rows), _TOGETHER):
            some = rows[begin : begin + _TOGETHER]
            values = list(chain.from_iterable(some))
            self._connection.execute(_insert(table, columns, conflict, len(some)), values)

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
        as to find its row, because each name is looked for among all the others. A single one is compared with as it
        is: asked for as a list, it takes three times as long (18 and 6 microseconds).
        """
        name = f"{column}_among"
        if len(values) == 1:
            return f"{column} = :{name}", {name: values[0]}
        return f"{column} IN (SELECT value FROM json_each(:{name}))", {name: _encode(values).decode()}

    def guard(self, names: Sequence[str]) -> None:
        """Nothing to do: whoever writes is alone."""

    def notify(self, channel: str, payload: str, *, handler: str) -> bool:  # noqa: ARG002  (as others have it)
        """Nobody can listen."""
        return False

    def announce(self) -> None:
        """Nothing to do: the one process that serves the file tells its worker itself."""

    def be_sure(self) -> None:
        """Nothing to do: no network is in between, and no connection that could break."""


@cache
def _expand(sql: str) -> str:
    return sql.format_map(MACROS)


@cache
def _insert(table: str, columns: str, conflict: str, many: int = 1) -> str:
    values = ", ".join("?" for _ in split(columns))
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([f'({values})'] * many)} {conflict}"


@cache
def _update(table: str, columns: str, key: str) -> str:
    settings = ", ".join(f"{name} = ?" for name in split(columns))
    return f"UPDATE {table} SET {settings} WHERE {_named(key)}"


@cache
def _delete(table: str, key: str) -> str:
    return f"DELETE FROM {table} WHERE {_named(key)}"


def _named(key: str) -> str:
    return " AND ".join(f"{name} = ?" for name in split(key))
