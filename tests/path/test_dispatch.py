"""Handlers: each completion once, one attempt at a time, every failure kept, and every dispatch ends."""

import asyncio
import sqlite3
import threading
import time
from collections import Counter
from typing import Any

from structlog.testing import capture_logs

from receiver import Discard, Job, JobState, Receiver, Retry, idempotency_key
from receiver.core.model import Attempt, Dispatch
from receiver.storage.queries import Page

from .hurry import hurried
from .world import PATIENCE, REQUESTS, World, ended, until

SIGNED = "perplexity-webhook"


async def runs(world: World, receiver: Receiver, job: Job) -> list[Attempt]:
    """The attempts of handlers in the timeline."""
    return [one for one in (await world.record(receiver, job)).attempts if one.step == "dispatch"]


async def dead(receiver: Receiver) -> list[Dispatch]:
    """The dead letters."""
    return await receiver.running.store.dispatches(Page(state="dead"))


async def finished(receiver: Receiver, provider: str = SIGNED) -> Job:
    """A job of *provider* that has ended, and its handlers with it."""
    return await ended(receiver, await receiver.submit(provider, REQUESTS[provider]))


async def test_async_and_plain_functions_get_the_job_with_its_result(world: World) -> None:
    """A coroutine runs on the loop, a plain function in a thread of its own; both see the whole job."""
    seen: dict[str, tuple[Job, threading.Thread]] = {}

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED)
        async def on_the_loop(job: Job) -> None:
            seen["async"] = job, threading.current_thread()

        @receiver.on(SIGNED)
        def in_a_thread(job: Job) -> None:
            seen["plain"] = job, threading.current_thread()

    async with hurried(world, prepare) as receiver:
        job = await receiver.submit(SIGNED, REQUESTS[SIGNED], metadata={"topic": "tea"})
        await ended(receiver, job)
        for one, _thread in seen.values():
            assert (one.id, one.state, one.metadata) == (job.id, JobState.SUCCEEDED, {"topic": "tea"})
            assert one.result is not None
            assert one.result.size == len(one.result.content)
            assert "choices" in one.result.json()
        assert seen["async"][1] is threading.main_thread()
        assert seen["plain"][1] is not threading.main_thread()
        assert sorted((one.handler, one.outcome) for one in await runs(world, receiver, job)) == [
            ("in_a_thread", "succeeded"),
            ("on_the_loop", "succeeded"),
        ]


async def test_a_dead_letter_can_be_retried(world: World) -> None:
    """With a fresh row of attempts; once it succeeds it is gone."""
    working = asyncio.Event()
    keys: list[str] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, attempts=1)
        async def picky(_job: Job) -> None:
            keys.append(idempotency_key.get())
            if not working.is_set():
                raise ValueError("not yet")

    async with hurried(world, prepare) as receiver:
        job = await finished(receiver)
        (letter,) = await dead(receiver)
        working.set()
        running = receiver.running
        assert await running.store.retry_dispatch(letter, now=running.clock())
        await ended(receiver, job)
        assert await dead(receiver) == []
        assert [one.outcome for one in await runs(world, receiver, job)] == ["failed", "succeeded"]
        assert not await running.store.retry_dispatch(letter, now=running.clock())
        assert keys == [f"{job.id}:picky"] * 2


async def test_retry_waits_as_long_as_it_says_and_uses_up_attempts(world: World) -> None:
    """Retry(after=…) sets the wait, not the count: the last one makes a dead letter like any failure."""
    times: list[float] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, attempts=2, first_wait=60)
        async def later(_job: Job) -> None:
            times.append(time.monotonic())
            raise Retry(after=0.5)

    async with world.receiver(prepare) as receiver:
        job = await finished(receiver)
        assert [one.outcome for one in await runs(world, receiver, job)] == ["retry_requested"] * 2
        assert times[1] - times[0] >= 0.5
        assert [one.handler for one in await dead(receiver)] == ["later"]


async def test_an_error_of_a_handler_is_a_warning_though_it_is_called_again(world: World) -> None:
    """Whoever reads warnings only hears of an error and of a timeout at once; a wait that was asked for is no news."""
    ways = iter((ValueError("broken"), None, Retry(after=0.01)))

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, name="h", attempts=5, first_wait=0.01, timeout=0.1)
        async def fails(_job: Job) -> None:
            if (raised := next(ways, StopIteration)) is None:
                await asyncio.sleep(PATIENCE)
            if isinstance(raised, Exception):
                raise raised

    with capture_logs() as lines:
        async with hurried(world, prepare) as receiver:
            await finished(receiver)
    assert [(one["event"], one["log_level"]) for one in lines if one["event"].startswith("dispatch_")] == [
        ("dispatch_failed", "warning"),
        ("dispatch_timed_out", "warning"),
        ("dispatch_retry_requested", "info"),
        ("dispatch_succeeded", "info"),
    ]


