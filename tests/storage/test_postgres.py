"""PostgreSQL: what is set for a transaction ends with it, and nobody waits for what another node holds."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from receiver.core.errors import ConfigurationError, ReceiverError, StoreUnavailableError
from receiver.core.model import MINUTE
from receiver.storage.driver import ContendedError
from receiver.storage.opening import open_driver
from receiver.storage.postgres import driver as postgres
from receiver.storage.postgres.driver import Postgres
from receiver.storage.retention import Prune
from receiver.storage.store import Store
from tests.core.making import NOW
from tests.storage.making import ACME, DONE, FAILED, LEASE, Desk, arrival, callback, leases

ROOT = Path(__file__).parents[2]
#: As text of its own in an address; no part of it may be told to anybody.
SECRET = "hunter2hunter2"
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
def url(migrated_url: str) -> str:
    """The address of a database with nothing in it."""
    return migrated_url


@contextmanager
def session(url: str) -> Iterator[psycopg.Connection]:
    """Somebody else in the same database, in a transaction that is undone at the end."""
    with closing(psycopg.connect(url)) as connection:
        yield connection


async def blocked(url: str) -> None:
    """Wait until somebody waits for a lock."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        while connection.execute(WAITING).fetchone() == (0,):  # noqa: ASYNC110  (the server tells nobody)
            await asyncio.sleep(0.01)


def test_tables_that_are_written_all_the_time_are_vacuumed_early(store: Store, url: str) -> None:
    """They leave room beside a row for its next version, and wait for a hundredth of their rows, not for a fifth."""
    del store
    with session(url) as connection:
        told = dict(
            connection.execute(
                "SELECT relname, reloptions FROM pg_class "
                "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL"
            ).fetchall()
        )
    assert set(told) == {
        "circuit",
        "clock_seen",
        "clock_set",
        "dispatch",
        "download",
        "due",
        "held",
        "job",
        "node",
        "pause",
        "quarantine",
        "submission",
        "united",
        "unplaced",
    }
    for options in told.values():
        assert {"fillfactor=80", "autovacuum_vacuum_scale_factor=0.01"} <= set(options)


async def test_nothing_that_is_set_outlives_its_transaction(store: Store, url: str) -> None:
    """Neither settings nor locks nor names: behind a transaction-mode pooler the connection is somebody else's then."""
    desk = Desk(store)
    await desk.call_wide(DONE | {"id": "r1"})
    await store.job((await desk.submitted()).id)
    driver = store.driver
    assert isinstance(driver, Postgres)
    assert driver._writer is not None
    asked = "SELECT current_setting('{}'), current_setting('transaction_isolation')"
    with psycopg.connect(url) as fresh:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            wanted = fresh.execute(asked.format(name).encode()).fetchall()
            for connection in (driver._writer, *driver._readers):
                assert connection.execute(asked.format(name).encode()).fetchall() == wanted, name
        assert fresh.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
    for connection in (driver._writer, *driver._readers):
        assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM pg_listening_channels()").fetchone() == (0,)
        assert connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


async def test_every_transaction_has_its_limits(store: Store) -> None:
    """Long statements end, locks are waited for a little less long than a frozen node may hold them."""
    with store.driver.write() as tx:
        names = ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")
        told = [tx.run(f"SHOW {name}")[0][0] for name in names]
        assert tx.run("SHOW synchronous_commit") != [("off",)]
    assert told == ["5s", "4s", "30s"]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_a_stricter_default_of_the_database_changes_nothing(url: str, level: str) -> None:
    """Whoever waited for a name or a row must see what the one before did; a snapshot from before would not."""
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'".encode())
    stores = [await Store.open(url) for _ in range(2)]
    desks = [Desk(store) for store in stores]
    for number in range(10):
        await asyncio.gather(*(desk.call_wide(DONE | {"id": f"r{number}"}) for desk in desks for _ in "ab"))
    assert desks[0].count("job") == 10
    for store in stores:
        await store.close()


