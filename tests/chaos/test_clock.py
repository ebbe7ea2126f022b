"""A clock that is set by an hour, forward and back, on one node."""

import asyncio
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.path.world import until

from .databases import PostgresDatabase, SqliteFile
from .evidence import prove
from .faults import FalseClock
from .nodes import cluster
from .provider import CONCURRENCY, provider
from .traffic import Order, mixed, traffic

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the wheel of libfaketime holds a library for x86_64 only"
)
_HOUR = 3600


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[FalseClock]:
    """A clock for one node."""
    made = FalseClock(tmp_path)
    yield made
    made.close()


async def test_a_clock_that_is_set_on_the_only_node(
    tmp_path: Path, sqlite: SqliteFile, clock: FalseClock, request: pytest.FixtureRequest
) -> None:
    """Set by an hour, back or forward, nothing is given up early, waits for an hour or runs twice, and limits hold."""
    # The provider's jobs have half an hour, so that an hour would end them if it counted.
    # A long lease is a rare sign of life: what goes by those alone would take everybody for dead.
    environ = clock.environ | {"RECEIVER_LEASE": "60"}
    first, orders = mixed(64, pause=0.4), 3 * CONCURRENCY
    # These are only asked about, all at a time when the clock has been set back.
    later = [Order(64 + number, (), {"pause": 0.8}) for number in range(orders)]
    async with (
        provider(pause=0.3) as asked,
        cluster(tmp_path, sqlite, asked, environ=environ) as nodes,
        traffic(nodes, [*first, *later]) as load,
    ):
        await load.submit(first)
        sending = asyncio.create_task(load.send(span=1))
        await until(lambda: asked.polls > 0, patience=30)
        await load.submit(later)
        for ahead in (-_HOUR, 0, _HOUR, 0):
            clock.set(ahead)
            nodes.kills += 1
            await until(lambda: len(nodes.nodes[0].said("clock_set")) == nodes.kills, patience=30)
            await until(lambda: asked.polls >= orders, patience=30)
        await sending
        await load.finish()
        figures = await prove(load, damage="clock set by 1 h")
        figures.record(request)
        # Nobody was killed, so every handler ran exactly once.
        assert figures.runs == figures.completions
        assert asked.most_polls <= CONCURRENCY


async def test_a_clock_that_is_set_on_one_of_three_nodes(
    tmp_path: Path, postgresql: PostgresDatabase, clock: FalseClock, request: pytest.FixtureRequest
) -> None:
    """A node whose clock is an hour off says so and is not ready; it takes nobody's work away and gives none up."""
    async with (
        provider() as asked,
        cluster(tmp_path, postgresql, asked, environ=clock.environ) as nodes,
        traffic(nodes, mixed(40, pause=0.5)) as load,
    ):
        await load.submit()
        sending = asyncio.create_task(load.send(span=6))
        for ahead in (_HOUR, -_HOUR):
            await asyncio.sleep(0.5)
            began = time.monotonic()
            clock.set(ahead)

            async def refused() -> bool:
                heard = await nodes.nodes[0].ask("GET", "/readyz")
                return heard.status == 503 and b"clock" in heard.body

            await until(refused, patience=20)
            assert all([(await node.ask("GET", "/readyz")).status == 200 for node in nodes.nodes[1:]])
            nodes.kills += 1
            await asyncio.sleep(0.5)
            clock.set(0)
            await nodes.recovered(began)
        await sending
        await load.finish()
        figures = await prove(load, damage="clock set by 1 h")
        figures.record(request)
        assert figures.runs == figures.completions
