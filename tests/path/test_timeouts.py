"""A handler that takes too long: stopped where that can be, and waited for where it cannot."""

import asyncio
import threading
import time

import httpx

from receiver import Job, JobState, Receiver

from .hurry import hurried
from .test_dispatch import SIGNED, dead, finished, runs
from .world import PATIENCE, REQUESTS, World, until


async def test_an_async_handler_is_stopped_at_its_timeout(world: World) -> None:
    """It is cancelled where it waits, and its attempt has failed with `handler_timeout`."""
    stopped = asyncio.Event()

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, attempts=1, timeout=0.1)
        async def slow(_job: Job) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()

    async with hurried(world, prepare) as receiver:
        job = await finished(receiver)
        assert stopped.is_set()
        (run,) = await runs(world, receiver, job)
        assert (run.outcome, run.code) == ("timed_out", "handler_timeout")
        assert [one.error and one.error.code for one in await dead(receiver)] == ["handler_timeout"]


async def test_a_plain_function_that_outlives_its_timeout_keeps_its_slot_and_its_lease(world: World) -> None:
    """It cannot be stopped, so it is waited for: never twice at once, past the lease too, then it has failed."""
    world.environ["RECEIVER_LEASE"] = "1"
    running, most, calls = 0, 0, 0
    lock = threading.Lock()

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, attempts=2, timeout=0.1, concurrency=1, first_wait=0.01, longest_wait=0.01)
        def slow(_job: Job) -> None:
            nonlocal running, most, calls
            with lock:
                running, calls = running + 1, calls + 1
                most = max(most, running)
            time.sleep(1.4 if calls == 1 else 0.2)
            with lock:
                running -= 1

    async with world.receiver(prepare) as receiver:
        job = await finished(receiver)
        assert (most, calls) == (1, 2)
        found = [(one.number, one.outcome, one.duration_ms) for one in await runs(world, receiver, job)]
        assert [one[:2] for one in found] == [(1, "timed_out"), (2, "timed_out")]
        assert found[0][2] >= 1400
        assert len(await dead(receiver)) == 1


async def test_a_blocking_handler_does_not_delay_acknowledgements(world: World) -> None:
    """While plain functions sleep in every slot, callbacks are taken and answered."""
    begun, go_on = threading.Event(), threading.Event()

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, concurrency=4)
        def blocks(_job: Job) -> None:
            begun.set()
            go_on.wait(PATIENCE)

    async with world.receiver(prepare) as receiver:
        await asyncio.gather(*(receiver.submit(SIGNED, REQUESTS[SIGNED]) for _ in range(4)))
        try:
            await until(begun.is_set)
            job = await receiver.submit("netnut", {**REQUESTS["netnut"], "async": False})
            async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE / 2) as client:
                answer = await client.post(world.callback_url("netnut"), json={"response": {"text": "x"}})
            assert answer.status_code == 200
            assert (await receiver.job(job.id)).state is JobState.SUCCEEDED
        finally:
            go_on.set()
        await world.simulator.idle(timeout=60)