async def test_a_sign_of_life_waits_for_nobody(store: Store, url: str) -> None:
    """Rows that another transaction holds, a handler's among them, are passed over; all others are kept."""
    desk = Desk(store)
    await desk.register("h", "k", only=False)
    jobs = [await desk.submitted(remote_id=f"r{n}") for n in range(4)]
    await desk.call(jobs[3], DONE)
    claimed = await desk.claim(at=NOW + MINUTE)
    works = [one for name in ("h", "k") for one in await desk.work(name, at=NOW + MINUTE)]
    with session(url) as other:
        held = claimed[0].job.id
        other.execute("SELECT 1 FROM due WHERE job_id = %s FOR UPDATE", (held,))
        other.execute("SELECT 1 FROM dispatch WHERE handler = 'k' FOR UPDATE")
        other.execute("SELECT 1 FROM handler WHERE name = 'k' FOR UPDATE")
        async with asyncio.timeout(30):
            await desk.beat(*claimed, *works, at=NOW + 2 * MINUTE, handlers=["h", "k"])
            await store.release(leases(claimed[0], works[1]), lease_ms=LEASE, now=NOW)
    kept = NOW + 2 * MINUTE + LEASE
    assert {row[0] for row in desk.rows("SELECT job_id FROM due WHERE run_at = :at", at=kept)} == {
        one.job.id for one in claimed[1:]
    }
    assert desk.rows("SELECT handler FROM dispatch WHERE run_at = :at", at=kept) == [("h",)]
    assert {one["name"]: one["seen_at"] for one in await store.handlers()} == {
        "h": NOW + 2 * MINUTE,
        "k": NOW,
    }


async def test_a_claim_passes_over_what_another_holds(store: Store, url: str) -> None:
    """It takes the next ones instead, and does not wait."""
    desk = Desk(store)
    jobs = [await desk.submitted(remote_id=f"r{n}", created_at=NOW + n) for n in range(4)]
    with session(url) as other:
        other.execute("SELECT 1 FROM due WHERE job_id = ANY(%s) FOR UPDATE", ([one.id for one in jobs[:2]],))
        async with asyncio.timeout(30):
            claimed = await desk.claim(at=NOW + 2 * MINUTE, limit=2)
    assert [one.job.id for one in claimed] == [one.id for one in jobs[2:]]


async def test_the_tally_of_quarantine_is_right_while_jobs_are_pruned(store: Store, url: str) -> None:
    """What another node drops while a pruning waits for it is taken off once."""
    desk = Desk(store)
    one = await desk.submitted(created_at=NOW - 30 * 24 * 60 * MINUTE)
    for _ in range(3):
        forged = callback(ACME, DONE, job_id=one.id, at=one.created_at, rejected="x")
        await store.ingest(arrival(forged))
    await desk.call(one, FAILED, at=one.created_at)
    await store.ingest(arrival(callback(ACME, DONE, job_id=(await desk.submitted()).id, rejected="x")))
    assert desk.rows("SELECT entries FROM quarantine") == [(4,)]
    with session(url) as other:
        other.execute("UPDATE quarantine SET entries = entries - 1")
        other.execute(
            "DELETE FROM callback WHERE id = (SELECT min(id) FROM callback WHERE verdict = 'rejected')"
        )
        pruning = asyncio.ensure_future(store.prune(Prune(before=NOW, now=NOW)))
        await blocked(url)
        other.commit()
        assert (await pruning).jobs == 1
    assert desk.rows("SELECT entries FROM quarantine") == [(1,)]
    assert desk.count("callback", "verdict = 'rejected'") == 1


FROZEN = """
import os, signal, sys
from receiver.core.errors import StoreUnavailableError
from receiver.storage.postgres import driver as postgres
postgres._LIMITS["idle_in_transaction_session_timeout"] = 300
driver = postgres.Postgres(sys.argv[1])
try:
    with driver.write() as tx:
        tx.guard(["name"])
        tx.run("UPDATE till SET entries = 1")
        print("held", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        tx.run("UPDATE till SET entries = 2")
except StoreUnavailableError as error:
    print("lost", flush=True)
with driver.write() as tx:
    tx.run("UPDATE till SET entries = entries + 10")
print("again", flush=True)
"""


