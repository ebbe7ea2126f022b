"""Nodes that are killed, and nodes that their own handlers kill."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from tests.path.world import until

from .databases import Database, SqliteFile
from .evidence import prove
from .nodes import LEASE, Cluster, Node, cluster
from .provider import provider
from .rounds import rounds
from .traffic import Order, mixed, traffic


async def test_a_node_that_is_killed_again_and_again(
    tmp_path: Path, database: Database, request: pytest.FixtureRequest
) -> None:
    """Killed at random under load: nothing acknowledged is lost, nothing ends twice, no lease outlives its node."""
    alone = isinstance(database, SqliteFile)
    async with (
        provider() as asked,
        cluster(tmp_path, database, asked) as nodes,
        traffic(nodes, mixed(rounds(40), pause=0.03)) as load,
    ):
        if not alone:
            # A submission whose sender is gone is left alone for 90 s, for nobody knows how far it came.
            await load.submit()
        sending = asyncio.create_task(load.send(span=rounds(6), submit=alone))
        async with asyncio.TaskGroup() as leases:
            for _ in range(rounds(8)):
                await asyncio.sleep(random.uniform(0.1, 0.6))
                name = await kill(nodes, random.choice(nodes.nodes), alone=alone)
                leases.create_task(_taken_over(nodes, name))
        await sending
        await load.finish()
        (await prove(load, damage="kill -9")).record(request)


async def kill(nodes: Cluster, node: Node, *, alone: bool) -> str:
    """Kill a node and start it again; what it was called."""
    name, killed = node.name, time.monotonic()
    node.kill()
    nodes.kills += 1
    latest = time.time() * 1000 + LEASE * 1000
    if not alone:
        # It gives no further signs of life, so nothing that it held can be held any longer than that.
        # Its idea of the server's time may be a second off: so long half of an answer may be on its way.
        assert all(until < latest + 1100 for until in await nodes.held_by(name))
    await node.start()
    await nodes.recovered(killed)
    return name


async def _taken_over(nodes: Cluster, name: str) -> None:
    """Wait until nothing is held by a node of this name, which is no more."""

    async def taken_over() -> bool:
        return not await nodes.held_by(name)

    await until(taken_over, patience=LEASE + 15, pause=0.1)


async def test_a_handler_that_ends_the_process(
    tmp_path: Path, database: Database, request: pytest.FixtureRequest
) -> None:
    """A handler that ends the process at every attempt is a dead letter after its last one; others come through."""
    ends = [Order(100 + number, ("stopped", "stopped")) for number in range(2)]
    async with (
        provider(outcome=lambda number: "stopped" if number >= 100 else "done") as asked,
        cluster(tmp_path, database, asked) as nodes,
        traffic(nodes, [*mixed(24), *ends]) as load,
    ):
        await load.submit()
        minding = [asyncio.create_task(_mind(nodes, node)) for node in nodes.nodes]
        await load.send(span=3)
        await load.finish()
        figures = await prove(
            load, damage="handler ends process", fatal=frozenset(one.number for one in ends), alive=False
        )
        for task in minding:
            task.cancel()
        figures.record(request)
        runs = [run for run in nodes.runs() if run[0] == "fatal"]
        # Each job's handler has three attempts, and some ended before it was called: another one's took them along.
        assert len(ends) <= len(runs) <= 3 * len(ends)
        assert nodes.kills >= len(runs)


async def _mind(nodes: Cluster, node: Node) -> None:
    while True:
        if not node.running:
            nodes.kills += 1
            # It may well be over before it is ready.
            node.launch()
        await asyncio.sleep(0.1)
