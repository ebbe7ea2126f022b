"""One store for each database that there is a driver for: a new one joins as a parameter."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.storage.store import Store
from tests.storage.making import Desk


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/receiver.db"
    made: str = request.getfixturevalue("postgres_url")
    return made


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """An open store on an empty database."""
    opened = await Store.open(url)
    yield opened
    await opened.close()


@pytest.fixture
def desk(store: Store) -> Desk:
    """Does to the store what the steps do."""
    return Desk(store)
