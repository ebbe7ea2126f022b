"""Whoever reads SQLite's file for long: the log grows, is told of, and is moved beside the writer later."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receiver.core.errors import ConfigurationError
from receiver.core.model import DAY, HOUR
from receiver.storage.retention import Prune
from receiver.storage.sqlite import driver
from receiver.storage.store import Store
from receiver.storage.tables import batches, tables
from tests.core.making import NOW
from tests.storage.making import ACME, DONE, Desk, arrival, callback, new_job

MIB = 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database file is."""
    return tmp_path / "receiver.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    """A store that is served from that file."""
    opened = await Store.open(f"sqlite:///{path}", serve=True)
    yield opened
    await opened.close()


async def keep(store: Store, size: int, *, many: int = 1) -> None:
    """Have callbacks of *size* bytes kept, one after the other."""
    for _ in range(many):
        await store.ingest(arrival(callback(ACME, os.urandom(size), rejected="x")))


def file_size(path: Path) -> int:
    """How long the file is."""
    return path.stat().st_size


def log_size(path: Path) -> int:
    """How long the log's file is."""
    return Path(f"{path}-wal").stat().st_size


def moving() -> bool:
    """Whether a log is being moved at this moment."""
    return any(one.name == "receiver-checkpoint" for one in threading.enumerate())


async def test_a_long_log_is_moved_while_callbacks_are_taken(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that ends after a hundred megabytes: no commit waits until all of it is moved, and it is moved."""
    monkeypatch.setattr(driver, "_LONG_LOG", 16 * MIB)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader, capture_logs() as logs:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM job").fetchone()
        await keep(store, MIB, many=100)
        assert log_size(path) > 100 * MIB
        reader.execute("COMMIT")
        beside = 0
        until = time.monotonic() + 60
        while log_size(path) > 40 * MIB and time.monotonic() < until:
            before = moving()
            await keep(store, 1000)
            beside += before and moving()
            await asyncio.sleep(0)
    assert log_size(path) <= 40 * MIB
    # Whole commits, from beginning to end, while it was being moved: some 150, and few where they have to wait for it.
    assert beside > 30
    told = [one for one in logs if one["event"] == "database_log_long"]
    assert len(told) == 1
    assert told[0]["bytes"] > 16 * MIB
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        (entries,) = connection.execute("SELECT sum(entries) FROM quarantine").fetchone()
        assert connection.execute("SELECT count(*) FROM callback").fetchone() == (entries,)


async def test_a_log_that_is_moved_beside_writers_loses_nothing(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again, while callbacks come as fast as they can: all of them are there, and the file is whole."""
    monkeypatch.setattr(driver, "_LONG_LOG", MIB)
    monkeypatch.setattr(driver, "_LARGEST_LOG", MIB)
    monkeypatch.setattr("receiver.storage.sqlite.moving._PAUSE", 0.0)

    async def send() -> None:
        for _ in range(100):
            await store.submit(new_job(request=os.urandom(30_000)))

    await asyncio.gather(*(send() for _ in range(8)))
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM submission").fetchone() == (800,)


async def test_an_export_holds_nobody_up(store: Store, path: Path) -> None:
    """It reads in ranges: whoever takes its output slowly does not keep the log from being moved."""
    await keep(store, MIB, many=12)
    for _ in range(3):
        await store.submit(new_job())
    table = next(one for one in tables() if one.name == "callback")
    slow = batches(store.driver.read, table)
    next(slow)
    await keep(store, MIB, many=30)
    for _ in range(3):
        await store.submit(new_job())
    assert log_size(path) < 20 * MIB
    # Of those that it had not come to some have left quarantine meanwhile.
    assert sum(len(batch) for batch in slow) > 0


async def test_a_database_is_made_smaller_while_it_is_served(store: Store, path: Path) -> None:
    """What was pruned is given back in steps; between them others write, also from another process's view."""
    desk = Desk(store)
    for n in range(60):
        one = await desk.submitted(remote_id=f"r{n}", created_at=NOW - 30 * DAY)
        await desk.call(one, DONE | {"more": "x" * 200_000}, at=NOW - 30 * DAY)
    assert (await store.prune(Prune(before=NOW - DAY, now=NOW))).jobs == 60
    await store.submit(new_job())
    beside = driver.SQLite(path)
    before = file_size(path) + log_size(path)
    freed = 0
    for step in beside.vacuum():
        freed += step.freed
        await desk.submitted(remote_id=None, created_at=NOW + HOUR)
    beside.close()
    assert freed > 8 * MIB
    await store.close()
    assert file_size(path) < before - 8 * MIB
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_an_older_file_is_written_anew_once(path: Path) -> None:
    """One that was made without the room for it: refused while it is served, done when it is not."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE x (a)")
        connection.execute("DROP TABLE x")
    url = f"sqlite:///{path}"
    store = await Store.open(url, serve=True)
    beside = driver.SQLite(path)
    with pytest.raises(ConfigurationError, match="already serves"):
        list(beside.vacuum())
    await store.close()
    list(beside.vacuum())
    beside.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
