"""Handlers that fit a team, in a whole receiver: filters, readings of results, ages, rates, progress and new names."""

import asyncio
from collections import Counter

import msgspec

from receiver import Job, JobState, Receiver, idempotency_key
from receiver.clock import read_clock
from receiver.core.model import SECOND, Attempt
from receiver.storage import circuits
from receiver.storage.queries import Page

from .hurry import hurried
from .test_nodes import node
from .world import REQUESTS, World, ended, until

SIGNED = "perplexity-webhook"


class Choice(msgspec.Struct):
    """A part of what Perplexity answers."""

    index: int


class Report(msgspec.Struct):
    """What Perplexity answers, as far as anybody here wants it."""

    choices: list[Choice]


class Unlike(msgspec.Struct):
    """What it does not answer."""

    choices: list[str]


async def runs(world: World, receiver: Receiver, job: Job, handler: str) -> list[Attempt]:
    """The attempts of a handler in the timeline."""
    found = (await world.record(receiver, job)).attempts
    return [one for one in found if one.step == "dispatch" and one.handler == handler]


async def test_filters_decide_what_a_handler_is_called_for(world: World) -> None:
    """Metadata before anything is dispatched, `where` before the function is called; that leaves a line."""
    seen: list[tuple[str, str]] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, metadata={"customer": "a"})
        async def of_a(job: Job) -> None:
            seen.append(("of_a", job.id))

        @receiver.on(SIGNED, where=lambda job: job.metadata["pages"] > 1)
        def long_ones(job: Job) -> None:
            seen.append(("long_ones", job.id))

    async with hurried(world, prepare) as receiver:
        one, other = [
            await receiver.submit(SIGNED, REQUESTS[SIGNED], metadata={"customer": customer, "pages": pages})
            for customer, pages in (("a", 1), ("b", 2))
        ]
        await ended(receiver, one)
        await ended(receiver, other)
        assert sorted(seen) == sorted([("of_a", one.id), ("long_ones", other.id)])
        assert await runs(world, receiver, other, "of_a") == []
        (said_no,) = await runs(world, receiver, one, "long_ones")
        assert (said_no.outcome, said_no.code) == ("discarded", "not_wanted")


async def test_a_result_is_read_as_the_annotation_says(world: World) -> None:
    """One that does not fit is a dead letter at once, with the field in its words; once mended it is retried."""
    seen: list[tuple[int, str]] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED)
        async def reads(report: Report, job: Job) -> None:
            seen.append((report.choices[0].index, job.id))

        @receiver.on(SIGNED, attempts=5)
        def misreads(report: Unlike) -> None:
            raise AssertionError("it is not called")

    def mended(receiver: Receiver) -> None:
        @receiver.on(SIGNED, name="misreads")
        def reads(report: Report, job: Job) -> None:
            seen.append((report.choices[0].index, job.id))

    async with hurried(world, prepare) as receiver:
        job = await ended(receiver, await receiver.submit(SIGNED, REQUESTS[SIGNED]))
        assert seen == [(0, job.id)]
        (letter,) = await receiver.running.store.dispatches(Page(state="dead"))
        assert letter.error is not None
        assert (letter.handler, letter.attempt, letter.error.code) == ("misreads", 1, "result_unfit")
        assert "does not fit Unlike: choices[0]: Expected `str`, got `object`" in letter.error.text
    async with hurried(world, mended) as receiver:
        assert await receiver.running.store.retry_dispatch(letter, now=receiver.running.clock())
        await ended(receiver, job)
        assert seen == [(0, job.id)] * 2
        assert (await world.record(receiver, job)).dispatches == []


async def test_what_is_too_old_is_not_called_unless_a_person_says_so(world: World) -> None:
    """It is a dead letter; retried by hand, or replayed, its age begins anew."""
    calls: list[str] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, max_age=2, first_wait=4, longest_wait=4)
        async def picky(job: Job) -> None:
            calls.append(job.id)
            if len(calls) == 1:
                raise ConnectionError("not now")

    async with hurried(world, prepare) as receiver:
        job = await ended(receiver, await receiver.submit(SIGNED, REQUESTS[SIGNED]))
        assert [one.outcome for one in await runs(world, receiver, job, "picky")] == ["failed", "too_old"]
        (letter,) = await receiver.running.store.dispatches(Page(state="dead"))
        assert letter.error is not None
        assert letter.error.code == "too_old"
        assert await receiver.running.store.retry_dispatch(letter, now=receiver.running.clock())
        await ended(receiver, job)
        assert len(calls) == 2
        assert receiver.running.clock() - (job.ended_at or 0) > 2 * SECOND
        await receiver.replay(job.id)
        await until(lambda: len(calls) == 3)
        await ended(receiver, job)
        assert (await world.record(receiver, job)).dispatches == []


