"""Lines: one dispatch of a key at a time, in the order of completion, on any database and for every node."""

import asyncio
import random

import pytest

from receiver.core.handler import GO_ON, HandlerSpec
from receiver.core.model import HOUR, MINUTE, SECOND, Dispatch, Job
from receiver.storage import feed, queues
from receiver.storage.dispatches import DispatchClaim
from receiver.storage.nodes import MISSING_AFTER
from receiver.storage.queries import Page
from receiver.storage.store import Store
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk

ORDERED = HandlerSpec(name="h", ordered_by="metadata.customer")


async def claim(
    desk: Desk, *, at: int, owner: str = "node", limit: int = 10, handler: str = "h"
) -> list[tuple[Dispatch, Job]]:
    """Claim what a node does whose handler orders its completions."""
    return await desk.store.claim_dispatches(
        DispatchClaim(owner=owner, limits={handler: limit}, lease_ms=LEASE, now=at, ordering=[handler])
    )


async def completed(desk: Desk, *customers: object, at: int = NOW, spec: HandlerSpec = ORDERED) -> list[Job]:
    """Jobs of those customers, completed one after the other, in another order than they were submitted in."""
    await desk.register(spec)
    jobs = [
        await desk.submitted(remote_id=f"r{n}", metadata={} if customer is None else {"customer": customer})
        for n, customer in enumerate(customers)
    ]
    for n, one in enumerate(reversed(jobs)):
        await desk.call(one, DONE, at=at + n)
    return jobs[::-1]


def ids(claimed: list[tuple[Dispatch, Job]]) -> list[str]:
    """The jobs that were claimed."""
    return [job.id for _, job in claimed]


async def test_each_key_has_one_at_a_time_in_the_order_of_completion(desk: Desk) -> None:
    """Others go on beside it, and so does what has no key."""
    done = await completed(desk, "a", "b", "a", None, "a", 1, "1")
    # They end from the last to the first: "1", 1, "a", none, "a", "b", "a".
    first = await claim(desk, at=NOW + 9)
    assert sorted(ids(first)) == sorted(job.id for n, job in enumerate(done) if n not in {4, 6})
    assert await claim(desk, at=NOW + 9, owner="other") == []
    for expected in (done[4], done[6]):
        ((running, _),) = [pair for pair in first if pair[1].metadata.get("customer") == "a"]
        await desk.finish(running, at=NOW + 9)
        first = await claim(desk, at=NOW + 9, owner="other")
        assert ids(first) == [expected.id]
    assert {one.state for one in await desk.store.dispatches(Page())} == {"ready"}


async def test_a_retry_and_a_crash_keep_the_order(desk: Desk) -> None:
    """Whoever waits for its next attempt, or whose process is gone, is still the first of its line."""
    done = await completed(desk, "a", "a", "a")
    ((running, _),) = await claim(desk, at=NOW + 9)
    await desk.finish(running, "failed", at=NOW + 9, retry_at=NOW + HOUR)
    assert await claim(desk, at=NOW + HOUR - 1) == []
    ((running, job),) = await claim(desk, at=NOW + HOUR, owner="gone")
    assert (job.id, running.attempt) == (done[0].id, 2)
    assert await claim(desk, at=NOW + HOUR + LEASE - 1) == []
    ((lapsed, job),) = await claim(desk, at=NOW + HOUR + LEASE)
    assert (job.id, lapsed.lapsed) == (done[0].id, True)
    await desk.finish(lapsed, "interrupted", at=NOW + HOUR + LEASE, retry_at=NOW + 2 * HOUR)
    assert await claim(desk, at=NOW + 2 * HOUR - 1) == []


async def test_a_dead_one_holds_its_line_up_until_it_is_retried(desk: Desk) -> None:
    """Its own and no other; retried it comes before those that waited."""
    done = await completed(desk, "a", "b", "a", "a")
    claimed = await claim(desk, at=NOW + 9)
    assert sorted(ids(claimed)) == sorted([done[0].id, done[2].id])
    for dispatch, job in claimed:
        await desk.finish(dispatch, "failed" if job.id == done[0].id else "succeeded", at=NOW + 9)
    assert await claim(desk, at=NOW + HOUR) == []
    (dead,) = await desk.store.dispatches(Page(state="dead"))
    assert [one.state for one in await desk.store.dispatches(Page(state="lined"))] == ["lined"] * 2
    assert await desk.store.retry_dispatch(dead, now=NOW + HOUR)
    for expected in (done[0], done[1], done[3]):
        ((dispatch, job),) = await claim(desk, at=NOW + HOUR)
        assert job.id == expected.id
        await desk.finish(dispatch, at=NOW + HOUR)


