"""Submissions whose answers have not come when the process is told to stop."""

import asyncio
import signal

import httpx
import pytest

from receiver import JobState

from .test_submission_outcomes import QUIET, posts
from .world import PATIENCE, REQUESTS, World, until


async def stopped(world: World, number: signal.Signals, *, seconds: int) -> httpx.Response:
    """What the caller hears of a submission, answered after *seconds*, if its process is told to stop meanwhile."""
    world.simulator.faults("netnut", {"name": "submit_slow", "seconds": seconds})
    async with world.process(QUIET) as process:
        order = {"provider": "netnut", "request": REQUESTS["netnut"]}
        sending = asyncio.create_task(process.request("POST", "/v1/jobs", json=order))
        await until(lambda: posts(world, "netnut") == 1)
        assert process.running is not None
        process.running.send_signal(number)
        answered = await sending
        assert await asyncio.to_thread(process.running.wait, PATIENCE) == 0
    return answered


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_submission_gets_the_seconds_that_a_stop_has(world: World, number: signal.Signals) -> None:
    """Its answer is waited for when the process is told to stop, also by a terminal that is closed: then it ends."""
    answered = await stopped(world, number, seconds=4)
    remote_id = world.simulator.jobs("netnut")[0].id
    assert (answered.status_code, answered.json()["remote_id"]) == (202, remote_id)


async def test_who_waits_longer_than_a_stop_may_take_is_told_the_id(world: World) -> None:
    """The provider has the job and says nothing: nobody is cut off, who would submit it a second time."""
    answered = await stopped(world, signal.SIGTERM, seconds=15)
    assert (answered.status_code, answered.json()["code"]) == (500, "outcome_unknown")
    async with world.receiver() as receiver:
        assert (await receiver.job(answered.json()["id"])).state is JobState.SUBMITTING