async def test_discard_is_final(world: World) -> None:
    """A discarded completion is not called for again, and is no dead letter."""
    calls = Counter[str]()

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, first_wait=0.01)
        def unwanted(job: Job) -> None:
            calls[job.id] += 1
            raise Discard

    async with hurried(world, prepare) as receiver:
        job = await finished(receiver)
        await asyncio.sleep(0.1)
        assert calls == {job.id: 1}
        assert [one.outcome for one in await runs(world, receiver, job)] == ["discarded"]
        assert (await world.record(receiver, job)).dispatches == []


ENDS_THE_PROCESS = """
import os, time
from pathlib import Path
from receiver import Receiver
receiver = Receiver()

def note(name, job):
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write(f"{name} {job.id}\\n")

@receiver.on(state="any", name="deadly", attempts=2, first_wait=0.01)
def deadly(job):
    note("deadly", job)
    if job.metadata.get("deadly"):
        while not Path("seen").exists():  # the process, alive
            time.sleep(0.01)
        os._exit(3)

@receiver.on(state="any", name="fine")
def fine(job):
    note("fine", job)
"""


async def test_a_handler_that_kills_the_process_ends_as_a_dead_letter(world: World) -> None:
    """An attempt is counted before it runs: after its attempts it is dead, and everything else goes on."""

    def noted() -> list[str]:
        return world.runs.read_text(encoding="utf-8").splitlines() if world.runs.exists() else []

    async with world.process(ENDS_THE_PROCESS) as process:
        submitted = []
        for deadly in (True, False):
            answer = await process.request(
                "POST",
                "/v1/jobs",
                json={
                    "provider": SIGNED,
                    "request": REQUESTS[SIGNED],
                    "metadata": {"deadly": deadly},
                },
            )
            submitted.append(answer.json()["id"])
        fatal, harmless = submitted

        async def called_back() -> bool:
            states = [(await process.request("GET", f"/v1/jobs/{one}")).json()["state"] for one in submitted]
            return states == ["succeeded"] * 2

        # Whoever calls back while nobody listens may give up.
        await until(called_back)
        seen = world.folder / "seen"
        for _ in range(2):
            seen.touch()
            assert process.running is not None
            assert await asyncio.to_thread(process.running.wait, PATIENCE) == 3
            seen.unlink()
            await process.start()

        async def buried() -> bool:
            answer = await process.request("GET", "/v1/dispatches?state=dead")
            return [one["job_id"] for one in answer.json()["dispatches"]] == [fatal]

        await until(buried)
        await until(lambda: {f"fine {fatal}", f"fine {harmless}", f"deadly {harmless}"} <= set(noted()))
        assert noted().count(f"deadly {fatal}") == 2
        assert (await process.request("GET", "/livez")).is_success


async def test_a_handler_runs_no_more_often_at_once_than_it_allows(world: World) -> None:
    """concurrency=2: never three at once, and all of them in the end."""
    running, most, done = 0, 0, 0

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, concurrency=2)
        async def narrow(_job: Job) -> None:
            nonlocal running, most, done
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.05)
            running -= 1
            done += 1

    async with hurried(world, prepare) as receiver:
        await asyncio.gather(*(receiver.submit(SIGNED, REQUESTS[SIGNED]) for _ in range(8)))
        await until(lambda: done == 8)
        assert most == 2


async def test_a_hot_handler_does_not_starve_another(world: World) -> None:
    """With a backlog of one handler, another's completion is handled before the backlog is."""
    hot, cold = Counter[str](), asyncio.Event()

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, concurrency=1, name="hot")
        async def crowded(job: Job) -> None:
            hot[job.id] += 1
            if len(hot) > 2:
                await cold.wait()

        @receiver.on("netnut", name="cold")
        def lonely(_job: Job) -> None:
            loop.call_soon_threadsafe(cold.set)

    loop = asyncio.get_running_loop()
    async with hurried(world, prepare) as receiver:
        await asyncio.gather(*(receiver.submit(SIGNED, REQUESTS[SIGNED]) for _ in range(8)))
        await until(lambda: len(hot) >= 1)
        await receiver.submit("netnut", REQUESTS["netnut"])
        await until(cold.is_set)
        await until(lambda: len(hot) == 8)


