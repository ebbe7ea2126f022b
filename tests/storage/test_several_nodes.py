"""Several nodes on one database: what a driver that is not exclusive owes, whatever both do at the same moment."""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from typing import Any

from structlog.typing import EventDict

from receiver.core.asking.exchange import Seen
from receiver.core.errors import ConflictError
from receiver.core.handler import HandlerSpec
from receiver.core.job.admission import terms_for
from receiver.core.model import DAY, HOUR, Job, JobState, Observation, Step
from receiver.storage.arrivals import Quota
from receiver.storage.claims import Claimed
from receiver.storage.records import Link
from receiver.storage.retention import Prune
from receiver.storage.settlements import CancelSettled
from tests.core.making import NOW
from tests.storage.making import (
    ACME,
    DONE,
    FAILED,
    LEASE,
    WIDE,
    Desk,
    Wish,
    arrival,
    callback,
    leases,
    log_of,
    new_job,
)

from .desks import Desks, contended, desks, logs, url

__all__ = ["desks", "logs", "url"]


def shuffled(wishes: Sequence[Wish]) -> list[Wish]:
    """In any order."""
    return random.sample(wishes, len(wishes))


async def call_at_random(desk: Desk, jobs: Sequence[Job], *, rounds: int, each: int) -> None:
    """Call random jobs' addresses, in batches of *each*."""
    for number in range(rounds):
        batch = random.sample(jobs, each)
        await asyncio.gather(*(desk.call(one, {"status": "working"}, at=NOW + number) for one in batch))


async def test_overlapping_batches_lose_nothing_and_wait_in_no_ring(
    desks: Desks, logs: list[EventDict]
) -> None:
    """Two hundred batches of callbacks of the same jobs, each in an order of its own: all counted, none tried again."""
    jobs = [await desks[0].submitted(remote_id=f"r{n}") for n in range(20)]
    await asyncio.gather(*(call_at_random(desk, jobs, rounds=100, each=12) for desk in desks))
    assert contended(logs) == []
    assert desks[0].rows("SELECT sum(callbacks) FROM job") == [(2 * 100 * 12,)]
    assert desks[0].count("job", "state = 'running'") == 20


async def test_everything_at_once_waits_in_no_ring(desks: Desks, logs: list[EventDict]) -> None:
    """Callbacks, claims, beats, settlements, cancels and releases of the same jobs: nothing fails or is tried again."""
    jobs = [await desks[0].submitted("waker", remote_id=f"r{n}") for n in range(16)]

    async def settle(desk: Desk, one: Claimed, at: int) -> None:
        if one.due.step is Step.CANCEL:
            log = log_of(one.due, "asked", at)
            await desk.store.settle_cancel(CancelSettled(due=one.due, log=log, now=at, retry_at=at))
        else:
            await desk.settle(one, Seen(seen=Observation(state=JobState.RUNNING)), at=at)

    async def work(desk: Desk, owner: str) -> None:
        for number in range(25):
            # Each claim takes what the other node has only just leased: every lease lapses at once.
            at = NOW + number * HOUR
            wishes: list[Wish] = [desk.call(one, {}, at=at) for one in random.sample(jobs, 8)]
            wishes += [desk.call_wide({"id": f"x{n}", "status": "working"}, at=at) for n in range(8)]
            wishes += [desk.store.cancel(one.id, now=at) for one in random.sample(jobs, 3)]
            wishes.append(desk.store.reap(now=at))
            wishes.append(desk.store.prune(Prune(before=NOW, now=at)))
            others = asyncio.gather(*shuffled(wishes))
            claimed = await desk.claim(at=at, provider="waker", owner=owner, limit=12)
            random.shuffle(claimed)
            await desk.beat(*claimed, at=at, node=owner, handlers=["h"])
            await asyncio.gather(*(desk.store.spend(one.due, "https://a.example/") for one in claimed))
            await asyncio.gather(*(settle(desk, one, at) for one in claimed))
            await desk.store.release(leases(*claimed), lease_ms=LEASE, now=at)
            await others

    await desks[0].register("h", only=False)
    await asyncio.gather(work(desks[0], "a"), work(desks[1], "b"))
    assert contended(logs) == []
    assert desks[0].count("job") == 16 + 8
    calls = [desk.call(one, DONE, at=NOW + 30 * HOUR) for one in jobs for desk in desks]
    await asyncio.gather(*calls)
    looks = [desk.claim(at=NOW + 30 * HOUR, provider="waker", limit=99) for desk in desks]
    claims = [one for found in await asyncio.gather(*looks) for one in found]
    assert len({(one.job.id, one.due.step) for one in claims}) == len(claims)
    assert {one.id for one in jobs} <= {one.job.id for one in claims}


