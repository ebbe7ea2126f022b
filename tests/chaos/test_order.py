"""Callbacks that come a hundredfold at once, in every order, and against a poll that says something else."""

import asyncio
import itertools
import random
from pathlib import Path

import pytest

from .databases import Database
from .evidence import prove, records
from .nodes import cluster
from .provider import provider
from .rounds import rounds
from .traffic import Order, traffic

_AT_ONCE = 100
_STATES = ("running", "done", "broken")


async def test_a_hundred_identical_callbacks_at_once(
    tmp_path: Path, database: Database, request: pytest.FixtureRequest
) -> None:
    """All are acknowledged, one is stored as accepted, the job ends once and its handler is called once."""
    orders = [Order(number, ()) for number in range(rounds(5))]
    async with (
        provider() as asked,
        cluster(tmp_path, database, asked, expected="60s") as nodes,
        traffic(nodes, orders) as load,
    ):
        await load.submit()
        for order in orders:
            for _ in range(_AT_ONCE):
                load.repeat(order.number, "done", f"d{order.number}")
            await load.heard(f"d{order.number}")
        await load.finish()
        figures = await prove(load, damage="100 at once")
        figures.record(request)
        assert figures.acked == figures.stored == _AT_ONCE * len(orders)
        assert figures.completions == figures.runs == len(orders)
        for (job,) in (await records(nodes)).values():
            assert [verdict for _, verdict, *_ in job.kept].count("accepted") == 1
            assert job.settled_by == "callback"


async def test_every_order_of_states(
    tmp_path: Path, database: Database, request: pytest.FixtureRequest
) -> None:
    """The first end that is told wins, in whatever order states come; what contradicts it is kept as evidence."""
    permutations = list(itertools.permutations(_STATES))
    orders = [Order(number, permutations[number % 6]) for number in range(rounds(12))]
    async with (
        provider(outcome=lambda _number: "done") as asked,
        cluster(tmp_path, database, asked, expected="60s") as nodes,
        traffic(nodes, orders) as load,
    ):
        await load.submit()

        async def one_after_the_other(order: Order) -> None:
            for state in order.states:
                await load.heard(load.deliver(order.number, state))

        await asyncio.gather(*map(one_after_the_other, orders))
        await load.finish()
        (await prove(load, damage="every order of states")).record(request)
        found = await records(nodes)
        for order in orders:
            (job,) = found[order.number]
            first = next(state for state in order.states if state != "running")
            other = next(state for state in reversed(order.states) if state != "running")
            assert job.state == {"done": "succeeded", "broken": "failed"}[first]
            codes = {state: (verdict, code) for _, verdict, code, _, state in job.kept}
            assert codes[first] == ("accepted", None)
            assert codes[other] == ("duplicate", "conflicting_outcome")


async def test_a_poll_that_races_with_callbacks(
    tmp_path: Path, database: Database, request: pytest.FixtureRequest
) -> None:
    """Poll and callbacks tell different ends at the same moment: one wins, all are kept, handlers hear of one."""
    orders = [Order(number, ("done", "broken", "running")) for number in range(rounds(36))]
    async with (
        provider(outcome=lambda _number: "broken", pause=0.1) as asked,
        cluster(tmp_path, database, asked, expected="2s") as nodes,
        traffic(nodes, orders) as load,
    ):
        await load.submit()

        async def about_then(order: Order) -> None:
            # The polls are due 2 s after the submission, and begin within a second of that.
            await asyncio.sleep(random.uniform(1.3, 4.0))
            for state in random.sample(order.states, len(order.states)):
                load.deliver(order.number, state)

        await asyncio.gather(*map(about_then, orders))
        await load.finish()
        figures = await prove(load, damage="poll against callback")
        figures.record(request)
        assert figures.runs == figures.completions
        settled = {job.settled_by for (job,) in (await records(nodes)).values()}
        assert settled == {"callback", "poll"}
