"""Copying a database: every row from one driver to another, while nobody serves either.

A table marks the target until its rows have been read back and agree with those of the source. While it is there
every command refuses the database (``schema.pending``), and a copy that starts finds it and begins anew.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from receiver.core.errors import ConfigurationError, ConflictError, StoreUnavailableError
from receiver.core.model import SECOND, Value
from receiver.storage import schema, serving
from receiver.storage.driver import ContendedError, Driver, Row, Transaction
from receiver.storage.tables import Table, batches, tables

#: Who serves a database is not copied with it.
_NODES: Final = "node"
#: The handlers of a process that was once started on an empty database are no reason to refuse it.
_PASSING: Final = {_NODES, "clock_seen", "clock_set", "console_session", "feed", "handler"}
#: Nor are sessions copied: people sign in again there.
_LEFT: Final = {_NODES, "console_session"}
#: Milliseconds that others who write get to finish.
_PATIENCE: Final = 10_000
_NUL, _REPLACEMENT = "\x00", "\ufffd"


class Progress(Value, frozen=True, kw_only=True):
    """How far a copy has come: rows of one table, copied or compared."""

    table: str
    rows: int
    compared: bool = False


class Digest(Value, frozen=True, kw_only=True):
    """A table's content: how many rows, and the SHA-256 of them in the order of their keys."""

    rows: int
    sha256: str


class Copied(Value, frozen=True, kw_only=True):
    """What was copied; ``replaced`` are the places (table, key, column) where a NUL became U+FFFD."""

    tables: dict[str, Digest]
    replaced: list[str] = []


class Replacements:
    """Makes texts fit every database: PostgreSQL takes no NUL, so each becomes U+FFFD. Remembers where."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def fit(self, table: Table, row: Row) -> Row:
        """*row* as every database can hold it.

        Raises:
            ConfigurationError: a value is not of its column's type, or a key would have to change.
        """
        for place, (name, kind) in enumerate(table.types.items()):
            value = row[place]
            if value is None:
                continue
            if not isinstance(value, kind):
                raise _unfit(table, row, f"{name} holds {type(value).__name__}, not {kind.__name__}")
            if isinstance(value, str) and _NUL in value:
                if name in table.key:
                    raise _unfit(table, row, f"{name} is part of its key and holds a NUL character")
                self.places.append(_place(table, row, name))
                row = (*row[:place], value.replace(_NUL, _REPLACEMENT), *row[place + 1 :])
        return row


def copy(
    source: Driver, target: Driver, *, lease_ms: int, progress: Callable[[Progress], None] = lambda _: None
) -> Copied:
    """Copy everything from *source* to *target*, read it back and compare.

    Raises:
        ConfigurationError: one of them is served, the source has another schema, or a value does not fit.
        ConflictError: the target holds rows of its own, or does not agree with the source in the end.
        NotFoundError: there is no source.
        StoreUnavailableError: one of them cannot be used; the target stays marked.
    """
    schema.check(source)
    for driver, name in ((source, "FROM"), (target, "TO")):
        _refuse_served(driver, name, lease_ms=lease_ms)
    try:
        with _still(source, lease_ms=lease_ms), source.read(patient=True) as reading, _alone(target):
            _begin(target)
            replacements = Replacements()
            copied = [one for one in tables() if one.name not in _LEFT]
            for table in copied:
                _copy_table(reading, target, table, fit=replacements.fit, progress=progress)
            found = _compare(reading, target, copied, progress=progress)
            _end(target)
    except ContendedError as error:
        reason = str(error).partition("\n")[0]
        raise StoreUnavailableError(
            f"Somebody else uses one of the databases, or both are the same ({reason}); TO cannot be used yet."
        ) from error
    return Copied(tables=found, replaced=replacements.places)


def _refuse_served(driver: Driver, name: str, *, lease_ms: int) -> None:
    if not serving.is_served(driver, lease_ms=lease_ms):
        return
    seen = ", ".join(f"{one.name} ({one.role})" for one in serving.alive(driver, lease_ms=lease_ms))
    by = f" by {seen}; a node that died counts for {3 * lease_ms // SECOND} s" if seen else ""
    raise ConfigurationError(
        f"{name} is served{by}. Stop whatever serves it, then start the copy again.", code="already_served"
    )


@contextmanager
def _still(source: Driver, *, lease_ms: int) -> Iterator[None]:
    """Let nobody change *source*: no process that starts now, and no command."""
    with _write(source) as tx:
        if not source.exclusive:
            tx.run(f"LOCK TABLE {_names()} IN SHARE MODE")
            _refuse_served(source, "FROM", lease_ms=lease_ms)
        yield


@contextmanager
def _alone(target: Driver) -> Iterator[None]:
    """Let no other copy into *target* run; if this process dies, it no longer does."""
    if target.exclusive:
        # The right to serve it is ours.
        yield
        return
    with target.read(patient=True) as tx:
        tx.guard(["copy"])
        yield


@contextmanager
def _write(driver: Driver) -> Iterator[Transaction]:
    """Write for as long as it takes, without waiting for ever for somebody else."""
    with driver.write(patient=True) as tx:
        if not driver.exclusive:
            tx.run(f"SET LOCAL lock_timeout = {_PATIENCE}")
        yield tx


def _begin(target: Driver) -> None:
    """Mark *target*, which is empty, or is emptied where an unfinished copy has left something."""
    try:
        schema.migrate(target)
    except ConfigurationError as error:
        if error.code != "copy_unfinished":
            raise
        _empty(target)
        schema.migrate(target)
    with _write(target) as tx:
        # A process that starts now and has to migrate waits, and finds the mark.
        tx.guard(["migration"])
        for one in tables():
            if one.name not in _PASSING and tx.run(f"SELECT 1 FROM {one.name} LIMIT 1"):
                raise ConflictError(
                    f"TO holds a record already (there are rows in {one.name}), and nothing is overwritten; name "
                    "an empty database.",
                    code="copy_not_empty",
                )
        for name in sorted(_PASSING):
            tx.run(f"DELETE FROM {name}")
        tx.run(f"CREATE TABLE {schema.COPYING} (begun {{integer}} PRIMARY KEY)")


def _empty(target: Driver) -> None:
    """Delete what an unfinished copy has left, maybe an older version's, and its mark."""
    there = target.tables()
    with _write(target) as tx:
        for one in tables():
            if one.name in there:
                tx.run(f"DELETE FROM {one.name}")
        tx.run(f"DROP TABLE {schema.COPYING}")


