"""``receiver db``: the database by hand."""

import base64
import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

import click
import sqlite_utils

from receiver.cli import options, output, session
from receiver.cli.command import Group, note
from receiver.core.errors import ConfigurationError, NotFoundError, StoreUnavailableError
from receiver.core.model import DAY
from receiver.settings import from_environment
from receiver.storage.retention import SHORTEST, Prune
from receiver.storage.store import open_driver

#: Names of files that hold every table, a line each; any other target is a folder of one file a table.
_FILES: Final = {".ndjson", ".jsonl"}


@click.group(cls=Group)
def db() -> None:
    """Migrate, prune and export the database."""


@db.command()
@options.as_json
def migrate(*, as_json: bool) -> None:
    """Bring the schema up to this version; harmless if it is.

    Every command does so on its own. Stop the serving process first.
    """
    driver = open_driver(from_environment().database_url)
    try:
        done = driver.migrate()
    finally:
        driver.close()
    if as_json:
        output.show_json({"migrations": done})
        return
    for name in done:
        click.echo(name)
    note(f"{len(done)} migrations carried out." if done else "The schema is up to date.")


@db.command()
@click.option(
    "--older-than",
    callback=options.read_duration,
    required=True,
    metavar="SPAN",
    help="How long ago the jobs ended: 30d.",
)
@click.option("--dry-run", is_flag=True, help="Count only; nothing is deleted.")
@options.as_json
async def prune(*, older_than: int, dry_run: bool, as_json: bool) -> None:
    """Delete jobs that ended long ago, with everything of theirs.

    Never below 4 days: senders retry for 76 hours. Jobs with dispatches waiting or dead are kept.
    """
    if older_than < SHORTEST:
        raise click.BadParameter(
            f"nothing is deleted before {SHORTEST // DAY} days after its end: senders retry for 76 hours.",
            param_hint="--older-than",
        )
    jobs = callbacks = 0
    async with session.opened() as running:
        now = running.clock()
        after: str | None = ""
        while after is not None:
            item = Prune(before=now - older_than, after=after, now=now, dry_run=dry_run)
            pruned = await running.store.prune(item)
            jobs, callbacks, after = jobs + pruned.jobs, callbacks + pruned.callbacks, pruned.after
    if as_json:
        output.show_json({"dry_run": dry_run, "jobs": jobs, "callbacks": callbacks})
        return
    click.echo(f"{'would delete' if dry_run else 'deleted'} {jobs} jobs and {callbacks} callbacks")


@db.command()
@click.argument("target", type=click.Path(path_type=Path, allow_dash=True))
@options.as_json
def export(*, target: Path, as_json: bool) -> None:
    """Write every table as newline-delimited JSON.

    Into a folder, one TABLE.ndjson each; or, if TARGET ends in .ndjson or .jsonl or is '-', into one file
    whose lines are {"table": …, "row": …}. Bodies and other bytes are {"$base64": true, "encoded": …}. What
    is written is one state of the database, and as confidential as it.
    """
    if target == Path("-") and as_json:
        raise click.UsageError("--json counts what was written; with '-' standard output holds the rows.")
    with open_readonly(from_environment().database_url) as database:
        counts = _export(database, target)
    if as_json:
        output.show_json({"tables": counts})
    else:
        note(f"{sum(counts.values())} rows of {len(counts)} tables exported.")


@contextlib.contextmanager
def open_readonly(url: str) -> Iterator[sqlite_utils.Database]:
    """Open the database at *url* for looking only, at one state of it.

    Raises:
        ConfigurationError: it is not SQLite.
        NotFoundError: there is none yet.
        StoreUnavailableError: it cannot be read.
    """
    path = database_path(url)
    if not path.exists():
        raise NotFoundError(f"There is no database at {path} yet.", code="database_missing")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        yield sqlite_utils.Database(connection)
    except sqlite3.DatabaseError as error:
        raise StoreUnavailableError(f"The database {path} cannot be read: {error}.") from error
    finally:
        connection.close()


def database_path(url: str) -> Path:
    """The file that a ``sqlite:///`` URL names; raises ConfigurationError for another URL."""
    scheme, _, rest = url.partition("://")
    if scheme != "sqlite" or not rest.startswith("/") or rest == "/":
        raise ConfigurationError(
            "This command works on SQLite; use the tools of your database for another.",
            code="database_url_invalid",
        )
    return Path(rest[1:])


def _export(database: sqlite_utils.Database, target: Path) -> dict[str, int]:
    names = [name for name in database.table_names() if not name.startswith("sqlite_")]
    if target == Path("-"):
        return {name: _write(database, name, sys.stdout, named=True) for name in names}
    if target.suffix in _FILES:
        with _private(target) as file:
            return {name: _write(database, name, file, named=True) for name in names}
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    counts = {}
    for name in names:
        with _private(target / f"{name}.ndjson") as file:
            counts[name] = _write(database, name, file, named=False)
    return counts


def _private(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8")


def _write(database: sqlite_utils.Database, name: str, file: TextIO, *, named: bool) -> int:
    count = 0
    for row in database.table(name).rows:
        count += 1
        plain = {column: _plain(value) for column, value in row.items()}
        document = {"table": name, "row": plain} if named else plain
        file.write(json.dumps(document, ensure_ascii=False) + "\n")
    return count


def _plain(value: object) -> object:
    # The form that sqlite-utils itself writes and reads: https://sqlite-utils.datasette.io/en/stable/cli.html
    return (
        {"$base64": True, "encoded": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
    )