async def test_a_handler_gets_what_it_asked_for_and_nothing_else(world: World) -> None:
    """By provider and by state; without a state a handler gets successes."""
    seen: dict[str, list[tuple[str, str]]] = {}

    def prepare(receiver: Receiver) -> None:
        wishes: dict[str, tuple[str | None, dict[str, Any]]] = {
            "every success": (None, {}),
            "signed success": (SIGNED, {}),
            "every end": (None, {"state": "any"}),
            "every failure": (None, {"state": "failed"}),
            "netnut failure": ("netnut", {"state": "failed"}),
            "time-out": (None, {"state": "timed_out"}),
        }
        for name, (provider, options) in wishes.items():
            seen[name] = []

            def handler(job: Job, name: str = name) -> None:
                seen[name].append((job.provider, job.state.value))

            receiver.on(provider, name=name.replace(" ", "_"), **options)(handler)

    world.simulator.faults("pulse", "failed")
    world.simulator.faults("perplexity", "never")
    async with hurried(world, prepare) as receiver:
        jobs = [
            await receiver.submit(SIGNED, REQUESTS[SIGNED]),
            await receiver.submit("netnut", REQUESTS["netnut"]),
            await receiver.submit("pulse", REQUESTS["pulse"]),
            await receiver.submit("perplexity", REQUESTS["perplexity"], deadline=0.5),
        ]
        for job in jobs:
            await ended(receiver, job)
    successes = [("netnut", "succeeded"), (SIGNED, "succeeded")]
    others = [("perplexity", "timed_out"), ("pulse", "failed")]
    assert {name: sorted(found) for name, found in seen.items()} == {
        "every success": successes,
        "signed success": successes[1:],
        "every end": sorted(successes + others),
        "every failure": others[1:],
        "netnut failure": [],
        "time-out": others[:1],
    }


async def test_two_hundred_jobs_are_handled_once_each(world: World) -> None:
    """Submitted together, called back together: every completion reaches the handler exactly once."""
    calls = Counter[str]()

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED)
        async def count(job: Job) -> None:
            calls[job.id] += 1

    async with hurried(world, prepare) as receiver:
        jobs = await asyncio.gather(*(receiver.submit(SIGNED, REQUESTS[SIGNED]) for _ in range(200)))
        await until(lambda: len(calls) == 200)
        for job in jobs:
            await ended(receiver, job)
        assert set(calls) == {job.id for job in jobs}
        assert set(calls.values()) == {1}
        assert len(world.simulator.jobs(SIGNED)) == 200


async def test_an_attempt_that_could_not_be_recorded_comes_back(world: World) -> None:
    """The database refused a handler's outcome: its lease lapses though this process lives on, and it runs again."""
    world.environ["RECEIVER_LEASE"] = "1"
    calls: list[str] = []
    mended = asyncio.Event()

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED)
        async def unlucky(_job: Job) -> None:
            calls.append(idempotency_key.get())
            if len(calls) == 2:
                await mended.wait()

    async with world.receiver(prepare) as receiver:
        database = sqlite3.connect(world.folder / "receiver.db", isolation_level=None)
        database.execute("CREATE TRIGGER no BEFORE DELETE ON dispatch BEGIN SELECT RAISE(ABORT, 'no'); END")
        job = await receiver.submit(SIGNED, REQUESTS[SIGNED])
        await until(lambda: len(calls) == 2)
        database.execute("DROP TRIGGER no")
        database.close()
        mended.set()
        await ended(receiver, job)
        assert calls == [f"{job.id}:unlucky"] * 2


async def test_a_coroutine_in_disguise_is_no_success(world: World) -> None:
    """A plain function that returns a coroutine has done nothing: an object that is called async is awaited."""
    seen: list[str] = []

    class Callable:
        async def __call__(self, _job: Job) -> None:
            seen.append("called")

    async def inner(_job: Job) -> None:
        seen.append("never")

    def disguised(job: Job) -> object:
        return inner(job)

    def prepare(receiver: Receiver) -> None:
        receiver.on(SIGNED, name="object")(Callable())
        receiver.on(SIGNED, name="disguised", attempts=1)(disguised)

    async with hurried(world, prepare) as receiver:
        job = await finished(receiver)
        assert {one.handler: one.outcome for one in await runs(world, receiver, job)} == {
            "object": "succeeded",
            "disguised": "failed",
        }
        assert seen == ["called"]
