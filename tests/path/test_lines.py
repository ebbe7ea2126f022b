"""Ordered handlers in whole receivers: the order holds through retries, a killed process and two nodes."""

import asyncio
import random
from itertools import groupby

from receiver import Job, Receiver
from tests.path.test_nodes import node

from .hurry import hurried
from .world import REQUESTS, Process, World, until

SIGNED = "perplexity-webhook"
SLOW = """
import os, time
from pathlib import Path
from receiver import Receiver
receiver = Receiver()

def note(word, job):
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write(f"{word} {job.metadata['customer']} {job.id}\\n")

@receiver.on(ordered_by="metadata.customer", first_wait=0.05, name="slow")
def slow(job):
    note("begin", job)
    time.sleep(0.25)
    note("end", job)
"""


async def told(receiver: Receiver, customers: dict[str, str]) -> dict[str, list[str]]:
    """The jobs of each customer in the order in which they were completed."""
    found: dict[str, list[str]] = {}
    async for one in receiver.completions():
        found.setdefault(customers[one.job.id], []).append(one.job.id)
        if sum(map(len, found.values())) == len(customers):
            break
    return found


async def submitted(receiver: Receiver, many: int, customers: int) -> dict[str, str]:
    """So many jobs, each with its customer."""
    names = [f"c{n % customers}" for n in range(many)]
    jobs = await asyncio.gather(
        *(receiver.submit(SIGNED, REQUESTS[SIGNED], metadata={"customer": one}) for one in names)
    )
    return {job.id: name for job, name in zip(jobs, names, strict=True)}


async def test_retries_keep_the_order(world: World) -> None:
    """Half of the attempts fail, and still each customer's jobs end one after the other, in the feed's order."""
    begun: list[tuple[str, str]] = []
    running: set[str] = set()
    overlaps: list[str] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(
            SIGNED, ordered_by="metadata.customer", first_wait=0.1, longest_wait=0.1, circuit=0, attempts=99
        )
        async def flaky(job: Job) -> None:
            customer = job.metadata["customer"]
            # Raised here it would be one more attempt that fails.
            overlaps.extend({customer} & running)
            running.add(customer)
            await asyncio.sleep(0.005)
            running.remove(customer)
            if random.random() < 0.5:
                raise ConnectionError
            begun.append((customer, job.id))

    async with hurried(world, prepare) as receiver:
        customers = await submitted(receiver, 24, 3)
        await until(lambda: len(begun) == 24)
        for customer, jobs in (await told(receiver, customers)).items():
            assert [job for name, job in begun if name == customer] == jobs
    assert overlaps == []


async def test_a_dead_one_blocks_its_key_and_no_other(world: World) -> None:
    """Until a person retries it; then everything behind it follows in order."""
    broken = True
    done: list[str] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, ordered_by="metadata.customer", attempts=1)
        async def picky(job: Job) -> None:
            if broken and job.metadata["customer"] == "a":
                raise ValueError("not yet")
            done.append(job.id)

    async with hurried(world, prepare) as receiver:
        store, jobs = receiver.running.store, []
        for customer in ("a", "a", "b", "a"):
            one = await receiver.submit(SIGNED, REQUESTS[SIGNED], metadata={"customer": customer})
            await receiver.wait(one.id, timeout=40)
            jobs.append(one.id)
        await until(lambda: done == [jobs[2]])

        async def blocked() -> bool:
            (one,) = await store.registered()
            return (one.waiting, one.dead) == (2, 1)

        await until(blocked)
        broken = False
        dead = await store.dispatch(jobs[0], handler="picky", replay_id="")
        assert await store.retry_dispatch(dead, now=receiver.running.clock())
        await until(lambda: len(done) == 4)
        assert done == [jobs[2], jobs[0], jobs[1], jobs[3]]


async def submitted_at(process: Process, many: int, customers: int) -> list[str]:
    """So many jobs, ordered of a process; they have been completed."""

    async def submit(customer: str) -> str:
        document = {"provider": SIGNED, "request": REQUESTS[SIGNED], "metadata": {"customer": customer}}
        return str((await process.request("POST", "/v1/jobs", json=document)).json()["id"])

    jobs = await asyncio.gather(*(submit(f"c{n % customers}") for n in range(many)))

    async def completed() -> bool:
        return len(await feed(process)) == len(jobs)

    await until(completed)
    return list(jobs)


