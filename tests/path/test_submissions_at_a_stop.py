"""Submissions whose answers have not come when the process is told to stop."""

import asyncio
import signal

import pytest

from receiver import JobState

from .test_submission_outcomes import QUIET, posts
from .world import PATIENCE, REQUESTS, World, until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_submission_gets_the_seconds_that_a_stop_has(world: World, number: signal.Signals) -> None:
    """Its answer is waited for when the process is told to stop, also by a terminal that is closed: then it ends."""
    world.simulator.faults("netnut", {"name": "submit_slow", "seconds": 4})
    async with world.process(QUIET) as process:
        order = {"provider": "netnut", "request": REQUESTS["netnut"]}
        sending = asyncio.create_task(process.request("POST", "/v1/jobs", json=order))
        await until(lambda: posts(world, "netnut") == 1)
        assert process.running is not None
        process.running.send_signal(number)
        answered = await sending
        assert (answered.status_code, answered.json()["remote_id"]) == (
            202,
            world.simulator.jobs("netnut")[0].id,
        )
        assert await asyncio.to_thread(process.running.wait, PATIENCE) == 0


async def test_who_waits_longer_than_a_stop_may_take_is_told_the_id(world: World) -> None:
    """The provider has the job and says nothing: nobody is cut off, who would submit it a second time."""
    world.simulator.faults("netnut", {"name": "submit_slow", "seconds": 15})
    async with world.process(QUIET) as process:
        order = {"provider": "netnut", "request": REQUESTS["netnut"]}
        sending = asyncio.create_task(process.request("POST", "/v1/jobs", json=order))
        await until(lambda: posts(world, "netnut") == 1)
        assert process.running is not None
        process.running.terminate()
        answered = await sending
        assert (answered.status_code, answered.json()["code"]) == (500, "outcome_unknown")
        assert await asyncio.to_thread(process.running.wait, PATIENCE) == 0
    async with world.receiver() as receiver:
        assert (await receiver.job(answered.json()["id"])).state is JobState.SUBMITTING
