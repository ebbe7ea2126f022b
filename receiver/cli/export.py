"""``receiver db export``."""

import base64
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TextIO

import click

from receiver.cli import options, output, session
from receiver.cli.command import Command, note
from receiver.settings import from_environment
from receiver.storage import schema
from receiver.storage.driver import Driver
from receiver.storage.tables import Table, batches, tables

#: Names of files that hold every table, a line each; any other target is a folder of one file a table.
_FILES: Final = {".ndjson", ".jsonl"}
#: What a file is called until all of the export is written.
_UNFINISHED: Final = ".part"


@click.command(cls=Command)
@click.argument("target", type=click.Path(path_type=Path, allow_dash=True))
@options.as_json
def export(*, target: Path, as_json: bool) -> None:
    """Write every table as newline-delimited JSON.

    Into a folder, one TABLE.ndjson each; or, if TARGET ends in .ndjson or .jsonl or is '-', into one file
    whose lines are {"table": …, "row": …}. Bodies and other bytes are {"$base64": true, "encoded": …}; the bytes of
    files that results link to stay in the file store. It is as confidential as the database. It is read in ranges, so
    that nobody is held up: what changes meanwhile may stand in it as it was or as it is. For one state of it, stop
    what serves it first. Until all is written each file's name ends in .part: an export that was cut short leaves
    those, and what stood there before.
    """
    if target == Path("-") and as_json:
        raise click.UsageError("--json counts what was written; with '-' standard output holds the rows.")
    with session.opened_driver(from_environment().database_url) as driver:
        schema.check(driver)
        counts = _export(driver, target)
    if as_json:
        output.show_json({"tables": counts})
    else:
        note(f"{sum(counts.values())} rows of {len(counts)} tables exported.")


def _export(driver: Driver, target: Path) -> dict[str, int]:
    if target == Path("-"):
        return {table.name: _write(driver, table, sys.stdout, named=True) for table in tables()}
    with ExitStack() as whole:
        if target.suffix in _FILES:
            file = whole.enter_context(_kept(target))
            return {table.name: _write(driver, table, file, named=True) for table in tables()}
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        counts = {}
        for table in tables():
            file = whole.enter_context(_kept(target / f"{table.name}.ndjson"))
            counts[table.name] = _write(driver, table, file, named=False)
            file.flush()
        return counts


@contextmanager
def _kept(path: Path) -> Iterator[TextIO]:
    """A file for its owner only, which gets its name if the block ends well."""
    path = path.resolve()
    unfinished = path.with_name(f"{path.name}{_UNFINISHED}")
    opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(opened, "w", encoding="utf-8") as file:
        yield file
        file.flush()
        os.fsync(opened)
    unfinished.replace(path)


def _write(driver: Driver, table: Table, file: TextIO, *, named: bool) -> int:
    count = 0
    for batch in batches(driver.read, table):
        for row in batch:
            plain = {column: _plain(value) for column, value in zip(table.types, row, strict=True)}
            document = {"table": table.name, "row": plain} if named else plain
            file.write(json.dumps(document, ensure_ascii=False) + "\n")
        count += len(batch)
    return count


def _plain(value: object) -> object:
    # The form that sqlite-utils writes and reads: https://sqlite-utils.datasette.io/en/stable/cli.html
    return (
        {"$base64": True, "encoded": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
    )
