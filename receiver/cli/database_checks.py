"""The checks of ``receiver doctor`` that look at the database itself, without changing it."""

import contextlib
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import sqlite_utils

from receiver.cli import output
from receiver.cli.finding import FAIL, OK, WARN, Check, failed, plain
from receiver.cli.session import opened_driver
from receiver.clock import read_clock
from receiver.core.errors import ConfigurationError, NotFoundError, ReceiverError, StoreUnavailableError
from receiver.core.model import SECOND
from receiver.settings import Settings
from receiver.storage import schema
from receiver.storage.driver import Driver

#: File systems on which SQLite's locks cannot be trusted (https://www.sqlite.org/wal.html, read 2026-11-20).
_REMOTE: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs", "ceph", "glusterfs"}
#: By how many milliseconds two clocks may differ before somebody should know.
_CLOCKS: Final = 2 * SECOND
#: Seconds for which the pages of a file are read unless all of them are to be, and how many things wrong with them are
#: told; seconds after which a table is told of that is read whole.
_LONGEST_CHECK: Final = 2.0
_TOLD: Final = 3
_LONG: Final = 1.0
#: A log of so many bytes is told of.
_MEGABYTE: Final = 1_000_000
_LONG_LOG: Final = 100 * _MEGABYTE
#: Seconds within which an announcement is heard.
_PROMPT: Final = 3.0


def check_database(
    settings: Settings, *, whole: bool = False, tell: Callable[[str], None] = lambda _: None
) -> Iterator[Check]:
    """Look at the database; the last check is "migrations", and ok, if it can be opened.

    Args:
        settings: Where it is.
        whole: Whether a file is read whole, however long that takes.
        tell: Is told how far that has come.
    """
    path = settings.database_url.removeprefix("sqlite:///")
    if path and path != settings.database_url:
        yield from _check_file(
            Path(path), settings.database_url, tell=tell, seconds=math.inf if whole else _LONGEST_CHECK
        )
        return
    try:
        with opened_driver(settings.database_url) as driver:
            yield from _check_server(driver, settings)
    except ReceiverError as error:
        yield failed(
            "database", error, "Correct RECEIVER_DATABASE_URL, or see that the server runs and lets us in."
        )


def _check_file(path: Path, url: str, *, tell: Callable[[str], None], seconds: float) -> Iterator[Check]:
    kind = file_system(path.absolute().parent)
    if kind in _REMOTE:
        yield Check(
            name="file system",
            status=FAIL,
            text=f"{path} lies on {kind}, where SQLite's locks cannot be trusted",
            next="Move it to a local disk.",
        )
    try:
        with _open_readonly(path) as database:
            mode = database.journal_mode
    except NotFoundError as error:
        with opened_driver(url) as driver:
            yield _check_schema(driver) if driver.marked() else _check_folder(path, error)
        return
    except ReceiverError as error:
        yield failed("database", error, "Check the path, its owner and its mode.")
        return
    if mode != "wal":
        yield Check(
            name="database",
            status=WARN,
            text=f"{path} is in mode {mode}, not wal",
            next="It is switched at the next start.",
        )
    else:
        yield Check(name="database", status=OK, text=f"{path}, write-ahead log")
        yield from _check_mode(path)
        yield from _check_log(path)
        yield check_pages(path, tell=tell, seconds=seconds)
    with opened_driver(url) as driver:
        if (where := driver.given_away()) is not None:
            yield Check(
                name="copied",
                status=WARN,
                text=f"{path} was copied to {where}, so 'serve' refuses it",
                next="Have RECEIVER_DATABASE_URL name the other; or, if this one goes on: receiver db reclaim",
            )
        yield _check_schema(driver)


def _check_mode(path: Path) -> Iterator[Check]:
    """Whether others may read the file: it holds requests, callbacks and results."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o007:
        yield Check(
            name="mode",
            status=WARN,
            text=f"others than its owner may read {path} ({mode:04o})",
            next=f"chmod 0600 {path}",
        )


def _check_log(path: Path) -> Iterator[Check]:
    """Whether the log has grown because somebody reads for long."""
    log = Path(f"{path}-wal")
    size = log.stat().st_size if log.exists() else 0
    if size > _LONG_LOG:
        yield Check(
            name="log",
            status=WARN,
            text=f"{log} has {size // _MEGABYTE} MB: somebody has been reading for long, or it is not moved yet",
            next="End what holds the file open for long (a shell, a backup); the receiver then moves the log into the "
            "database beside its work.",
        )


def check_pages(path: Path, *, tell: Callable[[str], None], seconds: float) -> Check:
    """Read the pages of a file for *seconds*: a table at a time, so that its log is not held up for long.

    https://sqlite.org/pragma.html#pragma_quick_check
    """
    until = time.monotonic() + seconds
    wrong: list[str] = []
    read = 0
    with _open_readonly(path) as database, _interrupted(database.conn, seconds):
        try:
            names = [
                row[0] for row in database.conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            if seconds == math.inf:
                tell(f"Reading {path} whole, {path.stat().st_size // _MEGABYTE} MB in {len(names)} tables")
            for name in names:
                began = time.monotonic()
                if began > until:
                    break
                found = database.conn.execute(f'PRAGMA quick_check("{name}")').fetchmany(_TOLD)
                wrong += [line.partition("\n")[2] or line for (line,) in found if line != "ok"]
                read += 1
                if time.monotonic() - began > _LONG:
                    tell(f"{name} is read, table {read} of {len(names)}")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                wrong.append(str(error))
    if wrong:
        return Check(
            name="file",
            status=FAIL,
            text=f"{path} is damaged: {'; '.join(wrong[:_TOLD])}",
            next="Stop the receiver and restore the last backup (deploy/OPERATIONS.md); keep the damaged file.",
        )
    if read < len(names):
        text = f"no damage was found in {seconds:g} s, and {read} of its {len(names)} tables were read in that time"
        return Check(name="file", status=OK, text=f"{text}: 'receiver doctor --whole' reads all of it")
    return Check(name="file", status=OK, text="its pages are whole")


@contextlib.contextmanager
def _interrupted(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Interrupt what *connection* is at after *seconds*.

    By a thread, because old versions of SQLite call no handler while they go through the pages of a table.
    """
    timer = None if seconds == math.inf else threading.Timer(seconds, connection.interrupt)
    if timer is not None:
        timer.start()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
            timer.join()