async def test_what_is_lined_up_says_behind_what(desk: Desk) -> None:
    """What runs, or is dead, and of which line; and a dead one says how many it holds up, up to a bound."""
    done = await completed(desk, "a", "a", "a", "b")
    claimed = await claim(desk, at=NOW + 9)
    lined = {one.job_id: one for one in await desk.store.dispatches(Page(state="lined"))}
    for waiting in (done[2], done[3]):
        found = await desk.store.read(queues.turn, lined[waiting.id])
        assert found is not None
        assert found.after is not None
        assert (found.line, found.after.job_id, found.after.owner) == ('"a"', done[1].id, "node")
    (running,) = [one for one, job in claimed if job.id == done[1].id]
    await desk.finish(running, "failed", at=NOW + 9)
    (dead,) = await desk.store.dispatches(Page(state="dead"))
    found = await desk.store.read(queues.turn, lined[done[3].id])
    assert found is not None
    assert found.after is not None
    assert (found.after.id, found.after.state) == (dead.id, "dead")
    assert await desk.store.read(queues.held_up, [dead]) == {dead.id: queues.HeldUp(count=2, more=False)}


async def test_a_dead_one_holds_nobody_up_where_its_handler_goes_on(desk: Desk) -> None:
    """Nor does one without a line."""
    spec = HandlerSpec(name="h", ordered_by="metadata.customer", on_dead=GO_ON)
    await completed(desk, "a", "a", None, spec=spec)
    for running, _ in await claim(desk, at=NOW + 9):
        await desk.finish(running, "failed", at=NOW + 9)
    dead = await desk.store.dispatches(Page(state="dead"))
    assert len(dead) == 2
    assert await desk.store.read(queues.held_up, dead) == {}


async def test_a_dead_one_that_is_discarded_lets_the_others_go_on(desk: Desk) -> None:
    """At once."""
    done = await completed(desk, "a", "a")
    ((dispatch, _),) = await claim(desk, at=NOW + 9)
    await desk.finish(dispatch, "failed", at=NOW + 9)
    (dead,) = await desk.store.dispatches(Page(state="dead"))
    assert await desk.store.discard_dispatch(dead, now=NOW + 9)
    assert ids(await claim(desk, at=NOW + 9)) == [done[1].id]


async def test_a_handler_may_go_on_after_a_dead_one(desk: Desk) -> None:
    """Retried by hand it still runs with no other of its line beside it."""
    spec = HandlerSpec(name="h", ordered_by="metadata.customer", on_dead="continue")
    done = await completed(desk, "a", "a", "a", spec=spec)
    ((dispatch, _),) = await claim(desk, at=NOW + 9)
    await desk.finish(dispatch, "failed", at=NOW + 9)
    ((second, job),) = await claim(desk, at=NOW + 9)
    assert job.id == done[1].id
    (dead,) = await desk.store.dispatches(Page(state="dead"))
    assert await desk.store.retry_dispatch(dead, now=NOW + 10)
    assert await claim(desk, at=NOW + 10) == []
    await desk.finish(second, at=NOW + 10)
    ((first, job),) = await claim(desk, at=NOW + 10)
    assert job.id == done[0].id
    await desk.finish(first, at=NOW + 10)
    assert ids(await claim(desk, at=NOW + 10)) == [done[2].id]


async def test_the_order_is_that_of_the_feed(desk: Desk) -> None:
    """Also where jobs were completed within one millisecond, and where a replay follows."""
    await desk.register(ORDERED)
    jobs = [await desk.submitted(remote_id=f"r{n}", metadata={"customer": "a"}) for n in range(12)]
    random.shuffle(jobs)
    await asyncio.gather(*(desk.call(one, DONE) for one in jobs))
    assert await desk.store.replay(jobs[0].id, handler=None, replay_id="rpl_1", now=NOW + SECOND) == ["h"]
    found: list[tuple[str, str]] = []
    for n in range(13):
        ((dispatch, job),) = await claim(desk, at=NOW + MINUTE + n)
        found.append((job.id, dispatch.replay_id))
        await desk.finish(dispatch, at=NOW + MINUTE + n)
    told = desk.rows("SELECT job_id, '' FROM completion ORDER BY place")
    assert found == [*told, (jobs[0].id, "rpl_1")]