def test_a_frozen_node_loses_what_it_holds(url: str) -> None:
    """Its transaction is undone and the others go on; thawed, it hears of it and goes on itself."""
    driver = open_driver(url)
    with driver.write() as tx:
        tx.run("CREATE TABLE till (entries {integer})")
        tx.run("INSERT INTO till VALUES (0)")
    with subprocess.Popen(
        [sys.executable, "-c", FROZEN, url], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            began = time.monotonic()
            with driver.write() as tx:
                tx.guard(["name"])
                assert tx.run("UPDATE till SET entries = entries + 100 RETURNING entries") == [(100,)]
            assert time.monotonic() - began < 30
            process.send_signal(18)
            assert process.communicate(timeout=30)[0] == "lost\nagain\n"
        finally:
            process.kill()
    with driver.read() as tx:
        assert tx.run("SELECT entries FROM till") == [(110,)]
    driver.close()


def test_names_are_guarded_in_one_order(url: str) -> None:
    """Two transactions that guard the same names, each in an order of its own, wait for each other, never in a ring."""
    drivers = [open_driver(url) for _ in range(2)]
    names = [f"name {n}" for n in range(20)]
    failed: list[BaseException] = []

    def guard(number: int) -> None:
        try:
            for _ in range(50):
                with drivers[number].write() as tx:
                    tx.guard(names if number else names[::-1])
                    tx.run("SELECT 1")
        except ContendedError as error:
            failed.append(error)

    threads = [threading.Thread(target=guard, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for driver in drivers:
        driver.close()
    assert failed == []


def test_another_encoding_is_refused(postgres_url: str) -> None:
    """Before anything is stored in it, with a sentence that names the way out."""
    other = urlunsplit(urlsplit(postgres_url)._replace(path=urlsplit(postgres_url).path + "_latin"))
    name = urlsplit(other).path[1:]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        made = (
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'"
        )
        connection.execute(made.encode())
        try:
            with pytest.raises(ConfigurationError, match="UTF8") as refused:
                open_driver(other).tables()
            assert refused.value.code == "database_encoding"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_too_old_a_server_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With both versions; here it is the oldest that we take which is made younger than the server."""
    monkeypatch.setattr(postgres, "_OLDEST", 99)
    with pytest.raises(ConfigurationError, match="99 or newer") as refused:
        open_driver(url).tables()
    assert refused.value.code == "database_too_old"


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://user:{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:%zz{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:a {SECRET}@127.0.0.1:1/db",
        f"postgresql://user:{SECRET}/b@127.0.0.1:1/db",
        f"postgresql://user:a/{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:a@{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:a#{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:a?{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:a[{SECRET}@127.0.0.1:1/db",
        f"postgresql://user@127.0.0.1:1/db?password={SECRET}",
    ],
)
def test_no_password_is_told(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a right one nor what is left of one that is not escaped: not in the error, its causes, or the log."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ReceiverError) as refused:
        open_driver(address).tables()
    error: BaseException | None = refused.value
    while error is not None:
        assert SECRET not in f"{error!s} {error!r}"
        error = None if error.__suppress_context__ and error.__cause__ is None else error.__cause__
    assert SECRET not in caplog.text
    if isinstance(refused.value, StoreUnavailableError):
        driver = Postgres(address)
        assert SECRET not in f"{driver!r} {driver.place}"


async def test_the_tables_are_counted(store: Store) -> None:
    """Every table with its size and its dead rows, for whoever watches over vacuum."""
    sizes = await store.sizes()
    assert {one.table for one in sizes} == await asyncio.to_thread(store.driver.tables)
    assert all(one.size >= 0 and one.dead_rows is not None for one in sizes)
