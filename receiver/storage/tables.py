"""The tables as the migrations make them, and their rows read in the order of their keys, in bounded memory."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from itertools import pairwise
from typing import Any, Final

import sqlite_utils

from receiver.core.model import Value
from receiver.storage import schema
from receiver.storage.driver import Row, Transaction
from receiver.storage.sqlite.transaction import MACROS

#: A batch has at most so many rows, and so many bytes unless a single row has more.
_ROWS: Final = 500
_BYTES: Final = 4 * 1024 * 1024
#: How many keys are looked at to cut the batches that come next.
_AHEAD: Final = 4 * _ROWS
_TYPES: Final = {"TEXT": str, "INTEGER": int, "BLOB": bytes}


class Table(Value, frozen=True, kw_only=True):
    """A table: its columns with the type of their values, and those that are its key."""

    name: str
    types: dict[str, type]
    key: tuple[str, ...]

    @property
    def columns(self) -> str:
        """The columns, as SQL lists them."""
        return ", ".join(self.types)

    def key_of(self, row: Row) -> dict[str, Any]:
        """The key of a row of all columns."""
        values = dict(zip(self.types, row, strict=True))
        return {name: values[name] for name in self.key}


@cache
def tables() -> tuple[Table, ...]:
    """All tables, in the order of their names.

    The migrations are carried out on an empty database and what they made is looked at, so that no list of
    columns has to be kept beside them.
    """
    made = sqlite_utils.Database(memory=True)
    try:
        for name in schema.known():
            for statement in schema.steps(name):
                made.execute(statement.format_map(MACROS))
        return tuple(_table(made.table(name)) for name in sorted(made.table_names()))
    finally:
        made.close()


def batches(reading: Callable[[], AbstractContextManager[Transaction]], table: Table) -> Iterator[list[Row]]:
    """All rows of a table in the order of its key, some at a time; each time they are read anew with *reading*."""
    last: Row | None = None
    while True:
        with reading() as tx:
            cuts = _cuts(tx, table, last)
        if not cuts:
            return
        for after, until in pairwise([last, *cuts]):
            where, params = _between(table, after, until)
            with reading() as tx:
                found = tx.run(
                    f"SELECT {table.columns} FROM {table.name} {where} ORDER BY {_key(table)}", params
                )
            yield found
        last = cuts[-1]


def _cuts(tx: Transaction, table: Table, after: Row | None) -> list[Row]:
    """The keys that the next batches end with."""
    lengths = [f"coalesce(length({name}), 0)" for name, kind in table.types.items() if kind is not int]
    where, params = _between(table, after, None)
    found = tx.run(
        f"SELECT {_key(table)}, {' + '.join(lengths)} FROM {table.name} {where} "
        f"ORDER BY {_key(table)} LIMIT :ahead",
        {**params, "ahead": _AHEAD},
    )
    cuts: list[Row] = []
    rows = size = 0
    for place, (*_, length) in enumerate(found):
        if rows and (rows == _ROWS or size + length > _BYTES):
            cuts.append(found[place - 1][:-1])
            rows = size = 0
        rows, size = rows + 1, size + length
    return [*cuts, found[-1][:-1]] if found else []


def _between(table: Table, after: Row | None, until: Row | None) -> tuple[str, dict[str, Any]]:
    terms: list[str] = []
    params: dict[str, Any] = {}
    for word, sign, values in (("after", ">", after), ("until", "<=", until)):
        if values is not None:
            names = [f"{word}_{name}" for name in table.key]
            terms.append(f"({_key(table)}) {sign} ({', '.join(f':{name}' for name in names)})")
            params |= dict(zip(names, values, strict=True))
    return f"WHERE {' AND '.join(terms)}" if terms else "", params


def _key(table: Table) -> str:
    return ", ".join(table.key)


def _table(made: sqlite_utils.db.Table) -> Table:
    columns = made.columns
    key = sorted((one for one in columns if one.is_pk), key=lambda one: int(one.is_pk))
    return Table(
        name=made.name,
        types={one.name: _TYPES[one.type] for one in columns},
        key=tuple(one.name for one in key),
    )
