"""A backup of an SQLite database while it is served: one state of it, in a file for its owner only.

It is read within one transaction, so that it is what was committed when it began, however long it takes and whatever is
committed meanwhile; nobody who writes waits for a reader (https://www.sqlite.org/wal.html). Pages are copied as they
are, some at a time (https://www.sqlite.org/backup.html): a transaction that is open already is the one that is copied.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from receiver.core.errors import ConflictError, StoreUnavailableError
from receiver.durable import sync

#: Pages that are copied at a time: 1 MiB.
_PAGES: Final = 256
#: What the file is called until all of it is written.
_UNFINISHED: Final = ".part"


def back_up(source: Path, target: Path, *, progress: Callable[[int, int], None]) -> int:
    """Copy the database at *source* into the new file *target*; return how many bytes that has.

    Args:
        source: The database.
        target: A file that is not there yet.
        progress: Told how many pages are left, and of how many.

    Raises:
        ConflictError: *target* is there already, or an unfinished one is.
        StoreUnavailableError: the database cannot be read, or the file cannot be written.
    """
    if target.exists():
        raise ConflictError(f"{target} is there already; a backup overwrites nothing.", code="backup_exists")
    unfinished = target.with_name(f"{target.name}{_UNFINISHED}")
    try:
        os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError as error:
        raise ConflictError(
            f"{unfinished} is there: another backup is being made, or one was cut short. In that case remove it.",
            code="backup_exists",
        ) from error
    except OSError as error:
        raise _failed(target, error.strerror) from error
    try:
        _copy(source, unfinished, progress)
        sync(unfinished)
        _name(unfinished, target)
        sync(target.absolute().parent)
        return target.stat().st_size
    except sqlite3.Error as error:
        raise _failed(target, str(error)) from error
    except OSError as error:
        raise _failed(target, error.strerror) from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _copy(source: Path, target: Path, progress: Callable[[int, int], None]) -> None:
    with (
        closing(
            sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        ) as read,
        closing(sqlite3.connect(target, isolation_level=None)) as written,
    ):
        # Whoever finds it half written throws it away; it is synced once, when all is there.
        written.execute("PRAGMA journal_mode=OFF")
        written.execute("PRAGMA synchronous=OFF")
        read.execute("BEGIN")
        read.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        read.backup(written, pages=_PAGES, progress=lambda _, left, total: progress(left, total))
        read.execute("COMMIT")


def _name(unfinished: Path, target: Path) -> None:
    """Give the file its name, unless another has it by now."""
    try:
        os.link(unfinished, target)
    except FileExistsError as error:
        raise ConflictError(f"{target} is there already.", code="backup_exists") from error
    except OSError:
        # Not every file system has links.
        unfinished.rename(target)


def _failed(target: Path, why: str | None) -> StoreUnavailableError:
    return StoreUnavailableError(f"{target} was not written: {why}.", code="backup_failed")
