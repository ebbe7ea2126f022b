"""Two databases to be damaged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import PostgresServer, quick_folder

from .databases import Database, PostgresDatabase, SqliteFile


@pytest.fixture(scope="session")
def durable_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server whose commits survive its immediate end; each process of pytest's has one to break."""
    # It is stopped as if the power had failed, but memory keeps its power.
    with PostgresServer(quick_folder(tmp_path_factory), durable=True) as server:
        yield server


@pytest.fixture
def postgresql(durable_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """An empty database on it."""
    durable_server.start()
    url = durable_server.create()
    yield PostgresDatabase(url)
    durable_server.start()
    durable_server.drop(url)


@pytest.fixture
def sqlite(tmp_path: Path) -> SqliteFile:
    """A database file that is not there yet."""
    return SqliteFile(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each of the two, in turn."""
    found: Database = request.getfixturevalue(request.param)
    return found
