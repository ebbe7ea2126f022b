"""Nodes that are told to stop under load."""

import asyncio
import time
from pathlib import Path

import pytest

from .databases import Database, SqliteFile
from .evidence import prove
from .nodes import cluster
from .provider import provider
from .rounds import rounds
from .traffic import Order, mixed, traffic


async def nap(naps: list[None]) -> None:
    """Count tenths of a second as this machine has them: one that stands still for a while counts none meanwhile."""
    while True:
        await asyncio.sleep(0.1)
        naps.append(None)


async def test_a_node_that_is_told_to_stop_under_load(
    tmp_path: Path, database: Database, request: pytest.FixtureRequest
) -> None:
    """SIGTERM: it exits with 0 within 100 naps of 0.1 s and gives its leases back; no sender hears half an answer.

    A connection is answered in full, or closed or refused before any byte of an answer; an answer of 2xx is kept.
    """
    alone = isinstance(database, SqliteFile)
    orders = mixed(rounds(40), pause=0.2)
    # Longer than a node that stops waits for it.
    orders += [Order(rounds(40), ("done", "done"), {"pause": 5})]
    async with (
        provider() as asked,
        cluster(tmp_path, database, asked) as nodes,
        traffic(nodes, orders) as load,
    ):
        await load.submit()
        await load.heard(load.deliver(orders[-1].number, "done"))
        sending = asyncio.create_task(load.send(span=rounds(4)))
        for number in range(rounds(2)):
            node = nodes.nodes[number % len(nodes.nodes)]
            name, began = node.name, time.monotonic()
            await asyncio.sleep(0.4)
            naps = list[None]()
            napping = asyncio.create_task(nap(naps))
            status, _ = await node.terminate()
            napping.cancel()
            nodes.kills += 1
            assert status == 0
            assert len(naps) < 100
            assert await nodes.held_by(name) == []
            if not alone:
                assert any([(await one.ask("GET", "/readyz")).status == 200 for one in nodes.nodes])
            await node.start()
            await nodes.recovered(began)
        await sending
        await load.finish()
        (await prove(load, damage="SIGTERM under load")).record(request)
        assert {one.kind for one in load.tries} <= {"answered", "refused", "unanswered"}
        assert {one.status for one in load.tries if one.kind == "answered"} <= {200, 503}
