"""Cancelling: the wish is recorded at once, sent once there is something to cancel, and believed when observed."""

import asyncio

import httpx
import pytest

from receiver import JobState
from receiver.core.errors import ConflictError, NotFoundError
from receiver.core.model import Source
from receiver.storage.queries import Page

from .hurry import hurried
from .world import API_TOKEN, REQUESTS, World, ended, until


@pytest.mark.parametrize("provider", ["pulse", "perplexity-webhook", "yandex"])
async def test_a_running_job_is_canceled_at_its_provider(world: World, provider: str) -> None:
    """The provider is asked to stop, and the job ends as canceled because it says so."""
    world.simulator.faults(provider, "never")
    async with hurried(world) as receiver:
        job = await receiver.submit(provider, REQUESTS[provider])
        asked = await receiver.cancel(job.id)
        assert asked.cancel_requested_at is not None
        assert not asked.state.ended
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.CANCELED, Source.CANCEL)
        assert world.simulator.jobs(provider)[0].state == "canceled"
        again = await receiver.running.store.record(job.id)
        assert [one.outcome for one in again.attempts if one.step == "cancel"] == ["asked"]


async def test_a_cancellation_waits_for_the_submit_answer(world: World) -> None:
    """Asked for while the submission is under way, it is sent as soon as the provider's id is known."""
    world.simulator.faults("pulse", {"name": "submit_slow", "seconds": 0.6}, "never")
    async with hurried(world) as receiver:
        sending = asyncio.create_task(receiver.submit("pulse", REQUESTS["pulse"]))
        await until(lambda: len(world.simulator.jobs("pulse")) == 1)
        (recorded,) = await receiver.running.store.jobs(Page())
        await receiver.cancel(recorded.id)
        assert [one.method for one in world.simulator.requests("pulse")] == ["POST"]
        job = await sending
        assert job.id == recorded.id
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.CANCELED, Source.CANCEL)
        assert [one.method for one in world.simulator.requests("pulse")][:2] == ["POST", "DELETE"]


@pytest.mark.parametrize("provider", ["netnut", "perplexity"])
async def test_a_provider_without_a_way_to_cancel_is_told_about(world: World, provider: str) -> None:
    """`cancel_unsupported`, and the job goes on."""
    async with hurried(world) as receiver, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        job = await receiver.submit(provider, REQUESTS[provider])
        with pytest.raises(ConflictError) as caught:
            await receiver.cancel(job.id)
        assert caught.value.code == "cancel_unsupported"
        answer = await client.delete(
            f"{world.url}/v1/jobs/{job.id}", headers={"authorization": f"Bearer {API_TOKEN}"}
        )
        assert (answer.status_code, answer.json()["code"]) == (409, "cancel_unsupported")
        assert (await receiver.job(job.id)).cancel_requested_at is None
        assert (await ended(receiver, job)).state is JobState.SUCCEEDED


async def test_a_job_that_has_ended_is_not_canceled(world: World) -> None:
    """`job_ended`, and nothing is sent; a job that is not there is not found."""
    async with hurried(world) as receiver:
        job = await ended(receiver, await receiver.submit("pulse", REQUESTS["pulse"]))
        with pytest.raises(ConflictError) as caught:
            await receiver.cancel(job.id)
        assert caught.value.code == "job_ended"
        assert (await receiver.job(job.id)).state is JobState.SUCCEEDED
        assert "DELETE" not in [one.method for one in world.simulator.requests("pulse")]
        with pytest.raises(NotFoundError):
            await receiver.cancel(job.id[:-1] + ("0" if job.id[-1] != "0" else "1"))


async def test_a_result_that_was_faster_than_the_cancellation_wins(world: World) -> None:
    """What the provider says first is the outcome: a wish to cancel changes nothing about a success."""
    world.simulator.faults("pulse", "never", "lost")
    world.simulator.clear_pulse_webhook()  # nor is its beginning told
    async with hurried(world) as receiver:
        job = await receiver.submit("pulse", REQUESTS["pulse"])
        world.simulator.release(world.simulator.jobs("pulse")[0].id)
        await receiver.cancel(job.id)
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.POLL)
