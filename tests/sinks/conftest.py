"""The other sides of sinks, started when a test asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sinks import servers, sides

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.sinks.servers import Server
    from tests.sinks.sides import Side

#: Kinds that run everywhere; each is tried by every test of the contract.
KINDS = ("file", "command", "http", "nats", "redis", "rabbit")


@pytest.fixture
def http_side() -> Iterator[sides.Http]:
    """A server of ours that keeps what it is sent."""
    side = sides.Http()
    yield side
    side.close()


@pytest.fixture(scope="session")
def rabbit_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A RabbitMQ, where Debian's is installed."""
    if not servers.RABBIT.exists():
        pytest.skip("RabbitMQ is not installed: apt-get install rabbitmq-server")
    with servers.rabbit(tmp_path_factory.mktemp("rabbit")) as server:
        yield server


@pytest.fixture(params=KINDS)
async def side(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Side]:
    """The other side of one kind, ready."""
    match request.param:
        case "file":
            yield sides.File(tmp_path)
        case "command":
            yield sides.Command(tmp_path)
        case "http":
            yield request.getfixturevalue("http_side")
        case "nats":
            with servers.nats(tmp_path) as server:
                found = sides.Nats(server)
                await found.prepare()
                yield found
        case "redis":
            with servers.valkey(tmp_path) as server:
                yield sides.Redis(server)
        case "rabbit":
            rabbit = sides.Rabbit(request.getfixturevalue("rabbit_server"))
            await rabbit.prepare()
            yield rabbit
