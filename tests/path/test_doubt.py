"""When nobody knows whether a submission was taken, nothing that follows may throw the job away or buy it late."""

import asyncio
import hmac
import json

import httpx
import pytest
from structlog.testing import capture_logs

from receiver import JobState
from receiver.core.model import Source
from receiver.wire import connection

from .hurry import hurried
from .stub import Asked, Reply, stub
from .test_bad_input import raw
from .world import PATIENCE, REQUESTS, World, ended, until

NAME = "perplexity-webhook"


async def test_a_refused_repetition_does_not_end_a_job_that_may_be_running(world: World) -> None:
    """After an attempt without an answer, a refusal of the next one says nothing: the callback still counts."""
    answers = [Reply(status=503), Reply(status=409, body=b"idempotency key in use")]

    async def perplexity(asked: Asked) -> Reply:
        return answers.pop(0) if asked.method == "POST" and answers else Reply(status=404)

    async with stub(perplexity) as provider, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        world.environ["RECEIVER_PERPLEXITY_WEBHOOK_BASE_URL"] = provider.url
        async with hurried(world) as receiver:
            job = await receiver.submit(NAME, REQUESTS[NAME])

            async def given_up() -> bool:
                return (await receiver.job(job.id)).submission == "unknown"

            await until(given_up)
            waiting = await receiver.job(job.id)
            assert (waiting.state, waiting.error) == (JobState.SUBMITTING, None)
            webhook = json.loads(provider.asked[0].body)["webhook"]
            body = b'{"job_id": "r1", "status": "COMPLETED", "response": {"choices": []}}'
            signature = hmac.new(webhook["secret"].encode(), body, "sha256").hexdigest()
            headers = {"x-perplexity-signature": signature}
            assert (await client.post(webhook["url"], content=body, headers=headers)).status_code == 200
            done = await ended(receiver, job)
            assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)


async def test_nothing_is_bought_after_its_deadline(world: World) -> None:
    """A provider that says "later" until the deadline has passed is not asked again: the job failed, unbought."""

    async def busy(_asked: Asked) -> Reply:
        return Reply(status=429, headers={"retry-after": "3600"})

    async with stub(busy) as provider:
        world.environ["RECEIVER_NETNUT_BASE_URL"] = provider.url
        # Its provider is left alone for a quarter of an hour, as it asked, and the job with it.
        async with hurried(world, pace=200) as receiver:
            job = await receiver.submit("netnut", REQUESTS["netnut"], deadline=60)
            done = await ended(receiver, job)
            assert (done.state, done.error and done.error.code) == (JobState.FAILED, "never_accepted")
            assert len(provider.asked) == 1


async def test_a_submission_under_way_is_recorded_before_the_receiver_stops(world: World) -> None:
    """Stopping waits for the answer of a submission: it is how we learn of a job that is being paid for."""
    world.simulator.faults("netnut", {"name": "submit_slow", "seconds": 1})
    async with world.receiver() as receiver:
        sending = asyncio.create_task(receiver.submit("netnut", REQUESTS["netnut"]))
        await until(lambda: any(one.method == "POST" for one in world.simulator.requests("netnut")))
    job = await sending
    assert job.submission == "sent"
    async with world.receiver() as receiver:
        assert (await receiver.job(job.id)).remote_id == world.simulator.jobs("netnut")[0].id


async def test_a_connection_that_says_nothing_new_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stray line after an answer, or a body that goes on after it, keeps no connection open."""
    world.environ["RECEIVER_RECEIVE_TIMEOUT"] = "1"
    monkeypatch.setattr(connection, "_KEEP_ALIVE", 3600.0)
    async with world.receiver():
        early = b"POST /callbacks/x/y HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhalf"
        assert b"(still open)" not in await raw(world, early, patience=PATIENCE)
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.read(65536)).startswith(b"HTTP/1.1 200 ")
        writer.write(b"\r\n")
        async with asyncio.timeout(PATIENCE):
            assert await reader.read(65536) == b""
        writer.close()


async def test_a_word_that_the_description_does_not_know_is_warned_of(world: World) -> None:
    """It means running, by poll and by callback, and the log names it: the provider may have changed its API."""
    name = "perplexity-webhook"

    async def perplexity(_asked: Asked) -> Reply:
        return Reply(body=b'{"id": "r1", "status": "PONDERING"}')

    async with stub(perplexity) as provider, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        world.cadence(expected="1s")
        world.environ["RECEIVER_PERPLEXITY_WEBHOOK_BASE_URL"] = provider.url
        with capture_logs() as lines:
            async with hurried(world) as receiver:
                job = await receiver.submit(name, REQUESTS[name])
                await until(lambda: any("job" in one and one["event"] == "status_unknown" for one in lines))
                webhook = json.loads(provider.asked[0].body)["webhook"]
                body = b'{"job_id": "r1", "status": "DREAMING"}'
                signature = hmac.new(webhook["secret"].encode(), body, "sha256").hexdigest()
                headers = {"x-perplexity-signature": signature}
                assert (await client.post(webhook["url"], content=body, headers=headers)).status_code == 200
                assert (await receiver.job(job.id)).state is JobState.RUNNING
        words = {one["word"] for one in lines if one["event"] == "status_unknown"}
        assert words == {"PONDERING", "DREAMING"}