async def test_a_rate_spreads_attempts_over_time(world: World) -> None:
    """Whatever waits at once, no more of them begin a second than that."""
    began: list[int] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, rate=1)
        async def slow(_job: Job) -> None:
            began.append(receiver.running.clock())

    async with hurried(world, prepare) as receiver:
        await asyncio.gather(*(receiver.submit(SIGNED, REQUESTS[SIGNED]) for _ in range(8)))
        await until(lambda: len(began) == 8)
    # One may begin at once.
    assert began[-1] - began[0] >= 6 * SECOND


async def test_nodes_share_a_rate(world: World, migrated_url: str) -> None:
    """Two together begin as many as one would, each half of them; who only takes callbacks has no part in it."""
    world.environ["RECEIVER_DATABASE_URL"] = migrated_url
    began: list[str] = []
    now = read_clock()

    def prepare(receiver: Receiver) -> None:
        # One clock for all, which stands still but where it is set: what a span of it lets begin can be counted.
        receiver._clock = lambda: now

        @receiver.on(SIGNED, rate=4, name="slow")
        async def slow(_job: Job) -> None:
            began.append(receiver.running.node.name)

    async with (
        node(world, prepare, port=world.port, worker=False) as hears,
        node(world, prepare) as one,
        node(world, prepare) as other,
    ):

        async def go_on() -> None:
            nonlocal now
            while True:
                await asyncio.sleep(0.01)
                now += 50

        def looked() -> int:
            for each in (one, other):
                each.running.notify()
            return len(began)

        # Each knows of the other before anything is due, and everything is due at once.
        await until(lambda: [each.running.presence.workers for each in (one, other)] == [2, 2])
        store = hears.running.store
        await store.write(circuits.pause, ("slow", "ada", 0))
        going = asyncio.create_task(go_on())
        await asyncio.gather(*(hears.run(SIGNED, REQUESTS[SIGNED], timeout=30) for _ in range(12)))
        going.cancel()
        assert await store.write(circuits.resume, "slow")
        # A second's worth begins at once, and then in each half of a second half as many.
        for many in (4, 6, 8, 10, 12):
            await until(lambda many=many: looked() >= many)
            for _ in range(5):
                await asyncio.sleep(0.02)
                assert looked() == many
            now += SECOND // 2
    assert sorted(Counter(began).values()) == [6, 6]


async def test_progress_is_heard_on_the_way(world: World) -> None:
    """`running` is told once, when a poll first sees it, without a result, and before the end."""
    seen: list[tuple[str, str, bool]] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on("perplexity", state="running")
        async def show(job: Job) -> None:
            seen.append(("show", idempotency_key.get().removeprefix(job.id), job.result is None))

        @receiver.on("perplexity")
        async def save(job: Job) -> None:
            seen.append(("save", idempotency_key.get().removeprefix(job.id), job.result is None))

    world.simulator.faults("perplexity", "never")
    async with hurried(world, prepare) as receiver:
        job = await receiver.submit("perplexity", REQUESTS["perplexity"])
        await until(lambda: len(seen) == 1)
        world.simulator.release(world.simulator.jobs("perplexity")[0].id)
        assert (await ended(receiver, job)).state is JobState.SUCCEEDED
        await until(lambda: len(seen) == 2)
    assert seen == [("show", ":show:running", True), ("save", ":save", False)]


async def test_a_renamed_handler_goes_on_with_what_waits(world: World) -> None:
    """The idempotency key of what waited is the one that it was called with before."""
    keys: list[str] = []

    def before(receiver: Receiver) -> None:
        @receiver.on(SIGNED, name="save_report", first_wait=600)
        async def fails(_job: Job) -> None:
            keys.append(idempotency_key.get())
            raise ConnectionError

    def after(receiver: Receiver) -> None:
        @receiver.on(SIGNED, name="keep_report", aliases=["save_report"])
        async def works(_job: Job) -> None:
            keys.append(idempotency_key.get())

    async with hurried(world, before) as receiver:
        first = await receiver.submit(SIGNED, REQUESTS[SIGNED])
        await until(lambda: len(keys) == 1)
    async with hurried(world, after, pace=1) as receiver:
        second = await ended(receiver, await receiver.submit(SIGNED, REQUESTS[SIGNED]))
        with receiver.running.store.driver.write() as tx:
            tx.run("UPDATE dispatch SET run_at = 0")
        await ended(receiver, first)
    assert sorted(keys) == sorted([f"{first.id}:save_report"] * 2 + [f"{second.id}:keep_report"])
