"""What is not copied: what is served, what is there already, what is not ours, what fits nowhere."""

from pathlib import Path

import pytest

from receiver.core.errors import ConfigurationError, ConflictError, NotFoundError, StoreUnavailableError
from receiver.core.handler import HandlerSpec
from receiver.storage import schema
from receiver.storage.copying import Progress
from receiver.storage.nodes import Node
from receiver.storage.store import Store
from tests.core.making import NOW
from tests.storage.making import Desk

from .test_copying import LEASE, _hurry, content, copy, desk, opened, small, to_postgres, urls, write

__all__ = ["_hurry", "desk", "small", "to_postgres", "urls"]


async def test_what_is_served_is_not_copied(to_postgres: tuple[str, str], small: Desk) -> None:
    """Nor copied into; the sentence names who serves. Who gave no sign of life for three leases does not count."""
    with opened(to_postgres[0]) as (served,):
        served.serve()
        with pytest.raises(ConfigurationError, match="FROM is served") as refused:
            copy(to_postgres)
        assert refused.value.code == "already_served"
    del small
    copy(to_postgres)
    back = to_postgres[1], to_postgres[0].replace("from.db", "back.db")
    with opened(to_postgres[1]) as (driver,):
        now = driver.time()
    assert now is not None
    write(to_postgres[1], "INSERT INTO node VALUES ('frida', 'serve', :at, :at)", at=now - LEASE)
    with pytest.raises(ConfigurationError, match=r"FROM is served by frida \(serve\)"):
        copy(back)
    with pytest.raises(ConfigurationError, match=r"TO is served by frida \(serve\)"):
        copy(to_postgres)
    write(to_postgres[1], "UPDATE node SET seen_at = seen_at - :long", long=3 * LEASE)
    copy(back)


async def test_who_begins_to_serve_meanwhile_is_noticed(to_postgres: tuple[str, str], small: Desk) -> None:
    """A process that got in before the mark was there ends the copy, not its record."""
    del small

    def join(progress: Progress) -> None:
        if progress.table == "submission" and progress.compared:
            write(to_postgres[1], "INSERT INTO node VALUES ('frida', 'serve', 1, 1)")

    with pytest.raises(ConflictError, match="began to serve"):
        copy(to_postgres, join)


async def test_nothing_is_overwritten(urls: tuple[str, str], desk: Desk) -> None:
    """A target with a record is refused; one that was only once started on is taken."""
    del desk
    store = await Store.open(urls[1])
    node = Node(name="n", role="serve", handlers=(HandlerSpec(name="elsewhere"),))
    await store.join(node, only=False, now=NOW)
    await store.leave(node)
    await store.close()
    copy(urls)
    with pytest.raises(ConflictError) as refused:
        copy(urls)
    assert refused.value.code == "copy_not_empty"
    assert content(urls[1]) == content(urls[0])


async def test_one_copy_at_a_time(to_postgres: tuple[str, str], small: Desk) -> None:
    """A second one into the same database, and one of a database into itself, end without harm."""
    del small
    refused: list[str] = []

    def start_another(progress: Progress) -> None:
        if progress.table == "job" and not refused:
            with pytest.raises(StoreUnavailableError) as busy:
                copy((other, to_postgres[1]))
            refused.append(str(busy.value))

    other = to_postgres[0].replace("from.db", "other.db")
    with opened(other) as (driver,):
        schema.migrate(driver)
    copy(to_postgres, start_another)
    assert "Somebody else" in refused[0]
    assert content(to_postgres[1]) == content(to_postgres[0])
    with pytest.raises(ConflictError):
        copy((to_postgres[1], to_postgres[1]))


async def test_what_is_not_ours_is_not_copied(tmp_path: Path, to_postgres: tuple[str, str]) -> None:
    """A source that is not there, or of another schema, is an error before anything is touched."""
    with pytest.raises(NotFoundError):
        copy(to_postgres)
    write(f"sqlite:///{tmp_path}/from.db", "CREATE TABLE migration (name {text} PRIMARY KEY)")
    write(f"sqlite:///{tmp_path}/from.db", "INSERT INTO migration VALUES ('0001_initial.sql')")
    with pytest.raises(ConfigurationError) as older:
        copy(to_postgres)
    assert older.value.code == "schema_older"
    with opened(to_postgres[1]) as (driver,):
        assert driver.tables() == set()


async def test_a_nul_becomes_a_replacement_character(to_postgres: tuple[str, str], small: Desk) -> None:
    """Texts fit PostgreSQL, bytes stay as they are, and what was changed is named; the source keeps its own."""
    job_id = small.rows("SELECT min(id) FROM job")[0][0]
    write(to_postgres[0], "UPDATE job SET error_text = :text WHERE id = :id", text="a\x00b", id=job_id)
    done = copy(to_postgres)
    assert done.replaced == [f"job(id={job_id}).error_text"]
    with opened(to_postgres[1]) as (driver,), driver.read() as tx:
        assert tx.run("SELECT error_text FROM job WHERE id = :id", {"id": job_id}) == [("a\ufffdb",)]
    assert small.rows("SELECT error_text FROM job WHERE id = :id", id=job_id) == [("a\x00b",)]


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE job SET callbacks = 'many' WHERE id = :id", r"job\(id=job_.*\): callbacks holds str"),
        ("UPDATE job SET remote_id = x'00' WHERE id = :id", r"job\(id=job_.*\): remote_id holds bytes"),
        (
            "INSERT INTO handler (name, state, seen_at) VALUES ('a' || char(0), 'any', length(:id))",
            "handler.*: name is part of its key",
        ),
    ],
    ids=["text for a number", "bytes for a text", "NUL in a key"],
)
async def test_a_row_that_fits_nowhere_is_named(
    to_postgres: tuple[str, str], small: Desk, sql: str, named: str
) -> None:
    """The error says which table, row and column; SQLite takes anything from whoever edits it by hand."""
    write(to_postgres[0], sql, id=small.rows("SELECT min(id) FROM job")[0][0])
    with pytest.raises(ConfigurationError, match=named) as unfit:
        copy(to_postgres)
    assert unfit.value.code == "copy_unfit"
