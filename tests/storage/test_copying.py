"""Copying a database: everything or nothing, read back and compared, whatever happens in between."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from receiver.core.alarms.alarm import DISK_LOW, OF_ONE_NODE, Finding
from receiver.core.errors import ConfigurationError, ConflictError
from receiver.core.file import Download
from receiver.core.identity import DEED, new_id
from receiver.core.model import MINUTE, SECOND
from receiver.core.reading.pagination import ResultPage
from receiver.storage import (
    alarms,
    audit,
    circuits,
    clocks,
    copying,
    feed,
    pages,
    pauses,
    schema,
    tables,
    tally,
)
from receiver.storage import files as linked
from receiver.storage.alarms import Looked, Round
from receiver.storage.audit import Deed
from receiver.storage.clocks import Reading
from receiver.storage.copying import Copied, Progress
from receiver.storage.driver import Driver, Transaction
from receiver.storage.opening import open_driver
from receiver.storage.postgres import driver as postgres
from receiver.storage.sqlite import files
from receiver.storage.store import Store
from receiver.storage.tally import Tallied
from tests.core.making import NOW
from tests.storage.making import ACME, DONE, Desk, arrival, callback

LEASE = MINUTE
#: Every table that is copied, and has rows in the record below.
FILLED = {
    *(
        "alarm",
        "alarm_notice",
        "alarm_round",
        "attempt",
        "audit",
        "callback",
        "circuit",
        "clock_seen",
        "clock_set",
        "completion",
        "dispatch",
        "download",
        "due",
        "feed",
        "feed_reader",
        "file",
        "file_store",
        "handler",
        "held",
        "job",
        "page",
        "pause",
        "pruned",
        "quarantine",
    ),
    *("result_chunk", "spent", "submission", "tally", "unplaced"),
}


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite", "sqlite to sqlite"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """The addresses of two empty databases."""
    one, _, other = request.param.partition(" to ")
    return _url(request, tmp_path, one, "from"), _url(request, tmp_path, other, "to")


@pytest.fixture
def to_postgres(postgres_url: str, tmp_path: Path) -> tuple[str, str]:
    """The way that most go."""
    return f"sqlite:///{tmp_path}/from.db", postgres_url


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is in the way is not waited for, and every batch is small."""
    monkeypatch.setattr(tables, "_ROWS", 3)
    monkeypatch.setattr(tables, "_AHEAD", 7)
    monkeypatch.setattr(tables, "_BYTES", 40_000)
    monkeypatch.setattr(copying, "_PATIENCE", 200)
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    monkeypatch.setitem(postgres._LIMITS, "lock_timeout", 200)


@pytest.fixture
async def desk(urls: tuple[str, str]) -> AsyncIterator[Desk]:
    """The database that is copied, with something in every table."""
    async for one in _filled(urls[0]):
        yield one


@pytest.fixture
async def small(to_postgres: tuple[str, str]) -> AsyncIterator[Desk]:
    """The same, for what is tried one way only."""
    async for one in _filled(to_postgres[0]):
        yield one


def _url(request: pytest.FixtureRequest, folder: Path, kind: str, name: str) -> str:
    if kind == "sqlite":
        return f"sqlite:///{folder}/{name}.db"
    made: str = request.getfixturevalue("postgres_url")
    return made