async def test_a_hundred_copies_over_two_nodes_complete_once(desks: Desks) -> None:
    """One completion, one dispatch for each handler that any node has; every copy is counted."""
    await desks[0].register("h1", only=False)
    await desks[1].register("h2", only=False)
    one = await desks[0].submitted()
    receipts = await asyncio.gather(*(desks[n % 2].call(one, DONE, at=NOW + n) for n in range(100)))
    assert sum(receipt.completed for receipt in receipts) == 1
    assert desks[0].rows("SELECT handler FROM dispatch ORDER BY handler") == [("h1",), ("h2",)]
    assert (await desks[1].store.job(one.id)).callbacks == 100


async def test_an_unknown_id_on_two_nodes_is_one_job(desks: Desks) -> None:
    """Account-wide callbacks of jobs that nobody submitted here: each id is one job with one completion."""
    await desks[0].register("h", only=False)
    for number in range(20):
        wishes = [desk.call_wide(DONE | {"id": f"r{number}-{n}"}) for n in range(5) for desk in desks]
        receipts = await asyncio.gather(*shuffled(wishes))
        assert len(receipts) == 10
    assert desks[0].count("job") == desks[0].count("dispatch") == 100
    assert desks[0].rows("SELECT count(DISTINCT remote_id) FROM job") == [(100,)]


async def test_a_token_of_a_lost_record_on_two_nodes_is_one_job(desks: Desks) -> None:
    """After a restored backup the job is recorded anew once, by whichever node comes first."""
    await desks[0].register("h", only=False)
    lost = [new_job().job for _ in range(20)]
    receipts = await asyncio.gather(*(desk.call(one, DONE) for one in lost for desk in desks))
    assert {receipt.job_id for receipt in receipts} == {one.id for one in lost}
    assert desks[0].count("job") == desks[0].count("dispatch") == 20


async def test_a_callback_and_the_answer_that_names_it_meet(desks: Desks) -> None:
    """Whichever node commits first, what was called is the job that was submitted: never lost, never a second one."""
    await desks[0].register("h", only=False)
    for number in range(40):
        jobs = [await desks[0].submit("wide") for _ in range(3)]
        ids = [f"r{number}-{n}" for n in range(3)]
        wishes: list[Wish] = [desks[1].call_wide(DONE | {"id": one}) for one in ids]
        wishes += [
            desks[0].answer(one, seen=Observation(state=JobState.SUBMITTED, remote_id=remote_id))
            for one, remote_id in zip(jobs, ids, strict=True)
        ]
        await asyncio.gather(*shuffled(wishes))
    assert desks[0].count("job") == desks[0].count("job", "state = 'succeeded'") == 120
    assert desks[0].count("dispatch") == 120
    assert (desks[0].count("held"), desks[0].count("callback", "job_id IS NULL")) == (0, 0)


async def test_what_is_held_is_released_once(desks: Desks) -> None:
    """Both nodes find that its time is up, while a submission's answer may bring its name: it does one thing."""
    await desks[0].register("h", only=False)
    terms = terms_for(WIDE, key_id="k")
    for number in range(20):
        one = await desks[0].submit("wide")
        ids = [f"r{number}-{n}" for n in range(3)]
        await asyncio.gather(*(desks[0].call_wide(DONE | {"id": remote_id}) for remote_id in ids))
        wishes: list[Wish] = [
            desk.store.release_held(held, terms=terms, now=NOW + HOUR)
            for desk in desks
            for held, _ in await desk.store.held_due(now=NOW + HOUR)
        ]
        wishes.append(
            desks[1].answer(one, seen=Observation(state=JobState.SUBMITTED, remote_id=f"r{number}-0"))
        )
        await asyncio.gather(*shuffled(wishes))
    assert (desks[0].count("held"), desks[0].count("callback", "job_id IS NULL")) == (0, 0)
    # Each ended one job: the one that was submitted, or one of its own where the answer came last.
    assert desks[0].count("dispatch") == 60


async def test_one_key_on_two_nodes_is_one_job(desks: Desks, logs: list[EventDict]) -> None:
    """The second order gets the first one's job, or hears that the key was used for another request."""
    for number in range(20):
        orders: list[Coroutine[Any, Any, tuple[Job, bool]]] = [
            desk.store.submit(new_job(key=f"k{number}-{n}", request=b"{}" if n < 4 else body))
            for n in range(5)
            for desk, body in zip(desks, (b"{}", b"[]"), strict=True)
        ]
        answers = await asyncio.gather(*random.sample(orders, 10), return_exceptions=True)
        taken = [one for one in answers if not isinstance(one, BaseException)]
        assert sum(created for _, created in taken) == 5
        assert sum(isinstance(one, ConflictError) for one in answers) == 1
    assert desks[0].count("job") == desks[0].count("submission") == desks[0].count("due") == 100
    assert contended(logs) == []


