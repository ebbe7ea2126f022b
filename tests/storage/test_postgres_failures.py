"""PostgreSQL that fails: unavailable while it lasts, and nothing is needed afterwards but the next attempt."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from receiver.core.errors import CommitUnknownError, StoreUnavailableError
from receiver.storage.driver import ContendedError
from receiver.storage.postgres import connection as postgres
from receiver.storage.postgres.driver import Postgres
from receiver.storage.store import Store
from tests.postgres import PostgresServer
from tests.storage.making import ACME, DONE, Desk, arrival, callback, new_job

OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
END = f"SELECT count(pg_terminate_backend(pid, 5000)) {OTHERS}".encode()


@pytest.fixture
def url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The address of a database with nothing in it, at a server that may be stopped."""
    made = postgres_server.create(template=postgres_template)
    yield made
    postgres_server.start()
    postgres_server.drop(made)


def run(url: str, statement: str | bytes) -> None:
    """Run a statement as somebody else."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement if isinstance(statement, bytes) else statement.encode())


async def in_time(wish: Awaitable[object]) -> None:
    """Wait until *wish* is refused as unavailable, although the server never answers."""
    async with asyncio.timeout(30):
        with pytest.raises(StoreUnavailableError):
            await wish


@asynccontextmanager
async def turning() -> AsyncIterator[list[float]]:
    """How late the event loop came back to whoever waited for it."""
    late: list[float] = [0.0]

    async def watch() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.02)
            late.append(time.monotonic() - began - 0.02)

    watching = asyncio.create_task(watch())
    yield late
    watching.cancel()


async def test_connections_that_ended_between_transactions_are_no_news(store: Store, url: str) -> None:
    """The next read and the next write are done, on new ones."""
    desk = Desk(store)
    one = await desk.submitted()
    for _ in range(2):
        await store.job(one.id)
        run(url, END)
        assert (await store.job(one.id)).id == one.id
        run(url, END)
        await desk.submitted()
    assert desk.count("job") == 3


def test_a_connection_that_ends_within_a_transaction_takes_it_along(url: str) -> None:
    """The transaction is unavailable, whether in the middle or at its commit, and nothing of it is stored."""
    driver = Postgres(url)
    with driver.write() as tx:
        tx.run("CREATE TABLE thing (id {integer})")

    def in_the_middle() -> None:
        with driver.write() as tx:
            tx.run("INSERT INTO thing VALUES (1)")
            run(url, END)
            tx.run("INSERT INTO thing VALUES (2)")

    def at_the_commit() -> None:
        with driver.write() as tx:
            tx.run("INSERT INTO thing VALUES (1)")
            run(url, END)

    def while_reading() -> None:
        with driver.read() as tx:
            run(url, END)
            tx.run("SELECT 1")

    for fail in (in_the_middle, at_the_commit, while_reading):
        with pytest.raises(StoreUnavailableError):
            fail()
        with driver.read() as tx:
            assert tx.run("SELECT * FROM thing") == []
    with driver.write() as tx:
        tx.run("INSERT INTO thing VALUES (3)")
    driver.close()


def test_writes_that_nobody_asks_about_go_with_the_commit(url: str) -> None:
    """All of them or none: where one fails, or the connection is lost, nothing is stored, and the next one is done."""
    driver = Postgres(url)
    with driver.write() as tx:
        tx.run("CREATE TABLE thing (id {integer} PRIMARY KEY CHECK (id < 100))")

    def write(*ids: int, fail: bytes | None = None) -> None:
        with driver.write() as tx:
            for one in ids:
                tx.insert("thing", "id", [(one,)])
            with psycopg.connect(url) as other:
                found = other.execute(f"SELECT query {OTHERS} AND state = 'idle in transaction'".encode())
                assert ["INSERT" in query for (query,) in found] == [False], (
                    "they are sent before they need be"
                )
            if fail is not None:
                run(url, fail)

    write(1, 2)
    with pytest.raises(ContendedError):
        write(3, 2, 4)
    with pytest.raises(psycopg.errors.CheckViolation):
        write(3, 100, 4)
    with pytest.raises(CommitUnknownError):
        write(3, 4, fail=END)
    write(5)
    with driver.read() as tx:
        assert tx.run("SELECT id FROM thing ORDER BY id") == [(1,), (2,), (5,)]
    driver.close()


def test_a_transaction_that_the_server_gave_up_is_not_taken_for_committed(url: str) -> None:
    """After a statement that failed, COMMIT undoes in silence: whoever swallowed the failure still hears of it."""
    driver = Postgres(url)
    with driver.write() as tx:
        tx.run("CREATE TABLE thing (id {integer})")

    def swallow() -> None:
        with driver.write() as tx:
            tx.run("INSERT INTO thing VALUES (1)")
            try:
                tx.run("SELECT 1 / 0")
            except psycopg.DataError:
                return

    with pytest.raises(StoreUnavailableError):
        swallow()
    with driver.read() as tx:
        assert tx.run("SELECT * FROM thing") == []
    driver.close()


@pytest.mark.parametrize("how", ["fast", "immediate"])
async def test_a_server_that_was_away_is_back(
    store: Store, postgres_server: PostgresServer, how: str
) -> None:
    """While it is stopped everything is unavailable within seconds; then everything goes on, nothing is opened anew."""
    desk = Desk(store)
    one = await desk.submitted()
    await asyncio.to_thread(postgres_server.stop, "fast" if how == "fast" else "immediate")
    async with turning() as late:
        wishes = [
            store.submit(new_job()),
            store.job(one.id),
            asyncio.to_thread(store.driver.time),
            desk.call(one, DONE),
        ]
        await asyncio.gather(*map(in_time, wishes))
    assert max(late) < 3.0
    await asyncio.to_thread(postgres_server.start)
    assert (await desk.call(one, DONE)).completed
    assert (await store.job(one.id)).ended_at is not None
    assert desk.count("job") == 1


async def test_a_server_that_only_reads_is_a_no(store: Store, url: str) -> None:
    """As after a failover that is not over: unavailable, and later all is well again."""
    desk = Desk(store)
    one = await desk.submitted()
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
    run(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    run(url, END)
    await in_time(store.submit(new_job()))
    await in_time(desk.call(one, DONE))
    with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    assert (await desk.call(one, DONE)).completed
    assert desk.count("job") == 1


async def test_a_session_that_only_reads_is_a_no(store: Store, url: str) -> None:
    """Also where an open connection finds out within its transaction."""
    await store.submit(new_job())
    driver = store.driver
    assert isinstance(driver, Postgres)
    assert driver._writer is not None
    driver._writer.execute("SET default_transaction_read_only = on")
    await in_time(store.submit(new_job()))
    await store.submit(new_job())
    assert Desk(store).count("job") == 2


async def test_a_frozen_server_holds_nobody_for_ever(
    store: Store, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and answers nothing: whoever waits is told, the event loop turns, and thawed all goes on."""
    monkeypatch.setattr(postgres, "_LONGEST_WAIT", 0.5)
    desk = Desk(store)
    one = await desk.submitted()
    await store.job(one.id)
    postgres_server.freeze()
    try:
        async with turning() as late:
            writes = [store.submit(new_job()), desk.store.cancel(one.id, now=1)]
            wishes = [*writes, store.job(one.id), asyncio.to_thread(store.driver.time)]
            await asyncio.gather(*map(in_time, wishes))
            sent = arrival(callback(ACME, DONE, job_id=one.id))
            await in_time(store.ingest(sent, patience=0.3))
        assert max(late) < 3.0
    finally:
        postgres_server.thaw()
    assert (await store.job(one.id)).cancel_requested_at is None
    await store.submit(new_job())


async def test_a_store_is_closed_although_its_server_is_frozen(
    url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is to stop stops, and its event loop turns meanwhile."""
    monkeypatch.setattr(postgres, "_LONGEST_WAIT", 0.5)
    store = await Store.open(url)
    one = await Desk(store).submitted()
    postgres_server.freeze()
    try:
        asked = [
            asyncio.ensure_future(in_time(wish)) for wish in (store.job(one.id), store.submit(new_job()))
        ]
        await asyncio.sleep(0.05)
        async with turning() as late, asyncio.timeout(30):
            await store.close()
        await asyncio.gather(*asked)
        assert max(late) < 3.0
    finally:
        postgres_server.thaw()
