"""SQLite: durable when it says so, and a clear no within two seconds when it cannot."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from receiver.core.errors import ConfigurationError, StoreUnavailableError
from receiver.storage.sqlite.driver import SQLite, check_library
from receiver.storage.store import Store
from tests.storage.making import ACME, Desk, arrival, callback, new_job

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database file is."""
    return tmp_path / "receiver.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    """A store on that file."""
    opened = await Store.open(f"sqlite:///{path}")
    yield opened
    await opened.close()


@contextmanager
def child(code: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs *code*; killed at the end if it still does."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


FLOCK = """
import fcntl, os, sys
handle = os.open(sys.argv[1] + "-lock", os.O_RDWR)
fcntl.flock(handle, fcntl.LOCK_EX)
print("locked", flush=True); sys.stdin.read()
"""
BEGIN = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True); sys.stdin.read()
"""


@pytest.mark.parametrize("code", [FLOCK, BEGIN], ids=["lock file", "transaction"])
async def test_a_locked_database_says_so(store: Store, path: Path, code: str) -> None:
    """Another process holds it: nothing is acknowledged, reads go on, and later all is well again."""
    one = (await store.submit(new_job()))[0]
    with child(code, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        async with asyncio.timeout(30):
            with pytest.raises(StoreUnavailableError):
                await store.submit(new_job())
        assert (await store.job(one.id)).id == one.id
    await store.submit(new_job())
    assert Desk(store).count("job") == 2


INGEST = """
import asyncio, os, sys
from receiver.storage.store import Store
from tests.storage.making import ACME, DONE, Desk, arrival, callback

async def main():
    store = await Store.open("sqlite:///" + sys.argv[1])
    desk = Desk(store)
    await desk.register("h")
    async def one():
        while True:
            job = await desk.submitted(remote_id=None)
            receipt = await desk.call(job, DONE)
            assert receipt.completed
            os.write(1, (job.id + "\\n").encode())
    await asyncio.gather(*(one() for _ in range(20)))

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    """After kill -9 in full flight every completion that was reported is there, with its dispatch and its result."""
    with child(INGEST, path) as process:
        assert process.stdout is not None
        acked = [process.stdout.readline().strip() for _ in range(300)]
        os.kill(process.pid, signal.SIGKILL)
        acked += [line.strip() for line in process.stdout if line.endswith("\n")]
    store = await Store.open(f"sqlite:///{path}")
    try:
        desk = Desk(store)
        ended = {row[0] for row in desk.rows("SELECT id FROM job WHERE state = 'succeeded'")}
        assert set(acked) <= ended
        assert {row[0] for row in desk.rows("SELECT job_id FROM dispatch")} == ended
        assert await store.result(await store.job(acked[0])) == b'{"a": 1}'
        assert desk.rows("PRAGMA integrity_check") == [("ok",)]
    finally:
        await store.close()


FULL = """
import asyncio, os, resource, sys
from receiver.core.errors import StoreUnavailableError
from receiver.storage.store import Store
from tests.storage.making import ACME, arrival, callback, Desk

async def main():
    store = await Store.open("sqlite:///" + sys.argv[1])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Room for several, however long the log is that made the tables.
    room = os.path.getsize(sys.argv[1] + "-wal") + 640 * 1024
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    acked = []
    for _ in range(100):
        one = callback(ACME, b"x" * 20_000, rejected="x")
        try:
            await store.ingest(arrival(one))
        except StoreUnavailableError:
            break
        acked.append(one.id)
    else:
        raise SystemExit("never full")
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    desk = Desk(store)
    assert {row[0] for row in desk.rows("SELECT id FROM callback")} == set(acked), "acked and stored differ"
    await store.ingest(arrival(callback(ACME, b"x", rejected="x")))
    assert desk.rows("PRAGMA integrity_check") == [("ok",)]
    await store.close()
    print(len(acked))

asyncio.run(main())
"""


def test_a_full_disk_is_a_no_and_nothing_more(path: Path) -> None:
    """Nothing acknowledged is lost, nothing refused is stored, and with room again it goes on."""
    with child(FULL, path) as process:
        told, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert int(told) > 5


READONLY = """
import asyncio, os, sys
from receiver.core.errors import StoreUnavailableError
from receiver.storage.store import Store
from tests.storage.making import new_job

async def main():
    store = await Store.open("sqlite:///" + sys.argv[1])
    await store.submit(new_job())
    await store.close()
    store = await Store.open("sqlite:///" + sys.argv[1])
    store.driver._drop_writer()
    os.chmod(sys.argv[1], 0o444)
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        await store.submit(new_job())
    except StoreUnavailableError as error:
        print(error)

asyncio.run(main())
"""


def test_a_read_only_file_is_a_no() -> None:
    """The database cannot be written: unavailable, not a crash."""
    # The child gives root's rights up, so the way to the folder must be open to everybody.
    with TemporaryDirectory(dir="/tmp" if os.getuid() == 0 else None) as folder:  # noqa: S108
        if os.getuid() == 0:
            os.chown(folder, 65534, 65534)
        with child(READONLY, Path(folder) / "receiver.db") as process:
            told, _ = process.communicate(timeout=30)
    assert "cannot be used right now" in told


def damage(path: Path) -> None:
    """Overwrite everything but the first page."""
    path.write_bytes(path.read_bytes()[:4096] + bytes(path.stat().st_size - 4096))


async def test_a_damaged_file_is_a_no(store: Store, path: Path) -> None:
    """What cannot be read as a database is unavailable; the sender tries again."""
    await store.submit(new_job())
    await store.close()
    await asyncio.to_thread(damage, path)
    damaged = Store(SQLite(path))
    try:
        with pytest.raises(StoreUnavailableError):
            await damaged.submit(new_job())
    finally:
        await damaged.close()


async def test_the_pragmas_hold_on_every_connection(store: Store) -> None:
    """They belong to a connection, not to the file, so each one is asked."""
    await asyncio.gather(*(store.submit(new_job()) for _ in range(3)))
    driver = store.driver
    assert isinstance(driver, SQLite)
    readers = [driver._connect(readonly=True) for _ in range(3)]
    assert driver._writer is not None
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "mmap_size": 0,
        "wal_autocheckpoint": 0,
        "busy_timeout": 1200,
    }
    for connection in [driver._writer, *readers]:
        found = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted}
        assert found == wanted
    for reader in readers:
        with pytest.raises(sqlite3.OperationalError):
            reader.execute("DELETE FROM job")
        reader.close()


SERVE = """
import sys
from pathlib import Path
from receiver.core.errors import ConfigurationError
from receiver.storage.sqlite.driver import SQLite
try:
    SQLite(Path(sys.argv[1])).serve()
except ConfigurationError as error:
    raise SystemExit(7) from error
"""


@pytest.mark.parametrize("missing", [(sqlite3.SQLITE_DELETE, "probe"), (sqlite3.SQLITE_READ, "json_each")])
def test_a_library_that_is_too_old_is_named(missing: tuple[int, str]) -> None:
    """With what to do about it; an authorizer takes away what an old one lacks."""
    with closing(sqlite3.connect(":memory:")) as probe:
        check_library(probe)
        probe.execute("DROP TABLE probe")
        probe.set_authorizer(
            lambda action, table, *_: sqlite3.SQLITE_DENY if (action, table) == missing else sqlite3.SQLITE_OK
        )
        with pytest.raises(
            ConfigurationError, match=r"SQLite 3\.\d+.*or set RECEIVER_DATABASE_URL"
        ) as caught:
            check_library(probe)
    assert caught.value.code == "database_too_old"


async def test_one_process_serves_a_file(store: Store, path: Path) -> None:
    """The second is refused with a sentence that names the way out; once the first is gone it may."""
    store.driver.serve()
    second = SQLite(path)
    with pytest.raises(ConfigurationError, match="PostgreSQL") as refused:
        second.serve()
    assert refused.value.code == "already_served"
    with child(SERVE, path) as other:
        other.communicate(timeout=30)
    assert other.returncode == 7
    with second.write() as tx:  # the CLI may still write
        tx.run("DELETE FROM handler")
    second.close()


async def test_the_right_to_serve_ends_with_its_owner(path: Path) -> None:
    """After a close another may serve."""
    for _ in range(2):
        store = await Store.open(f"sqlite:///{path}")
        store.driver.serve()
        await store.close()


async def test_the_log_is_moved_into_the_file(store: Store, path: Path) -> None:
    """It does not grow without end while the process runs, and is gone after a close."""
    for _ in range(14):
        await store.ingest(arrival(callback(ACME, bytes(10 * MIB), rejected="x")))
    log = f"{path}-wal"
    assert os.stat(log).st_size < 32 * MIB  # noqa: PTH116
    await store.close()
    assert not os.path.exists(log)  # noqa: ASYNC240, PTH110


def moves(store: Store) -> list[str]:
    """The statements that have moved the log since, and those that still will."""
    found: list[str] = []
    driver = store.driver
    assert isinstance(driver, SQLite)
    assert driver._writer is not None
    driver._writer.set_trace_callback(lambda sql: found.append(sql) if "wal_checkpoint" in sql else None)
    return found


async def keep(store: Store, size: int) -> None:
    """Have a callback of *size* bytes kept, and the log looked at after it."""
    await store.ingest(arrival(callback(ACME, bytes(size), rejected="x")))
    # It is answered before the log is looked at, but the next one is not taken before that.
    await store.submit(new_job())


async def test_the_log_is_moved_seldom(store: Store) -> None:
    """Once it has been moved, it is not again until it has grown again: each time costs the disk two waits."""
    await store.submit(new_job())
    moved = moves(store)
    await keep(store, 10 * MIB)
    for _ in range(20):
        await store.submit(new_job())
    assert len(moved) == 1


async def test_the_log_is_written_over(store: Store, path: Path) -> None:
    """Its file is neither cut nor made longer from one move to the next: a commit that makes it longer costs more."""
    await store.submit(new_job())
    moved = moves(store)
    sizes: list[int] = []
    for _ in range(30):
        await keep(store, MIB)
        sizes.append(os.stat(f"{path}-wal").st_size)  # noqa: PTH116
    assert len(moved) == 3
    assert len({*sizes[10:]}) == 1
    assert sizes[-1] < 10 * MIB


async def test_the_log_of_a_few_huge_bodies_does_not_stay(store: Store, path: Path) -> None:
    """What they have made of its file is given back to the disk by the next commit."""
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(keep(store, 10 * MIB))
    await store.submit(new_job())
    assert os.stat(f"{path}-wal").st_size <= 16 * MIB  # noqa: PTH116


async def test_a_reader_only_delays_the_move_of_the_log(store: Store, path: Path) -> None:
    """While somebody reads, the log is kept and grows; once they have ended, it is moved and written over."""
    await store.submit(new_job())
    moved = moves(store)
    with store.driver.read() as tx:
        tx.run("SELECT 1 FROM job")
        for _ in range(20):
            await keep(store, MIB)
        assert os.stat(f"{path}-wal").st_size > 20 * MIB  # noqa: PTH116
    await keep(store, 1)
    # Two looks at the log are a moment apart.
    await asyncio.sleep(0.05)
    await keep(store, 1)
    assert moved
    moved.clear()
    await keep(store, 1)
    await keep(store, 1)
    assert not moved
    assert os.stat(f"{path}-wal").st_size <= 16 * MIB  # noqa: PTH116