def _copy_table(
    reading: Transaction,
    target: Driver,
    table: Table,
    *,
    fit: Callable[[Table, Row], Row],
    progress: Callable[[Progress], None],
) -> None:
    rows = 0
    for batch in batches(lambda: nullcontext(reading), table):
        fitting = [fit(table, row) for row in batch]
        with _write(target) as tx:
            tx.insert(table.name, table.columns, fitting)
        rows += len(batch)
        progress(Progress(table=table.name, rows=rows))


def _compare(
    reading: Transaction, target: Driver, copied: Sequence[Table], *, progress: Callable[[Progress], None]
) -> dict[str, Digest]:
    """Read both sides again; raises ConflictError where they differ."""
    found = {}
    with target.read(patient=True) as reading_back:
        for table in copied:
            wanted, there = digest(reading, table), digest(reading_back, table)
            if wanted != there:
                raise _differs(f"{table.name} has {_said(wanted)} in FROM and {_said(there)} in TO")
            found[table.name] = wanted
            progress(Progress(table=table.name, rows=wanted.rows, compared=True))
    return found


def _end(target: Driver) -> None:
    """Take the mark away; what is there is the record now."""
    with _write(target) as tx:
        if tx.run(f"SELECT 1 FROM {_NODES} LIMIT 1"):
            raise _differs("somebody began to serve TO meanwhile")
        tx.run(f"DROP TABLE {schema.COPYING}")
        if not target.exclusive:
            # Until the server has looked at the new rows by itself, it would plan as if there were none.
            tx.run(f"ANALYZE {_names()}")


def digest(tx: Transaction, table: Table) -> Digest:
    """Sum up a table, as every database can hold it."""
    fit = Replacements().fit
    summed, rows = hashlib.sha256(), 0
    for batch in batches(lambda: nullcontext(tx), table):
        rows += len(batch)
        for row in batch:
            for value in fit(table, row):
                for piece in _canonical(value):
                    summed.update(piece)
    # Counted apart, so that a row that the batches left out on both sides is missed.
    counted = tx.run(f"SELECT count(*) FROM {table.name}")[0][0]
    if counted != rows:
        raise _differs(f"{table.name} has {counted} rows, of which {rows} were read")
    return Digest(rows=rows, sha256=summed.hexdigest())


def _canonical(value: Any) -> tuple[bytes, ...]:  # noqa: ANN401  (what a column may hold)
    """A value as bytes that no other value, and no other row of values, has."""
    match value:
        case None:
            return (b"n",)
        case int():
            return (b"i%d;" % value,)
        case str():
            text = value.encode()
            return b"t%d:" % len(text), text
        case _:
            return b"b%d:" % len(value), value


def _names() -> str:
    return ", ".join(one.name for one in tables())


def _said(one: Digest) -> str:
    return f"{one.rows} rows (SHA-256 {one.sha256[:16]}…)"


def _differs(what: str) -> ConflictError:
    return ConflictError(
        f"The copy is not the same: {what}. TO stays marked as unfinished; start the copy again.",
        code="copy_differs",
    )


def _unfit(table: Table, row: Row, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"A row of FROM does not fit: {_place(table, row)}: {what}. The receiver does not write such rows; correct "
        "it by hand, or delete it, and start the copy again.",
        code="copy_unfit",
    )


def _place(table: Table, row: Row, column: str = "") -> str:
    """A row for a person: its table and key, and a column of it."""
    key = ", ".join(f"{name}={_shown(value)}" for name, value in table.key_of(row).items())
    return f"{table.name}({key}){f'.{column}' if column else ''}"


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
