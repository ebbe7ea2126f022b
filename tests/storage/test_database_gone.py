"""A database that is gone: nothing is acknowledged into a file that nobody will read, and none is made in its place."""

import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from receiver.core.errors import ConfigurationError, StoreUnavailableError
from receiver.storage import schema
from receiver.storage.opening import open_driver
from receiver.storage.sqlite.driver import SQLite
from receiver.storage.store import Store
from tests.storage.making import DONE, Desk, new_job

# ruff: noqa: ASYNC240  (the files are small, and nobody else waits)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database file is, in a folder of its own."""
    return tmp_path / "data" / "receiver.db"


@pytest.fixture
async def desk(path: Path) -> AsyncIterator[Desk]:
    """Does to a store on that file what the steps do."""
    store = await Store.open(f"sqlite:///{path}", serve=True)
    await store.submit(new_job())
    yield Desk(store)
    await store.close()


def removed(path: Path) -> None:
    """The file alone."""
    path.unlink()


def all_removed(path: Path) -> None:
    """With its log and its locks."""
    for file in path.parent.iterdir():
        file.unlink()


def moved(path: Path) -> None:
    """Under another name."""
    path.rename(path.with_name("old.db"))


def replaced(path: Path) -> None:
    """By a copy with the same content."""
    shutil.copy(path, path.with_name("copy.db"))
    path.with_name("copy.db").replace(path)


def emptied(path: Path) -> None:
    """The same file, with nothing in it."""
    os.truncate(path, 0)


def hidden(path: Path) -> None:
    """The folder is another one, as under a mount."""
    path.parent.rename(path.parent.with_name("below"))
    path.parent.mkdir()


def without_log(path: Path) -> None:
    """The log alone, in which the last commits are."""
    path.with_name("receiver.db-wal").unlink()


def without_shared(path: Path) -> None:
    """What tells processes of each other's commits."""
    path.with_name("receiver.db-shm").unlink()


WAYS = [removed, all_removed, moved, replaced, emptied, hidden, without_log, without_shared]


@pytest.mark.parametrize("lose", WAYS)
async def test_nothing_is_acknowledged_into_a_file_that_is_gone(
    desk: Desk, path: Path, lose: Callable[[Path], None]
) -> None:
    """Neither callbacks nor jobs, and nothing is read from it; what was refused is counted and said."""
    one = await desk.submitted()
    lose(path)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError) as refused:
            await desk.call(one, DONE)
        assert refused.value.code == "database_gone"
    with pytest.raises(StoreUnavailableError, match=r"is gone|is not the file|is empty"):
        await desk.store.submit(new_job())
    with pytest.raises(StoreUnavailableError):
        await desk.store.job(one.id)
    assert isinstance(desk.store.refusing(), StoreUnavailableError)
    assert desk.store.failed["database_gone"] == 3


async def test_the_same_file_in_its_place_is_served_again(desk: Desk, path: Path) -> None:
    """A mount that comes back, a file that is moved back: nothing needs to be started anew."""
    one = await desk.submitted()
    hidden(path)
    with pytest.raises(StoreUnavailableError):
        await desk.call(one, DONE)
    path.parent.rmdir()
    path.parent.with_name("below").rename(path.parent)
    assert (await desk.call(one, DONE)).completed
    assert desk.store.refusing() is None


async def test_no_file_is_made_in_the_place_of_one_that_is_gone(desk: Desk, path: Path) -> None:
    """Not by a connection that is opened anew, after an error of the disk."""
    driver = desk.store.driver
    assert isinstance(driver, SQLite)
    removed(path)
    driver._drop_writer()
    with pytest.raises(StoreUnavailableError):
        await desk.store.submit(new_job())
    assert not path.exists()


async def test_a_lock_file_that_is_removed_is_made_anew(desk: Desk, path: Path) -> None:
    """All processes lock the one that lies there; two that lock different files would write at once."""
    path.with_name("receiver.db-lock").unlink()
    await desk.store.submit(new_job())
    assert path.with_name("receiver.db-lock").exists()


# -- at start ----------------------------------------------------------------------------------------------


def gone(path: Path) -> None:
    """The file, after an orderly end."""
    path.unlink()


def with_its_log(path: Path) -> None:
    """The file and its locks; a log is left, as after a kill."""
    path.unlink()
    path.with_name("receiver.db-lock").unlink()
    path.with_name("receiver.db-wal").write_bytes(b"\0" * 100)


@pytest.mark.parametrize("lose", [gone, emptied, with_its_log])
@pytest.mark.parametrize("migrate", [True, False])
async def test_a_lost_database_is_not_made_anew_unasked(
    path: Path,
    lose: Callable[[Path], None],
    migrate: bool,  # noqa: FBT001
) -> None:
    """A sentence says what to do; by 'db init' one says that it is meant, and from then on all is as at first."""
    url = f"sqlite:///{path}"
    await (await Store.open(url, serve=True)).close()
    lose(path)
    before = path.exists()
    with pytest.raises(ConfigurationError, match="receiver db init") as refused:
        await Store.open(url, serve=True, migrate=migrate)
    assert refused.value.code == "database_gone"
    assert path.exists() == before
    driver = open_driver(url)
    assert schema.migrate(driver, anew=True) == schema.known()
    driver.close()
    await (await Store.open(url, serve=True)).close()
    path.unlink()
    with pytest.raises(ConfigurationError):
        await Store.open(url, serve=True)


async def test_a_start_that_was_cut_short_is_no_loss(path: Path) -> None:
    """Before there were tables nothing can be lost: an empty file, a lock file, and the next start makes them."""
    path.parent.mkdir()
    for name in ("receiver.db", "receiver.db-lock", "receiver.db-serve"):
        path.with_name(name).touch()
    store = await Store.open(f"sqlite:///{path}", serve=True)
    await store.submit(new_job())
    await store.close()


async def test_a_database_of_an_older_version_is_marked(path: Path) -> None:
    """It was made without a word beside it; once it has been opened there is one."""
    url = f"sqlite:///{path}"
    await (await Store.open(url)).close()
    os.truncate(path.with_name("receiver.db-lock"), 0)
    await (await Store.open(url)).close()
    path.unlink()
    with pytest.raises(ConfigurationError, match="db init"):
        await Store.open(url)


async def test_tables_that_are_gone_are_a_no(url: str) -> None:
    """On each database: whoever empties it under a receiver that runs has callbacks refused, not failed."""
    store = await Store.open(url)
    desk = Desk(store)
    one = await desk.submitted()
    with store.driver.write() as tx:
        tx.run("ALTER TABLE callback RENAME TO elsewhere")
    with pytest.raises(StoreUnavailableError):
        await desk.call(one, DONE)
    with store.driver.write() as tx:
        tx.run("ALTER TABLE elsewhere RENAME TO callback")
    assert (await desk.call(one, DONE)).completed
    await store.close()
