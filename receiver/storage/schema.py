"""The schema: numbered migrations, carried out by one process while the others wait, and never backwards."""

import time
from collections.abc import Iterator
from importlib.resources import files
from typing import Final

import structlog

from receiver.core.errors import ConfigurationError, NotFoundError, StoreUnavailableError
from receiver.storage.driver import ContendedError, Driver, statements

log = structlog.get_logger(__name__)

_FOLDER: Final = files("receiver.storage.migrations")
#: A table that is there while a copy into the database is unfinished: until then it holds half a record.
COPYING: Final = "copying"
#: Milliseconds that a migration waits for a table, because whoever comes after it waits as well, callbacks included;
#: then it stands back for so many seconds, and tries so often.
_IN_THE_WAY: Final = 500
_PAUSE: Final = 2.0
_TRIES: Final = 150


def known() -> list[str]:
    """The migrations that this code brings, in their order."""
    return sorted(entry.name for entry in _FOLDER.iterdir() if entry.name.endswith(".sql"))


def steps(name: str) -> Iterator[str]:
    """The statements of a migration."""
    return statements((_FOLDER / name).read_text(encoding="utf-8"))


def pending(driver: Driver, *, anew: bool = False) -> list[str]:
    """The migrations that the database still lacks.

    Args:
        driver: The database.
        anew: Whether a new one may be made where one was lost.

    Raises:
        ConfigurationError: it is newer than this code, a copy into it is unfinished, or it is lost.
    """
    done: set[str] = set()
    tables = driver.tables()
    if not anew and "migration" not in tables and driver.marked():
        raise ConfigurationError(
            "There was a receiver database where RECEIVER_DATABASE_URL points, and now there is none, or an empty "
            "file. A new one would know none of the jobs for which callbacks will come. Mount the volume, or restore "
            "the backup; if the old one is not wanted any more, say so with: receiver db init",
            code="database_gone",
        )
    if "migration" in tables:
        with driver.read() as tx:
            done = {row[0] for row in tx.run("SELECT name FROM migration")}
    lacking = _lacking(done)
    if COPYING in tables:
        raise ConfigurationError(
            "A copy into this database is under way, or has failed; start 'receiver db copy' again.",
            code="copy_unfinished",
        )
    return lacking


def migrate(driver: Driver, *, anew: bool = False) -> list[str]:
    """Bring the schema up to this code's; return the names of the migrations carried out.

    Processes that start together agree: one migrates, the others wait for it and find nothing left to do. Nodes that
    serve meanwhile are held up for no longer than the change itself takes.

    Args:
        driver: The database.
        anew: Whether a new one may be made where one was lost.

    Raises:
        ConfigurationError: it is newer than this code, a copy into it is unfinished, or it is lost.
        StoreUnavailableError: somebody reads the tables for longer than five minutes.
    """
    if not pending(driver, anew=anew):
        driver.mark()
        return []
    for _ in range(_TRIES):
        try:
            done = _carry_out(driver)
        except ContendedError as contended:
            log.warning("migration_waits", reason=str(contended))
            time.sleep(_PAUSE)
        else:
            driver.mark()
            return done
    raise StoreUnavailableError(
        "The tables cannot be changed while somebody reads them for long; end what does (an export, a dump, a session "
        "that is idle in a transaction), then start again."
    )


def _carry_out(driver: Driver) -> list[str]:
    with driver.write(patient=True) as tx:
        tx.guard(["migration"])
        if not driver.exclusive:
            tx.run(f"SET LOCAL lock_timeout = {_IN_THE_WAY}")
        tx.run("CREATE TABLE IF NOT EXISTS migration (name {text} PRIMARY KEY)")
        carried_out = _lacking({row[0] for row in tx.run("SELECT name FROM migration")})
        for name in carried_out:
            for statement in steps(name):
                tx.run(statement)
            tx.run("INSERT INTO migration (name) VALUES (:name)", {"name": name})
    return carried_out


def check(driver: Driver) -> None:
    """Raise unless the schema is this code's, without changing anything.

    Raises:
        NotFoundError: nothing of ours is there.
        ConfigurationError: the schema is older, or newer, or a copy into the database is unfinished.
    """
    lacking = pending(driver)
    if lacking == known():
        raise NotFoundError(
            "There is no receiver database yet where RECEIVER_DATABASE_URL points; 'receiver serve' and "
            "'receiver db migrate' make one.",
            code="database_missing",
        )
    if lacking:
        raise ConfigurationError(
            f"The database lacks the migration {lacking[0]}, which this version of receiver needs; run "
            "'receiver db migrate'.",
            code="schema_older",
        )


def _lacking(done: set[str]) -> list[str]:
    ours = known()
    if newer := sorted(done - set(ours)):
        raise ConfigurationError(
            f"The database has the migration {newer[0]}, which this version of receiver does not know; "
            "upgrade receiver.",
            code="schema_newer",
        )
    return [name for name in ours if name not in done]
