"""One store for each database that there is a driver for: a new one joins as a parameter."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.storage.store import Store
from tests import sqlite
from tests.storage.making import Desk


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with the receiver's tables and nothing in them."""
    if request.param == "sqlite":
        return sqlite.migrated(tmp_path / "receiver.db")
    made: str = request.getfixturevalue("migrated_url")
    return made


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    made: str = request.getfixturevalue("postgres_url")
    return made


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """An open store on a database with nothing in it."""
    opened = await Store.open(url)
    yield opened
    await opened.close()


@pytest.fixture
def desk(store: Store) -> Desk:
    """Does to the store what the steps do."""
    return Desk(store)