async def feed(process: Process) -> list[tuple[str, str]]:
    """Customer and job of each completion, in their order."""
    page = (await process.request("GET", "/v1/completions")).json()["completions"]
    return [(one["job"]["metadata"]["customer"], one["job"]["id"]) for one in page]


def check_order(world: World, told: list[tuple[str, str]], *, kills: int) -> None:
    """What was begun and not ended was cut short, and is begun again before anything else of its customer is.

    So is, once for each kill, what had ended when that was not recorded yet.
    """
    for customer in {name for name, _ in told}:
        mine = [(word, job) for word, name, job in runs(world) if name == customer]
        assert [job for job, _ in groupby(job for _, job in mine)] == [
            job for name, job in told if name == customer
        ]
        ends = [job for word, job in mine if word == "end"]
        assert len(ends) <= len(set(ends)) + kills


async def test_a_killed_process_keeps_the_order(world: World) -> None:
    """Kill -9 in the middle: the one that was interrupted comes again first, and none before its time."""
    async with world.process(SLOW) as process:
        jobs = await submitted_at(process, 16, 2)

        def ended() -> bool:
            return {job for word, _, job in runs(world) if word == "end"} == set(jobs)

        for _ in range(2):
            before = len(runs(world))
            # On a machine that is very slow there may be nothing left to be killed.
            await until(lambda before=before: len(runs(world)) >= before + 3 or ended())
            process.kill()
            await process.start()
        await until(ended)
        told = await feed(process)
    check_order(world, told, kills=2)


async def test_another_node_goes_on_in_order_after_a_killed_one(world: World, migrated_url: str) -> None:
    """What the killed one ran is held by its lease, and so are those behind it; then another node goes on."""
    world.environ |= {"RECEIVER_DATABASE_URL": migrated_url, "RECEIVER_LEASE": "4"}

    def prepare(receiver: Receiver) -> None:
        @receiver.on(ordered_by="metadata.customer", first_wait=0.05, name="slow")
        async def slow(job: Job) -> None:
            note(world, "begin", job)
            await asyncio.sleep(0.05)
            note(world, "end", job)

    # It does not come to an end of what there is before it is killed.
    few = "30 if Path(os.environ['RUNS']).read_text().count('begin') > 4 else 0.25"
    async with world.process(SLOW.replace("0.25", few)) as process:
        jobs = await submitted_at(process, 12, 2)
        told = await feed(process)
        await until(lambda: len(runs(world)) >= 3)
        async with node(world, prepare):
            process.kill()
            killed_at = len(runs(world))
            await until(lambda: {job for word, _, job in runs(world) if word == "end"} == set(jobs))
    check_order(world, told, kills=1)
    assert len(runs(world)) > killed_at


def note(world: World, word: str, job: Job) -> None:
    """Note what a handler of this process does, as those of others do."""
    with world.runs.open("a", encoding="utf-8") as file:
        file.write(f"{word} {job.metadata['customer']} {job.id}\n")


def runs(world: World) -> list[tuple[str, ...]]:
    """What the handler noted: begin or end, customer, job."""
    if not world.runs.exists():
        return []
    return [tuple(line.split()) for line in world.runs.read_text(encoding="utf-8").splitlines()]


async def test_two_nodes_keep_the_order(world: World, migrated_url: str) -> None:
    """Both run the handler, never two jobs of a customer at once, and each customer's in the feed's order."""
    world.environ["RECEIVER_DATABASE_URL"] = migrated_url
    ends: list[tuple[str, str, str]] = []
    running: set[str] = set()
    overlaps: list[str] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, ordered_by="metadata.customer", name="h", concurrency=2)
        async def handle(job: Job) -> None:
            customer = job.metadata["customer"]
            overlaps.extend({customer} & running)
            running.add(customer)
            await asyncio.sleep(0.02)
            running.remove(customer)
            ends.append((receiver.running.node.name, customer, job.id))

    async with (
        node(world, prepare, port=world.port) as hears,
        node(world, prepare),
    ):
        customers = await submitted(hears, 20, 4)
        await until(lambda: len(ends) == 20)
        order = await told(hears, customers)
    assert overlaps == []
    assert len({name for name, _, _ in ends}) == 2
    for customer, jobs in order.items():
        assert [job for _, name, job in ends if name == customer] == jobs
