"""The clock that everything is planned by is set: the server's for all nodes, or the only node's while it is away."""

import asyncio
import platform
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.path.world import until

from .databases import PostgresDatabase, SqliteFile, rows
from .evidence import prove
from .faults import FalseClock
from .nodes import cluster
from .provider import provider
from .traffic import Order, mixed, traffic

_HOUR = 3600
#: The clock of a server is as this says: the function hides the server's own.
_SERVER_CLOCK = """
    CREATE TABLE server_clock (ahead interval NOT NULL);
    INSERT INTO server_clock VALUES ('0');
    CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
        'SELECT pg_catalog.clock_timestamp() + (SELECT ahead FROM public.server_clock)';
"""


@pytest.fixture
def set_clock(postgresql: PostgresDatabase) -> Callable[[int], None]:
    """Sets the server's clock so many seconds off."""
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog'.encode())
        connection.execute(_SERVER_CLOCK)

    def set_(ahead: int) -> None:
        with psycopg.connect(postgresql.url, autocommit=True) as connection:
            connection.execute("UPDATE server_clock SET ahead = make_interval(secs => %s)", [ahead])

    return set_


async def test_a_servers_clock_that_is_set_moves_what_is_planned(
    tmp_path: Path,
    postgresql: PostgresDatabase,
    set_clock: Callable[[int], None],
    request: pytest.FixtureRequest,
) -> None:
    """Back and forward by an hour, under two nodes: what lay ahead comes in time, once; no handler runs twice."""
    polled = [Order(100 + number, (), {"pause": 0.2}) for number in range(12)]
    first = mixed(24, pause=1.5)
    async with (
        provider(pause=0.2) as asked,
        cluster(tmp_path, postgresql, asked, nodes=2, lease=10) as nodes,
        traffic(nodes, [*first, *polled]) as load,
    ):
        await load.submit(first)
        sending = asyncio.create_task(load.send(first, span=2))
        for number, ahead in enumerate((-_HOUR, 0)):
            await load.submit(polled[6 * number : 6 * number + 6])
            before = asked.polls
            set_clock(ahead)

            async def moved(steps: int = number + 1) -> bool:
                told = [line for node in nodes.nodes for line in node.said("clock_was_set")]
                return len(told) >= steps

            await until(moved, patience=30)
            await until(lambda before=before: asked.polls > before, patience=30)
        await sending
        await load.finish()
        figures = await prove(load, damage="the server's clock set by 1 h")
        figures.record(request)
        assert figures.runs == figures.completions
        # Whoever saw it first moved everything; the other found it done.
        ((total,),) = await rows(postgresql, "SELECT total FROM clock_set")
        assert abs(total) < 5000
        assert len([line for node in nodes.nodes for line in node.said("clock_was_set")]) == 2


async def test_who_starts_after_a_servers_clock_was_set_takes_nothing_of_others(
    tmp_path: Path,
    postgresql: PostgresDatabase,
    set_clock: Callable[[int], None],
    request: pytest.FixtureRequest,
) -> None:
    """By the clock every lease has lapsed for an hour; those who hold them are alive."""
    orders = [Order(number, ("done",), {"pause": 10}) for number in range(6)]
    async with (
        provider() as asked,
        # Nobody extends anything for the first third of it.
        cluster(tmp_path, postgresql, asked, nodes=2, lease=60) as nodes,
        traffic(nodes, orders) as load,
    ):
        one, other = nodes.nodes
        await load.submit(orders)
        other.kill()
        sending = asyncio.create_task(load.send(orders, span=0.5))

        async def busy() -> bool:
            return await nodes.dispatching(one.name) >= 1

        await until(busy, patience=30)
        set_clock(_HOUR)
        other.launch()
        await until(lambda: len(other.said("receiver_started")) == 2, patience=60)
        await sending
        await load.finish()
        figures = await prove(load, damage="a node starts after the server's clock was set")
        figures.record(request)
        assert figures.runs == figures.completions


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the wheel of libfaketime holds a library for x86_64 only"
)
@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_a_clock_that_was_set_back_while_nobody_was_there(
    tmp_path: Path, sqlite: SqliteFile, request: pytest.FixtureRequest, *, killed: bool
) -> None:
    """After the start what was planned comes in seconds, not in an hour, and deadlines are as far away as they were."""
    clock = FalseClock(tmp_path)
    orders = [Order(number, ()) for number in range(4)]
    deadlines = "SELECT deadline_at FROM job ORDER BY id"
    try:
        async with (
            provider(pause=0.1) as asked,
            cluster(tmp_path, sqlite, asked, environ=clock.environ) as nodes,
            traffic(nodes, orders) as load,
        ):
            (node,) = nodes.nodes
            await load.submit(orders)
            planned = await rows(sqlite, deadlines)
            if killed:
                node.kill()
            else:
                await node.terminate()
            clock.set(-_HOUR)
            await node.start()
            assert len(node.said("clock_was_set")) == 1
            moved = [
                now - before for (now,), (before,) in zip(await rows(sqlite, deadlines), planned, strict=True)
            ]
            assert all(abs(step / 1000 + _HOUR) < 5 for step in moved)
            await until(lambda: asked.polls > 0, patience=30)
            await load.finish()
            (await prove(load, damage="clock set back between two starts")).record(request)
    finally:
        clock.close()