def _check_folder(path: Path, missing: NotFoundError) -> Check:
    folder = _existing(path.absolute().parent)
    if os.access(folder, os.W_OK | os.X_OK):
        return Check(name="database", status=OK, text=plain(missing))
    return Check(
        name="database",
        status=FAIL,
        text=f"{path} cannot be made: {folder} is not writable",
        next="Correct the path, its owner or its mode.",
    )


@contextlib.contextmanager
def _open_readonly(path: Path) -> Iterator[sqlite_utils.Database]:
    if not path.exists():
        raise NotFoundError(
            f"There is no database at {path} yet; 'receiver serve' makes it.", code="database_missing"
        )
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        ) as connection:
            yield sqlite_utils.Database(connection)
    except sqlite3.DatabaseError as error:
        raise StoreUnavailableError(f"The database {path} cannot be read: {error}.") from error


def _check_server(driver: Driver, settings: Settings) -> Iterator[Check]:
    with driver.read() as tx:
        # The driver itself refuses a server that is too old and a database in another encoding.
        found: dict[str, str] = dict(
            tx.run(
                "SELECT name, reset_val FROM pg_settings WHERE name IN "
                "('server_version', 'server_encoding', 'fsync', 'full_page_writes', 'synchronous_commit')"
            )
        )
    yield Check(
        name="database",
        status=OK,
        text=f"{output.address(settings.database_url)}, PostgreSQL {found['server_version']}, "
        f"{found['server_encoding']}",
    )
    yield _check_durability(found)
    yield _check_clock(driver)
    if settings.listen:
        yield _check_listening(driver)
    yield _check_schema(driver)


def _check_durability(found: dict[str, str]) -> Check:
    if off := [name for name in ("fsync", "full_page_writes") if found[name] == "off"]:
        return Check(
            name="durability",
            status=WARN,
            text=f"{' and '.join(off)} {'are' if len(off) > 1 else 'is'} off: a power cut loses callbacks that were "
            "acknowledged, and may damage the database",
            next="Switch it on in postgresql.conf.",
        )
    text = "what is acknowledged is on the server's disk"
    if found["synchronous_commit"] == "off":
        # storage/postgres/driver.py switches it on in every transaction.
        text += " (synchronous_commit is off there; receiver switches it on for its own commits)"
    return Check(name="durability", status=OK, text=text)


def _check_clock(driver: Driver) -> Check:
    before = read_clock()
    told = driver.time() or before
    ahead = (before + read_clock()) // 2 - told
    if abs(ahead) <= _CLOCKS:
        return Check(name="clock", status=OK, text="that of the database, and ours agrees")
    return Check(
        name="clock",
        status=WARN,
        text=f"this machine's is {output.span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the database's, "
        "which counts: by it leases lapse and timestamps are judged",
        next="Have both set by NTP.",
    )


def _check_listening(driver: Driver) -> Check:
    """Announce work, as a commit would, and wait until that is heard."""
    listening, heard = threading.Event(), threading.Event()

    def hear() -> None:
        # First when it begins to listen, then whenever there is news.
        (heard if listening.is_set() else listening).set()

    driver.listen(hear)
    if listening.wait(_PROMPT):
        with driver.write() as tx:
            tx.announce()
        if heard.wait(_PROMPT):
            return Check(name="listening", status=OK, text="another node's work is heard of at once")
    return Check(
        name="listening",
        status=WARN,
        text="what is announced is not heard, as behind a pooler in transaction mode",
        next="Set RECEIVER_LISTEN=0: nodes then look for work every second.",
    )


def _check_schema(driver: Driver) -> Check:
    try:
        pending = schema.pending(driver)
    except ConfigurationError as error:
        return failed("migrations", error, "Until then every command refuses this database.")
    if not pending:
        return Check(name="migrations", status=OK, text="the schema is up to date")
    text = "nothing is there yet" if pending == schema.known() else f"pending: {', '.join(pending)}"
    return Check(
        name="migrations",
        status=WARN,
        text=text,
        next="'receiver db migrate' carries them out, as 'receiver serve' does when it starts.",
    )


def file_system(folder: Path) -> str:
    """The kind of file system that *folder* is on; empty where it cannot be told."""
    folder = _existing(folder)
    found = ("", "")
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        if folder.resolve().is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.exists())
