"""Two nodes on one PostgreSQL share a sink's work."""

from __future__ import annotations

import asyncio

from tests.path.conftest import world
from tests.path.test_nodes import node
from tests.path.world import REQUESTS, World, ended, until
from tests.sinks import sides

__all__ = ["world"]

SIGNED = "perplexity-webhook"


async def test_two_nodes_share_a_sinks_work(world: World, migrated_url: str) -> None:
    """Each event is sent once, by one of them, and neither is idle."""
    world.environ["RECEIVER_DATABASE_URL"] = migrated_url
    # One sink; each node has an address of its own for it, so that it is seen which of them sends.
    there = [sides.Http(), sides.Http()]
    try:
        async with (
            node(world, port=world.port, RECEIVER_SINK_JOBS=there[0].to) as hears,
            node(world, RECEIVER_SINK_JOBS=there[1].to),
        ):
            jobs = await asyncio.gather(*(hears.submit(SIGNED, REQUESTS[SIGNED]) for _ in range(20)))
            await until(lambda: sum(len(side.requests) for side in there) >= 20)
            await ended(hears, jobs[0])
        sent = [name for side in there for name, _ in await side.received()]
        assert sorted(sent) == sorted(job.id for job in jobs)
        assert all(side.requests for side in there)
    finally:
        for side in there:
            side.close()
