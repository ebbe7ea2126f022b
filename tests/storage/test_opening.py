"""Opening a database: whose schema it is, who brings it up to date, and a clear no to whatever is not ours."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from receiver.core.errors import ConfigurationError, NotFoundError, StoreUnavailableError
from receiver.storage import schema
from receiver.storage.driver import statements
from receiver.storage.opening import open_driver
from receiver.storage.store import Store
from tests.storage.making import made_by, new_job


async def test_an_open_database_has_the_schema(store: Store) -> None:
    """Every migration is carried out once, and a second opening finds nothing to do."""
    with store.driver.read() as tx:
        done = tx.run("SELECT name FROM migration ORDER BY name")
    assert [row[0] for row in done] == schema.known()
    assert schema.pending(store.driver) == schema.migrate(store.driver) == []
    schema.check(store.driver)


async def test_those_who_come_at_once_agree(empty_url: str) -> None:
    """Four find an empty database: one brings it up to date, the others wait for it, and all go on."""

    def migrate() -> list[str]:
        driver = open_driver(empty_url)
        try:
            return schema.migrate(driver)
        finally:
            driver.close()

    with ThreadPoolExecutor(4) as threads:
        carried_out = list(threads.map(lambda _: migrate(), range(4)))
    assert sorted(carried_out) == [[], [], [], schema.known()]
    store = await Store.open(empty_url, migrate=False)
    await store.submit(new_job())
    await store.close()


async def test_whoever_may_not_migrate_makes_nothing(empty_url: str) -> None:
    """Where there is no database of ours it says so, and there is none afterwards."""
    with pytest.raises(NotFoundError) as refused:
        await Store.open(empty_url, migrate=False)
    assert refused.value.code == "database_missing"
    driver = open_driver(empty_url)
    assert await asyncio.to_thread(driver.tables) == set()
    driver.close()


async def test_an_older_schema_is_named_to_whoever_may_not_migrate(store: Store, url: str) -> None:
    """With the migration that it lacks."""
    newest = schema.known()[-1]
    with store.driver.write() as tx:
        tx.run("DELETE FROM migration WHERE name = :name", {"name": newest})
    with pytest.raises(ConfigurationError, match=newest) as refused:
        await Store.open(url, migrate=False)
    assert refused.value.code == "schema_older"


async def test_a_second_process_is_refused_before_it_migrates(tmp_path: Path) -> None:
    """A newer version that is started beside the one that serves an SQLite file leaves its schema alone."""
    url, newest = f"sqlite:///{tmp_path}/receiver.db", schema.known()[-1]
    serving = await Store.open(url, serve=True)
    with serving.driver.write() as tx:
        tx.run("DELETE FROM migration WHERE name = :name", {"name": newest})
    with pytest.raises(ConfigurationError) as refused:
        await Store.open(url, serve=True)
    assert refused.value.code == "already_served"
    assert schema.pending(serving.driver) == [newest]
    await serving.close()


@pytest.mark.parametrize("migrate", [True, False])
async def test_a_newer_schema_is_refused(store: Store, url: str, migrate: bool) -> None:  # noqa: FBT001  (a parameter)
    """An older program does not touch what a newer one made."""
    with store.driver.write() as tx:
        tx.run("INSERT INTO migration (name) VALUES ('9999_future.sql')")
    with pytest.raises(ConfigurationError, match=r"9999_future\.sql") as refused:
        await Store.open(url, migrate=migrate)
    assert refused.value.code == "schema_newer"


async def test_a_migration_that_fails_leaves_nothing(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one transaction: the next attempt finds the database as it was."""
    driver = open_driver(empty_url)

    def broken(script: str) -> list[str]:
        return [*statements(script), "CREATE TABLE job (id {text})"]

    with monkeypatch.context() as patch:
        patch.setattr(schema, "statements", broken)
        with pytest.raises(Exception, match="job"):  # each database has its own
            await asyncio.to_thread(schema.migrate, driver)
    assert await asyncio.to_thread(driver.tables) == set()
    assert await asyncio.to_thread(schema.migrate, driver) == schema.known()
    driver.close()


async def test_a_migration_that_waits_keeps_nobody_waiting(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody reads for long (a dump), what others do with the tables goes on; once that ends, it is done."""
    monkeypatch.setattr(schema, "_PAUSE", 0.05)
    reader, migrating, serving = (open_driver(postgres_url) for _ in range(3))
    await asyncio.to_thread(made_by, migrating, schema.known()[:2])

    def take() -> None:
        with serving.write() as tx:
            tx.run("SELECT id FROM job ORDER BY id {for_update}")

    with reader.read(patient=True) as reading:
        reading.run("SELECT count(*) FROM job")
        waiting = asyncio.create_task(asyncio.to_thread(schema.migrate, migrating))
        for _ in range(5):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(take)
        assert not waiting.done()
    assert await waiting == schema.known()[2:]
    for driver in (reader, migrating, serving):
        driver.close()


async def test_a_migration_gives_up_on_who_reads_for_ever(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says who may be in the way, and changes nothing."""
    for name, value in (("_PAUSE", 0.0), ("_TRIES", 2), ("_IN_THE_WAY", 20)):
        monkeypatch.setattr(schema, name, value)
    reader, migrating = open_driver(postgres_url), open_driver(postgres_url)
    await asyncio.to_thread(made_by, migrating, schema.known()[:2])
    with reader.read(patient=True) as reading:
        reading.run("SELECT count(*) FROM job")
        with pytest.raises(StoreUnavailableError, match="idle in a transaction"):
            await asyncio.wait_for(asyncio.to_thread(schema.migrate, migrating), 20)
    assert await asyncio.to_thread(schema.pending, migrating) == schema.known()[2:]
    for driver in (reader, migrating):
        driver.close()


@pytest.mark.parametrize(
    "address",
    ["mysql://x/y", "sqlite://", "sqlite:///", "sqlite:receiver.db", "receiver.db", "", "postgresql:x"],
)
def test_an_address_that_is_no_database_is_refused(address: str) -> None:
    """With the setting's name."""
    with pytest.raises(ConfigurationError, match="RECEIVER_DATABASE_URL"):
        open_driver(address)


def test_every_migration_has_a_number_of_its_own() -> None:
    """Two of one number would be carried out in the order of their names, which says nothing."""
    numbers = [name.partition("_")[0] for name in schema.known()]
    assert numbers == [f"{place:04}" for place in range(1, len(numbers) + 1)]
