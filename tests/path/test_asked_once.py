"""An address that gives its result once is asked once, by whoever and however often it is named."""

import json
from typing import Any

import httpx
import pytest

from receiver import Job, JobState, Receiver

from .described import describe, hook, replies
from .hurry import hurried
from .stub import Asked, Reply, Stub, stub
from .world import World, ended, until

NAME = "made-up"


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, world: World) -> World:
    """On either database."""
    if request.param == "postgres":
        world.environ["RECEIVER_DATABASE_URL"] = request.getfixturevalue("migrated_url")
    return world


def lost(job: Job) -> bool:
    """Whether the job ended without the result that was given once."""
    return job.state is JobState.EXPIRED and job.error is not None and job.error.code == "result_lost"


async def wake(asked: list[Asked]) -> None:
    """Call back, as the provider does."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        assert (await client.post(hook(asked), json={"id": "r1"})).status_code == 200


def calls_back(world: World, provider: Stub) -> None:
    """Describe a provider whose callbacks nobody signs, and whose results are given once."""
    describe(
        world, provider, where="body", signed=False, every="1s", expected="2s", fetch="single_use = true"
    )


async def found(receiver: Receiver, job: Job) -> None:
    """Wait until the result is here after all."""

    async def here() -> bool:
        return (await receiver.job(job.id)).state is JobState.SUCCEEDED

    await until(here)


async def settled(receiver: Receiver, job: Job) -> None:
    """Wait until nobody follows the wake-up any more."""

    async def over() -> bool:
        return (await receiver.job(job.id)).woken_by is None

    await until(over)


async def test_a_job_that_ended_without_its_result_asks_no_second_time(world: World) -> None:
    """The answer broke off and the job expired; a callback then has it looked at, and the same address is named."""

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        if asked.path == "/once":
            raise ConnectionResetError
        return replies({"id": "r1", "state": "done", "result_url": f"{provider.url}/once"})

    async with stub(answer) as provider:
        calls_back(world, provider)
        async with hurried(world, pace=100) as receiver:
            job = await ended(receiver, await receiver.submit(NAME, {}))
            assert lost(job)
            looks = len(provider.gets())
            await wake(provider.asked)
            await until(lambda: len(provider.gets()) > looks)
            await settled(receiver, job)
            assert lost(await receiver.job(job.id))
            assert [one.path for one in provider.asked].count("/once") == 1


async def test_a_fresh_address_is_asked_after_the_end_too(world: World) -> None:
    """The callback is followed to an address that was never asked, and what that gives replaces the loss."""
    fresh = False

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        if asked.path == "/once":
            raise ConnectionResetError
        if asked.path == "/fresh":
            return replies({"answer": 42})
        address = "fresh" if fresh else "once"
        return replies({"id": "r1", "state": "done", "result_url": f"{provider.url}/{address}"})

    async with stub(answer) as provider:
        calls_back(world, provider)
        async with hurried(world) as receiver:
            job = await ended(receiver, await receiver.submit(NAME, {}))
            assert lost(job)
            fresh = True
            await wake(provider.asked)
            await found(receiver, job)
            asked = [one.path for one in provider.asked]
            assert (asked.count("/once"), asked.count("/fresh")) == (1, 1)


async def test_a_provider_that_names_its_addresses_in_turn_is_asked_at_each_once(world: World) -> None:
    """All of them break off: the third naming of the first is no fresh address."""
    polls: list[str] = []

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        if asked.path.startswith("/once"):
            raise ConnectionResetError
        polls.append(f"/once/{len(polls) % 2}")
        return replies({"id": "r1", "state": "done", "result_url": provider.url + polls[-1]})

    async with stub(answer) as provider:
        describe(world, provider, every="1s", expected="2s", fetch="single_use = true")
        async with hurried(world) as receiver:
            assert lost(await ended(receiver, await receiver.submit(NAME, {})))
            asked = [one.path for one in provider.asked if one.path.startswith("/once")]
            assert asked == ["/once/0", "/once/1"]


async def test_a_404_after_the_end_does_not_use_an_address_up(world: World) -> None:
    """What is not there yet gave nothing away: the address is asked again, also by a job that had ended."""
    replica: dict[str, Any] = {"lags": True}

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        if asked.path == "/once":
            raise ConnectionResetError
        if asked.path == "/late":
            if replica["lags"]:
                replica["lags"] = False
                return Reply(status=404)
            return Reply(body=json.dumps({"answer": 42}).encode())
        return replies({"id": "r1", "state": "done", "result_url": provider.url + replica.get("at", "/once")})

    async with stub(answer) as provider:
        calls_back(world, provider)
        async with hurried(world) as receiver:
            job = await ended(receiver, await receiver.submit(NAME, {}))
            assert lost(job)
            replica["at"] = "/late"
            await wake(provider.asked)
            await found(receiver, job)
            asked = [one.path for one in provider.asked]
            assert (asked.count("/once"), asked.count("/late")) == (1, 2)