async def test_two_nodes_do_not_adopt_one_id_at_once(desks: Desks) -> None:
    """Wake-ups that came during the looks named the same id to two jobs, and the provider answers to it for both."""
    for number in range(25):
        remote_id, at = f"c{number}", NOW + number
        jobs = [await desk.submit("waker", created_at=at) for desk in desks]
        for one in jobs:
            await desks[0].answer(one, at=at)
        with desks[0].store.driver.write() as tx:
            tx.run("UPDATE due SET run_at = 0 WHERE owner IS NULL")
        claimed = await desks[0].claim(at=at, provider="waker")
        for one in jobs:
            await desks[0].call(one, {"id": remote_id}, at=at)
        finding = Seen(seen=Observation(state=JobState.RUNNING, remote_id=remote_id))
        mine = [one for one in claimed if one.job.id in {job.id for job in jobs}]
        await asyncio.gather(
            *(desk.settle(one, finding, at=at) for desk, one in zip(desks, mine, strict=True))
        )
    assert desks[0].rows("SELECT max(n) FROM (SELECT count(*) AS n FROM job GROUP BY remote_id) AS x") == [
        (25,)
    ]


async def test_dead_letters_are_retried_or_dropped_once(desks: Desks, logs: list[EventDict]) -> None:
    """Two people at two nodes, in bulk and in different orders: each dispatch hears one of them."""
    await desks[0].register("h", only=False)
    for n in range(20):
        await desks[0].call(await desks[0].submitted(remote_id=f"r{n}"), DONE)
    works = [dispatch for dispatch, _ in await desks[0].work("h", at=NOW, limit=20)]
    for _ in range(5):
        await asyncio.gather(*(desks[0].finish(one, "failed", at=NOW) for one in works))
        again = [desk.store.retry_dispatch(one, now=NOW) for one in works for desk in desks]
        assert (await asyncio.gather(*shuffled(again))).count(True) == 20
        works = [dispatch for dispatch, _ in await desks[1].work("h", at=NOW, limit=20)]
    await asyncio.gather(*(desks[0].finish(one, "failed", at=NOW) for one in works))
    drops = [desk.store.discard_dispatch(one, now=NOW) for one in works for desk in desks]
    assert (await asyncio.gather(*shuffled(drops))).count(True) == 20
    assert desks[0].count("attempt", "outcome = 'discarded'") == 20
    assert contended(logs) == []


async def test_a_node_takes_nobodys_handlers_away(desks: Desks) -> None:
    """Whoever joins, leaves or comes back with another set: a completion goes to the handlers of all."""
    await desks[0].register("a", HandlerSpec(name="both", provider="acme"), only=False)
    await desks[1].register("b", HandlerSpec(name="both", provider="acme"), only=False)
    await desks[1].register("c", only=False)
    await desks[0].call(await desks[0].submitted(), DONE)
    assert desks[0].rows("SELECT handler FROM dispatch ORDER BY handler") == [
        (name,) for name in ("a", "b", "both", "c")
    ]


async def test_a_flood_on_two_nodes_stays_within_the_quota(desks: Desks) -> None:
    """Quarantine keeps no more than one node would, and its tally is what it holds, also while jobs are pruned."""
    quota = Quota(entries=20, size=100_000)
    old = [await desks[0].submitted(remote_id=f"r{n}", created_at=NOW - 30 * DAY + n) for n in range(30)]
    for one in old:
        await desks[0].call(one, FAILED, at=one.created_at)

    def flood(desk: Desk, number: int) -> Wish:
        job_id = old[number % 30].id if number % 2 else new_job().job.id
        one = callback(ACME, DONE, job_id=job_id, at=NOW - 29 * DAY, rejected="x")
        return desk.store.ingest(arrival(one, quota=quota))

    for start in range(0, 150, 30):
        wishes = [flood(desk, number) for number in range(start, start + 30) for desk in desks]
        wishes += [desk.store.prune(Prune(before=NOW, now=NOW)) for desk in desks if start == 60]
        await asyncio.gather(*shuffled(wishes))
    held = desks[0].count("callback", "verdict = 'rejected'")
    assert desks[0].rows("SELECT entries FROM quarantine") == [(held,)]
    assert quota.entries * 0.9 <= held <= quota.entries


async def test_two_nodes_make_one_job_of_one_name(desks: Desks) -> None:
    """One takes the event, the other learns at the same moment that it is about a caller's job: one job, one end."""
    await desks[0].register(HandlerSpec(name="h", state="any"))
    for number in range(25):
        remote_id, at = f"r{number}", NOW + number
        one = await desks[0].submit("wide", created_at=at, metadata={"order": number})
        await desks[0].answer(one, at=at)
        told = Link(job_id=one.id, provider="wide", remote_id=remote_id, now=at)
        working = {"status": "working", "id": remote_id}
        await asyncio.gather(
            desks[number % 2].call_wide(DONE | {"id": remote_id}, at=at),
            desks[1 - number % 2].store.link(told)
            if number % 3
            else desks[1 - number % 2].call(one, working, at=at),
        )
        record = await desks[0].store.record(one.id)
        assert (record.job.state, record.job.remote_id) == (JobState.SUCCEEDED, remote_id)
        assert len(record.dispatches) == 1
        assert desks[0].count("job") == number + 1