async def test_a_feed_that_nobody_has_read_is_caught_up_with_bit_by_bit(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim gives some places and no more, and the order is the same."""
    monkeypatch.setattr(feed, "_TOGETHER", 2)
    done = await completed(desk, *"a" * 24)
    assert await desk.store.replay(done[0].id, handler=None, replay_id="rpl_1", now=NOW + 30) == ["h"]
    found = []
    for n in range(25):
        ((dispatch, job),) = await claim(desk, at=NOW + MINUTE + n)
        found.append((job.id, dispatch.replay_id))
        assert desk.count("unplaced") == max(24 - 10 * (n + 1), 0)
        await desk.finish(dispatch, at=NOW + MINUTE + n)
    assert found == [*((job.id, "") for job in done), (done[0].id, "rpl_1")]


@pytest.mark.parametrize("ordered_by", ["provider", "operation", "job"])
async def test_other_things_can_be_ordered_by(desk: Desk, ordered_by: str) -> None:
    """By provider everything is one line; by job only what is told of one job."""
    await desk.register(
        HandlerSpec(name="h", ordered_by=ordered_by),
        HandlerSpec(name="running", state="running", ordered_by="job"),
    )
    jobs = [await desk.submitted(remote_id=f"r{n}") for n in range(3)]
    for one in jobs:
        await desk.call(one, {"status": "working"})
        await desk.call(one, DONE, at=NOW + 1)
    assert len(await claim(desk, at=NOW + 9)) == (3 if ordered_by == "job" else 1)
    assert len(await claim(desk, at=NOW + 9, handler="running")) == 3


async def test_who_no_longer_orders_gets_everything(desk: Desk) -> None:
    """A start without ordered_by leaves nobody behind in a line; with it again, what ends from then on is ordered."""
    await completed(desk, "a", "a", "a")
    assert len(await claim(desk, at=NOW + 9)) == 1
    await desk.register("h", now=NOW + 10)
    assert len(await desk.work("h", at=NOW + 10)) == 2
    assert desk.count("dispatch", "line IS NOT NULL") == 0


async def test_a_renamed_handler_keeps_the_order(desk: Desk) -> None:
    """What waited under the old name comes first, one at a time."""
    done = await completed(desk, "a", "a")
    spec = HandlerSpec(name="new", ordered_by="metadata.customer", aliases=("h",))
    await desk.register(spec, now=NOW + 9)
    late = await desk.submitted(remote_id="late", metadata={"customer": "a"})
    await desk.call(late, DONE, at=NOW + 10)
    for expected in (*done, late):
        ((dispatch, job),) = await claim(desk, at=NOW + 11, handler="new")
        assert job.id == expected.id
        await desk.finish(dispatch, at=NOW + 11)


async def test_a_line_without_a_handler_is_dead_and_comes_back_in_order(desk: Desk) -> None:
    """After an hour, like any dispatch; retried in any order they run in theirs."""
    done = await completed(desk, "a", "a", "a")
    assert await desk.store.reap(now=NOW + MISSING_AFTER + MINUTE) == 3
    await desk.register(ORDERED, now=NOW + 2 * HOUR)
    dead = await desk.store.dispatches(Page(state="dead"))
    for one in random.sample(dead, 3):
        assert await desk.store.retry_dispatch(one, now=NOW + 2 * HOUR)
    for expected in done:
        ((dispatch, job),) = await claim(desk, at=NOW + 2 * HOUR)
        assert job.id == expected.id
        await desk.finish(dispatch, at=NOW + 2 * HOUR)


async def test_two_nodes_at_once_make_one_of_a_line_ready(migrated_url: str) -> None:
    """Callbacks, claims and ends at both, all at the same time: never two of a key, each in the feed's order."""
    stores = [await Store.open(migrated_url) for _ in range(2)]
    desks = [Desk(store) for store in stores]
    await desks[0].register(ORDERED, only=False)
    jobs = [
        await desks[0].submitted(remote_id=f"r{n}", metadata={"customer": f"c{n % 3}"}) for n in range(60)
    ]
    customers = {one.id: f"c{n % 3}" for n, one in enumerate(jobs)}
    random.shuffle(jobs)
    running: set[str] = set()
    order: list[tuple[str, str]] = []

    async def work(desk: Desk, owner: str) -> None:
        at = NOW + SECOND
        while len(order) < len(jobs):
            at += 1
            claimed = await claim(desk, at=at, owner=owner, limit=2)
            for _, job in claimed:
                customer = job.metadata["customer"]
                assert customer not in running, f"two of {customer} at once"
                running.add(customer)
            for dispatch, job in claimed:
                await asyncio.sleep(0)
                customer = job.metadata["customer"]
                running.remove(customer)
                if not dispatch.failures and random.random() < 0.3:
                    assert await desk.finish(dispatch, "failed", at=at, retry_at=at)
                else:
                    order.append((customer, job.id))
                    assert await desk.finish(dispatch, at=at)

    async def call(desk: Desk, some: list[Job]) -> None:
        for n, one in enumerate(some):
            await desk.call(one, DONE, at=NOW + n)

    async with asyncio.timeout(30):
        await asyncio.gather(
            *(work(desk, f"n{n}") for n, desk in enumerate(desks)),
            *(call(desk, jobs[n::2]) for n, desk in enumerate(desks)),
        )
    told = [row[0] for row in desks[0].rows("SELECT job_id FROM completion ORDER BY place")]
    for customer in ("c0", "c1", "c2"):
        assert [job for one, job in order if one == customer] == [
            job for job in told if customers[job] == customer
        ]
    assert desks[0].count("dispatch") == 0
    for store in stores:
        await store.close()
