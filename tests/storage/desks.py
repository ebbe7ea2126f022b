"""Two nodes on one PostgreSQL, for tests of what they do at once."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from receiver.storage.store import Store
from tests.storage.making import (
    Desk,
)

Desks = tuple[Desk, Desk]


@pytest.fixture(params=["postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The address of a database that several nodes may serve, with nothing in it."""
    made: str = request.getfixturevalue("migrated_url")
    return made


@pytest.fixture
async def desks(url: str) -> AsyncIterator[Desks]:
    """Two nodes on it, each with a store of its own."""
    async with AsyncExitStack() as stack:
        stores = [await Store.open(url) for _ in range(2)]
        for store in stores:
            stack.push_async_callback(store.close)
        yield Desk(stores[0]), Desk(stores[1])


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    """What is logged; a transaction that had to be tried again is."""
    with capture_logs() as captured:
        yield captured


def contended(logs: list[EventDict]) -> list[str]:
    """Why transactions had to be tried again."""
    return [str(one["reason"]) for one in logs if one["event"] == "write_contended"]
