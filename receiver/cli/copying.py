"""``receiver db copy``."""

import time
from collections.abc import Callable
from typing import Final

import click

from receiver.cli import options, output, session
from receiver.cli.command import Command, note
from receiver.core.errors import ConfigurationError, NotFoundError, ReceiverError
from receiver.settings import Settings, from_environment
from receiver.storage import copying
from receiver.storage.copying import Progress
from receiver.storage.driver import Driver

#: Seconds between two lines that say how far it has come.
_EVERY: Final = 2.0
#: How many places of replaced characters are named.
_NAMED: Final = 5


@click.command(cls=Command)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@options.as_json
def copy(*, source: str, target: str, as_json: bool) -> None:
    """Copy everything from one database to another, and compare.

    FROM and TO are written like RECEIVER_DATABASE_URL; env:NAME or file:PATH says where one stands, so that no
    password is on the command line. Stop what serves them first. FROM is not changed, and nothing can change it
    meanwhile. TO must be empty. At the end counts and checksums of all tables are compared; until they agree
    every command refuses TO (copy_unfinished), and the same command, started again, begins anew. Then an SQLite FROM
    is served no more (database_copied), unless 'receiver db reclaim' says so. A NUL character in a text, which
    PostgreSQL does not take, becomes U+FFFD; the command says how many did.
    """
    settings = from_environment()
    urls = _read(settings, "FROM", source), _read(settings, "TO", target)
    try:
        with session.opened_driver(urls[0]) as here, session.opened_driver(urls[1]) as there:
            done = copying.copy(
                here, there, lease_ms=settings.lease_ms, progress=_ignore if as_json else _teller()
            )
            there.reclaim()
            _leave_word(here, where=output.address(urls[1]))
    except NotFoundError as error:
        where = output.address(urls[0])
        raise NotFoundError(f"There is no receiver database at {where}.", code=error.code) from None
    except ReceiverError:
        if not as_json:
            note("FROM was not changed. When what follows is corrected, start the same command again.")
        raise
    if as_json:
        output.show_json({"tables": done.tables, "replaced": done.replaced})
        return
    rows = sum(one.rows for one in done.tables.values())
    note(f"{rows} rows of {len(done.tables)} tables copied; counts and checksums agree.")
    if done.replaced:
        more = ", …" if len(done.replaced) > _NAMED else ""
        note(
            f"warning: {len(done.replaced)} texts held NUL characters, which became U+FFFD: "
            f"{output.clean(', '.join(done.replaced[:_NAMED]))}{more}"
        )
    if "file_store" in done.tables and done.tables["file_store"].rows:
        note(
            "The files that results link to stay where they are: have RECEIVER_FILES_URL name that place. With FROM it "
            f"was {settings.files_url or _beside(urls[0])}."
        )
    note(
        f"Now change RECEIVER_DATABASE_URL to {output.address(urls[1])} and start 'receiver serve'. Move FROM away: "
        "served again, it would run the same jobs and handlers a second time."
    )


def _leave_word(source: Driver, *, where: str) -> None:
    """Have FROM refused by whatever would serve it, as far as something beside it can say so."""
    try:
        source.give_away(where)
    except ReceiverError as error:
        note(f"warning: {error} Nothing will refuse to serve FROM.")


def _read(settings: Settings, name: str, text: str) -> str:
    """The URL that a reference stands for; raises ConfigurationError where it is not set."""
    if not text.startswith(("env:", "file:")):
        return text
    url = settings.resolve(text)
    if not url:
        raise ConfigurationError(f"{name}: {text} is not set.", code="database_url_invalid")
    return url


def _beside(url: str) -> str:
    """Where files are kept unless a setting says so."""
    folder = Settings(database_url=url).files_folder
    return "" if folder is None else folder.absolute().as_uri()


def _ignore(_: Progress) -> None:
    return


def _teller() -> Callable[[Progress], None]:
    """Shows progress: a line for each table, and some more within a table that takes long."""
    last: Progress | None = None
    told = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal last, told
        if last is not None and last.table != progress.table and not last.compared:
            note(f"{last.table}: {last.rows} rows copied")
        elif not progress.compared and time.monotonic() - told > _EVERY:
            note(f"{progress.table}: {progress.rows} rows so far")
            told = time.monotonic()
        if progress.compared:
            note(f"{progress.table}: {progress.rows} rows agree")
        last = progress

    return tell
