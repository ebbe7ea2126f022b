"""A node that is frozen for longer than its lease, and then goes on as if nothing had been."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.path.world import until

from .databases import PostgresDatabase
from .evidence import prove
from .nodes import LEASE, Cluster, cluster
from .provider import provider
from .rounds import rounds
from .traffic import Order, traffic

#: More than may have been about to be settled as the node froze.
_SEVERAL = 3


async def test_a_frozen_node_settles_nothing_when_it_thaws(
    tmp_path: Path, postgresql: PostgresDatabase, request: pytest.FixtureRequest
) -> None:
    """SIGSTOP past the lease: others do what it held, and what it says afterwards of polls and handlers is refused."""
    batches = [_batch(24 * number) for number in range(rounds(2))]
    async with (
        provider(pause=0.6) as asked,
        cluster(tmp_path, postgresql, asked, expected="1s") as nodes,
        traffic(nodes, [order for batch in batches for order in batch]) as load,
    ):
        for batch in batches:
            await load.submit(batch)
            sending = asyncio.create_task(load.send(batch, span=1))
            await _freeze_one(nodes)
            await sending
        await load.finish()
        (await prove(load, damage="SIGSTOP past the lease")).record(request)
        late = [line for node in nodes.nodes for line in node.said("dispatch_superseded")]
        assert len(late) >= len(batches)


def _batch(first: int) -> list[Order]:
    """Jobs of all kinds; half are only polled, and a poll takes its time, so that the node is in the middle of some."""
    states = ("done", "running", "done")
    return [
        Order(number, () if number % 2 else states, {"pause": 0.5}) for number in range(first, first + 24)
    ]


async def _freeze_one(nodes: Cluster) -> None:
    """Freeze a node that is in the middle of something until all that it held is somebody else's."""
    node = nodes.nodes[0]

    async def frozen() -> bool:
        nonlocal node
        held = [await nodes.dispatching(one.name) for one in nodes.nodes]
        if max(held) < _SEVERAL:
            return False
        node = nodes.nodes[held.index(max(held))]
        node.freeze()
        if await nodes.dispatching(node.name) >= _SEVERAL:
            return True
        node.thaw()
        return False

    await until(frozen, patience=30)
    name, began = node.name, time.monotonic()
    nodes.kills += 1

    async def taken_over() -> bool:
        return not await nodes.held_by(name)

    await until(taken_over, patience=LEASE + 20, pause=0.1)
    # Whoever took them over has settled them by now, or is at it; either way they are not its own any more.
    await asyncio.sleep(0.5)
    node.thaw()
    await nodes.recovered(began)