async def _filled(url: str) -> AsyncIterator[Desk]:
    store = await Store.open(url)
    desk = Desk(store)
    await desk.register("save", "other")
    for number in range(10):
        one = await desk.submitted(remote_id=f"r{number}", key=f"k{number}", metadata={"n": number})
        if number % 2:
            await desk.call(one, DONE, at=NOW + number)
    with store.driver.write() as tx:
        feed.give_places(tx, [0])
    await desk.call(await desk.submitted(remote_id="r10"), DONE)
    await desk.call(one, {"status": "done", "result": "x" * 100_000})
    await store.write_chunks(one.id, part=1, first=0, content=bytes(range(256)) * 4096)
    await store.ingest(arrival(callback(ACME, b"\x00\xff", rejected="signature_mismatch")))
    await desk.submit("wide")
    await desk.call_wide(DONE | {"id": "early"})
    with store.driver.write() as tx:
        tx.insert("pruned", "digest, pruned_at", [(bytes([n, 0]), n) for n in range(9)])
        deed = Deed(id=new_id(DEED, NOW), at=NOW, who="ada", role="operator", action="replay", subject=one.id)
        audit.note(tx, [deed])
        pauses.pause(tx, [("acme", NOW)])
        circuits.pause(tx, [("other", "ada", NOW)])
        clocks.follow(tx, Reading(boot="b", ahead=NOW, now=NOW, lease_ms=LEASE))
        alarms.begin(tx, [Round(node="n1", now=NOW, every=SECOND)])
        low = Finding(name=DISK_LOW, subject="a", cause="full", advice="prune")
        alarms.settle(tx, [Looked(names=OF_ONE_NODE, findings=(low,), sinks=("ops",), now=NOW)])
        feed.stand(tx, [("laptop", 3, NOW)])
        linked.name_store(tx, [("a store", NOW)])
        tx.insert(
            "file", "job_id, number, state, name, place, source", [(one.id, 1, "waiting", "a", "b", "c")]
        )
        left = Download(
            job_id=one.id, number=1, provider="acme", url="u", origin="o", largest=1, run_at=1, expires_at=2
        )
        tx.insert("download", linked.DOWNLOAD.columns, [linked.DOWNLOAD.row(left)])
        page = ResultPage(
            number=1, url="https://a.example", content=b"[1]", content_type="a/b", items=1, next_url=None
        )
        pages.take(tx, one.id, page, now=NOW)
        tx.insert("spent", "job_id, sha256", [(one.id, "0" * 64)])
        tally.add(tx, [("n1", NOW, [Tallied(kind="job", provider="acme", word="failed", count=1)])])
    await desk.work("save", at=NOW + SECOND, limit=2)
    yield desk
    await store.close()


@contextmanager
def opened(*urls: str) -> Iterator[list[Driver]]:
    """Open databases by themselves."""
    drivers = [open_driver(url) for url in urls]
    try:
        yield drivers
    finally:
        for driver in drivers:
            driver.close()


def copy(urls: tuple[str, str], progress: Callable[[Progress], None] = lambda _: None) -> Copied:
    """Copy, as the command does."""
    with opened(*urls) as (source, target):
        return copying.copy(source, target, lease_ms=LEASE, progress=progress)


