"""``receiver db``: the database by hand."""

from collections import Counter

import click

from receiver.cli import options, output, session
from receiver.cli.backup import backup
from receiver.cli.command import Group, note
from receiver.cli.copying import copy
from receiver.cli.export import export
from receiver.core.model import DAY
from receiver.files.store import Swept
from receiver.settings import from_environment
from receiver.storage import schema
from receiver.storage.retention import SHORTEST, Prune


@click.group(cls=Group)
def db() -> None:
    """Make, migrate, prune, shrink, back up, export and copy the database."""


db.add_command(export)
db.add_command(copy)
db.add_command(backup)


@db.command()
@options.as_json
def init(*, as_json: bool) -> None:
    """Make a new database, also where there was one before.

    Where one was lost (its volume is not mounted, its file was removed or emptied) serve and every other command
    refuse to make another, which would know none of the jobs for which callbacks will come (database_gone): this
    command makes one on purpose. A database that is there is not touched.
    """
    with session.opened_driver(from_environment().database_url) as driver:
        made = "migration" not in driver.tables()
        done = schema.migrate(driver, anew=True) if made else []
    if as_json:
        output.show_json({"made": made, "migrations": done})
        return
    note("The database is made." if made else "There is a database already; nothing was changed.")


@db.command()
@options.as_json
def reclaim(*, as_json: bool) -> None:
    """Let an SQLite database be served that was copied to another.

    After 'receiver db copy' it is refused (database_copied): served beside the other, it would run the same jobs and
    handlers a second time. Once this is the one that goes on, this command says so. Nothing in it is changed.
    """
    with session.opened_driver(from_environment().database_url) as driver:
        schema.check(driver)
        done = driver.reclaim()
    if as_json:
        output.show_json({"reclaimed": done})
        return
    note("It may be served again." if done else "It was not copied anywhere; nothing was changed.")


@db.command()
@options.as_json
def vacuum(*, as_json: bool) -> None:
    """Give room that is free back to the disk, while the receiver goes on serving.

    What was pruned leaves free pages, which are used again; this makes the file smaller, some milliseconds at a
    time. An SQLite file that was made before this was possible has to be written anew once: stop what serves it
    first, and have as much room free as it takes. On PostgreSQL every table is vacuumed.
    """
    freed = 0
    with session.opened_driver(from_environment().database_url) as driver:
        schema.check(driver)
        for step in driver.vacuum():
            freed += step.freed
    if as_json:
        output.show_json({"freed_bytes": freed})
        return
    click.echo(f"{output.size(freed)} given back")


@db.command()
@options.as_json
def migrate(*, as_json: bool) -> None:
    """Bring the schema up to this version; harmless if it is.

    Every serve and worker does so too, one of them while the others wait (unless RECEIVER_MIGRATE=0).
    On PostgreSQL, nodes of the version before may go on meanwhile.
    """
    with session.opened_driver(from_environment().database_url) as driver:
        done = schema.migrate(driver)
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

    Never below 4 days: senders retry for 76 hours. Jobs with dispatches waiting or dead are kept. Files that no job
    has any more are deleted from the file store. With --json the rows of each table are counted.
    """
    if older_than < SHORTEST:
        raise click.BadParameter(
            f"nothing is deleted before {SHORTEST // DAY} days after its end: senders retry for 76 hours.",
            param_hint="--older-than",
        )
    deleted = Counter[str]()
    async with session.opened() as running:
        now = running.clock()
        after: str | None = ""
        while after is not None:
            item = Prune(before=now - older_than, after=after, now=now, dry_run=dry_run)
            pruned = await running.store.prune(item)
            deleted.update(pruned.deleted)
            after = pruned.after
        swept = Swept() if dry_run else await running.sweeping()
    jobs, callbacks = deleted["job"], deleted["callback"]
    if as_json:
        counts = {"jobs": jobs, "callbacks": callbacks, "tables": dict(sorted(deleted.items()))}
        output.show_json({"dry_run": dry_run, **counts, "files": swept.files, "file_bytes": swept.bytes})
        return
    click.echo(f"{'would delete' if dry_run else 'deleted'} {jobs} jobs and {callbacks} callbacks")
    if swept.files or swept.unfinished:
        note(f"{swept.files} files that no job has any more are deleted: {output.size(swept.bytes)}")
