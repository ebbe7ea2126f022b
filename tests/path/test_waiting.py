"""Waiting for a job, and following all of them, in the library."""

import asyncio

import pytest

from receiver import Receiver
from receiver.core.errors import NotFoundError
from receiver.steps.wait import WaitTimeoutError

from .hurry import hurried
from .world import REQUESTS, World


async def test_three_lines_are_submission_and_result(world: World) -> None:
    """``run`` is the job once it has ended, with its result, whichever way that came."""
    async with hurried(world) as receiver:
        for provider in ("perplexity-webhook", "netnut", "yandex"):
            job = await receiver.run(provider, REQUESTS[provider], timeout=30)
            assert job.state == "succeeded"
            assert job.result is not None
            assert job.result.json()


async def test_a_wait_that_is_given_up_leaves_the_job_alone(world: World) -> None:
    """The error carries the job and says how to go on; waiting again gets its end."""
    async with hurried(world) as receiver:
        with pytest.raises(WaitTimeoutError, match=r"receiver\.wait") as given_up:
            await receiver.run("perplexity-webhook", REQUESTS["perplexity-webhook"], timeout=0.0)
        assert given_up.value.job is not None
        job = await receiver.wait(given_up.value.job.id, timeout=30)
        assert job.state == "succeeded"


async def test_nobody_waits_for_what_is_not_there(world: World) -> None:
    """An unknown id is an error at once."""
    async with hurried(world) as receiver:
        with pytest.raises(NotFoundError):
            await receiver.wait("job_" + "0" * 32, timeout=30)


async def test_completions_are_followed_without_an_end(world: World) -> None:
    """The iterator brings what was and then what comes, and ends when the receiver stops."""
    found: list[tuple[str, str]] = []
    both = asyncio.Event()

    async def follow(receiver: Receiver) -> None:
        async for one in receiver.completions():
            found.append((one.cursor, one.job.id))
            if len(found) == 2:
                both.set()

    async with hurried(world) as receiver:
        first = await receiver.run("perplexity-webhook", REQUESTS["perplexity-webhook"], timeout=30)
        following = asyncio.create_task(follow(receiver))
        second = await receiver.run("netnut", REQUESTS["netnut"], timeout=30)
        await asyncio.wait_for(both.wait(), 10)
    await asyncio.wait_for(following, 5)
    assert found == [("1", first.id), ("2", second.id)]