def content(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that is copied."""
    with opened(url) as (driver,), driver.read() as tx:
        return {
            one.name: _rows(tx, one) for one in tables.tables() if one.name not in {"node", "console_session"}
        }


def _rows(tx: Transaction, table: tables.Table) -> list[tuple[Any, ...]]:
    return tx.run(f"SELECT {table.columns} FROM {table.name} ORDER BY {', '.join(table.key)}")  # noqa: S608  (our own names)


def write(url: str, sql: str, **params: object) -> None:
    """Change a database behind everybody's back."""
    with opened(url) as (driver,), driver.write() as tx:
        tx.run(sql, params)


async def test_everything_is_copied_and_the_source_stays(urls: tuple[str, str], desk: Desk) -> None:
    """Every row of every table is there, byte for byte, but for the nodes; the receiver goes on with it."""
    before = content(urls[0])
    assert {name for name, rows in before.items() if rows} == FILLED
    done = copy(urls)
    assert content(urls[1]) == before == content(urls[0])
    assert {name: one.rows for name, one in done.tables.items()} == {n: len(r) for n, r in before.items()}
    assert done.replaced == []
    store = await Store.open(urls[1], migrate=False)
    try:
        assert await store.nodes() == []
        (job_id,) = (row[0] for row in before["job"] if row[6] == "r9")
        assert await store.record(job_id) == await desk.store.record(job_id)
    finally:
        await store.close()


async def test_both_ways_the_checksums_are_the_same(to_postgres: tuple[str, str], small: Desk) -> None:
    """A checksum is that of the rows, whichever database holds them."""
    del small
    there = copy(to_postgres)
    back = copy((to_postgres[1], to_postgres[0].replace("from.db", "back.db")))
    assert there.tables == back.tables
    assert len({one.sha256 for one in there.tables.values() if one.rows}) == len(FILLED)


async def test_rows_are_read_in_bounded_memory(to_postgres: tuple[str, str], small: Desk) -> None:
    """In the order of the key, at most so many rows and bytes at a time, unless one row alone has more."""
    del small
    copy(to_postgres)
    chunks = next(one for one in tables.tables() if one.name == "result_chunk")
    attempts = next(one for one in tables.tables() if one.name == "attempt")
    for url in to_postgres:
        with opened(url) as (driver,), driver.read(patient=True) as tx:
            assert [len(batch) for batch in tables.batches(lambda: nullcontext(tx), chunks)] == [1] * 5
            read = list(tables.batches(lambda: nullcontext(tx), attempts))
            assert max(map(len, read)) == 3
            assert [row for batch in read for row in batch] == _rows(tx, attempts)


def test_the_tables_are_those_that_the_migrations_make(empty_url: str) -> None:
    """On each database: no table is forgotten, and each has these columns, types and key."""
    with opened(empty_url) as (driver,):
        schema.migrate(driver)
        there = {name for name in driver.tables() if not name.startswith("sqlite_")}
        assert {one.name for one in tables.tables()} == there - {"migration"}
        if driver.exclusive:
            return
        with driver.read() as tx:
            for one in tables.tables():
                assert _catalogue(tx, one.name) == (one.types, one.key)


def _catalogue(tx: Transaction, name: str) -> tuple[dict[str, type], tuple[str, ...]]:
    """What PostgreSQL itself says about a table."""
    types = {"text": str, "bigint": int, "bytea": bytes}
    columns = tx.run(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = :name "
        "AND table_schema = current_schema() ORDER BY ordinal_position",
        {"name": name},
    )
    key = tx.run(
        "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey) "
        "WHERE indisprimary AND indrelid = to_regclass(:name) ORDER BY array_position(indkey, attnum)",
        {"name": name},
    )
    return {column: types[kind] for column, kind in columns}, tuple(row[0] for row in key)


async def test_an_unfinished_copy_is_refused_and_begun_anew(urls: tuple[str, str], desk: Desk) -> None:
    """Whatever broke it off: nobody takes what is there, and the next copy is of what is there by then."""

    def break_off(progress: Progress) -> None:
        if progress.table == "job":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(urls, break_off)
    for migrate in (True, False):
        with pytest.raises(ConfigurationError) as refused:
            await Store.open(urls[1], migrate=migrate)
        assert refused.value.code == "copy_unfinished"
    await desk.submitted(remote_id="late")
    copy(urls)
    assert content(urls[1]) == content(urls[0])
    await (await Store.open(urls[1], migrate=False)).close()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM attempt WHERE number > 0",
        "UPDATE callback SET query = 'b' WHERE verdict = 'rejected'",
        "INSERT INTO handler (name, state, seen_at) VALUES ('late', 'any', 1)",
    ],
    ids=["lost", "changed", "added"],
)
async def test_a_copy_that_differs_is_refused(to_postgres: tuple[str, str], small: Desk, sql: str) -> None:
    """Rows that were lost, changed or added are found, the table is named, and the mark stays."""
    del small

    def disturb(progress: Progress) -> None:
        if progress.table == "submission" and progress.rows == 10 and not progress.compared:
            write(to_postgres[1], sql)

    with pytest.raises(ConflictError) as differs:
        copy(to_postgres, disturb)
    assert differs.value.code == "copy_differs"
    assert f" {sql.split()[1 if sql.startswith('UPDATE') else 2]} has" in str(differs.value)
    with pytest.raises(ConfigurationError, match="copy"):
        await Store.open(to_postgres[1])


async def test_nothing_changes_the_source_meanwhile(urls: tuple[str, str], desk: Desk) -> None:
    """No command can write, and no process can start: what is copied is the last word."""
    refused: list[str] = []

    def try_it(progress: Progress) -> None:
        if progress.table == "job" and not refused:
            for sql in ("DELETE FROM pruned", "UPDATE node SET seen_at = 1"):
                try:
                    write(urls[0], sql)
                except Exception as error:  # noqa: BLE001  (each database says so in its own way)
                    refused.append(type(error).__name__)

    del desk
    copy(urls, try_it)
    assert len(refused) == 2
    assert content(urls[1]) == content(urls[0])
