"""``receiver db backup``."""

import time
from pathlib import Path
from typing import Final

import click

from receiver.cli import options, output, session
from receiver.cli.command import Command, note
from receiver.core.errors import ConfigurationError
from receiver.settings import from_environment
from receiver.storage import schema
from receiver.storage.sqlite.backup import back_up

#: Seconds between two lines that say how far it has come.
_EVERY: Final = 2.0


@click.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@options.as_json
def backup(*, file: Path, as_json: bool) -> None:
    """Write a backup of an SQLite database into FILE, while the receiver goes on serving.

    It is one state of the database: what was committed when the backup began. FILE is for its owner only (mode
    0600), must not be there yet, and has its name once all of it is on the disk; until then it ends in .part. It needs
    as much room as the database. Of PostgreSQL take one with pg_dump or an archive of its log.
    """
    settings = from_environment()
    path = settings.database_url.removeprefix("sqlite:///")
    if not settings.database_url.startswith("sqlite:"):
        raise ConfigurationError(
            "Back PostgreSQL up with its own tools: pg_dump --format=custom, or an archive of its log.",
            code="backup_elsewhere",
        )
    with session.opened_driver(settings.database_url) as driver:
        schema.check(driver)
    told = time.monotonic()

    def tell(left: int, total: int) -> None:
        nonlocal told
        if not as_json and time.monotonic() - told > _EVERY:
            note(f"{total - left} of {total} pages so far")
            told = time.monotonic()

    size = back_up(Path(path), file, progress=tell)
    if as_json:
        output.show_json({"file": str(file), "bytes": size})
        return
    click.echo(f"{output.clean(str(file))}: {output.size(size)}")
    note(
        "The files that results link to are no part of it; nor are the master keys, without which it is of little use."
    )
