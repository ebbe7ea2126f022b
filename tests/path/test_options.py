"""What one job may have of its own: no callback, headers, fields of the address."""

import json
from typing import Any

import httpx
import pytest

from receiver import JobState
from receiver.client import AsyncClient
from receiver.core.errors import ConflictError, RequestError
from receiver.core.model import Delivery

from .described import describe, replies
from .hurry import hurried
from .stub import Asked, Reply, Stub, stub
from .world import API_TOKEN, World, ended

NAME = "made-up"
ALLOWS = 'job_headers = ["X-Made-*"]\njob_query = ["mode"]'


async def made(asked: Asked) -> Reply:
    """Take a job and have it done."""
    if asked.method == "POST":
        return replies({"id": "r1", "state": "queued"})
    return replies({"id": "r1", "state": "done", "result": {"n": 1}})


@pytest.fixture(params=["sqlite", "postgresql"])
def anywhere(request: pytest.FixtureRequest, world: World) -> World:
    """A world on each database."""
    if request.param == "postgresql":
        world.environ["RECEIVER_DATABASE_URL"] = request.getfixturevalue("migrated_url")
    return world


def submission(provider: Stub) -> tuple[Asked, dict[str, Any]]:
    """The last submission, and its body."""
    one = [asked for asked in provider.asked if asked.method == "POST"][-1]
    return one, json.loads(one.body)


async def test_a_job_without_a_callback_is_polled(anywhere: World) -> None:
    """No callback URL is sent, and the provider is asked at its cadence rather than once a callback is overdue."""
    async with stub(made) as provider:
        describe(anywhere, provider, where="body", expected="1h")
        async with hurried(anywhere) as receiver:
            done = await ended(receiver, await receiver.submit(NAME, {"n": 1}, callback=False))
            assert (done.state, done.delivery) == (JobState.SUCCEEDED, Delivery.NONE)
            assert submission(provider)[1] == {"n": 1}
            await receiver.submit(NAME, {"n": 2})
            assert "hook" in submission(provider)[1]


async def test_null_where_the_callback_goes_means_none(world: World) -> None:
    """It is not overwritten."""
    async with stub(made) as provider:
        describe(world, provider, where="body", expected="1h")
        async with hurried(world) as receiver:
            done = await ended(receiver, await receiver.submit(NAME, {"n": 1, "hook": None}))
            assert done.delivery is Delivery.NONE
            assert submission(provider)[1] == {"n": 1, "hook": None}


async def test_who_cannot_be_asked_needs_a_callback(world: World) -> None:
    """A job whose end nobody could learn is refused."""
    async with world.receiver() as receiver:
        world.environ["DEEPGRAM_API_KEY"] = "k"
        with pytest.raises(RequestError) as refused:
            await receiver.submit("deepgram", {"url": "https://a.example/1"}, callback=False)
        assert (refused.value.code, refused.value.field) == ("callback_needed", "callback")


async def test_headers_and_query_travel_with_one_job(anywhere: World) -> None:
    """By the library, over ``/v1`` and by the client; within what the description allows."""
    options: dict[str, Any] = {"headers": {"X-Made-Priority": "low"}, "query": {"mode": ["a", "b"]}}
    async with stub(made) as provider:
        describe(anywhere, provider, submit=ALLOWS)
        async with hurried(anywhere) as receiver, httpx.AsyncClient(trust_env=False, timeout=60) as http:
            await receiver.submit(NAME, {"n": 1}, **options)
            body = {"provider": NAME, "request": {"n": 1}, "callback": False, **options}
            token = {"authorization": f"Bearer {API_TOKEN}"}
            answer = await http.post(f"{anywhere.url}/v1/jobs", json=body, headers=token)
            assert answer.status_code == 202
            async with AsyncClient(anywhere.url, token=API_TOKEN) as client:
                await client.submit(NAME, {"n": 1}, callback=False, **options)
            sent = [one for one in provider.asked if one.method == "POST"]
            assert [one.path for one in sent] == ["/jobs?mode=a&mode=b"] * 3
            assert [one.header("x-made-priority") for one in sent] == ["low"] * 3


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"headers": {"X-Other": "a"}}, "headers.X-Other"),
        ({"headers": {"Authorization": "Bearer mine"}}, "headers.Authorization"),
        ({"headers": {"X-Made-Key": "mine"}}, "headers.X-Made-Key"),
        ({"headers": {"X-Made-A": "a\r\nHost: evil"}}, "headers.X-Made-A"),
        ({"headers": {"X-Made-A\r\nHost": "evil"}}, "headers"),
        ({"headers": {"X-Made-A b": "c"}}, "headers"),
        ({"headers": {"X-Made-\u00e9": "c"}}, "headers"),
        ({"query": {"hook": "https://evil.example"}}, "query.hook"),
        ({"query": {"other": 1}}, "query.other"),
    ],
)
async def test_what_the_description_does_not_allow_is_refused(
    world: World, options: dict[str, Any], field: str
) -> None:
    """Nothing is sent, and nothing recorded; our own credentials cannot be replaced."""
    credentials = '[[credentials]]\nheader = "X-Made-Key"\nsecret = "env:MADE_UP_SECRET"'
    async with stub(made) as provider:
        describe(world, provider, submit=ALLOWS, fetch=credentials)
        async with world.receiver() as receiver:
            with pytest.raises(RequestError) as refused:
                await receiver.submit(NAME, {}, **options)
            assert refused.value.field == field
            assert provider.asked == []


async def test_an_idempotency_key_means_the_options_too(world: World) -> None:
    """Another header is another request."""
    async with stub(made) as provider:
        describe(world, provider, submit=ALLOWS)
        async with world.receiver() as receiver:
            first = await receiver.submit(NAME, {}, idempotency_key="k", headers={"X-Made-A": "1"})
            same = await receiver.submit(NAME, {}, idempotency_key="k", headers={"X-Made-A": "1"})
            assert first.id == same.id
            with pytest.raises(ConflictError):
                await receiver.submit(NAME, {}, idempotency_key="k", headers={"X-Made-A": "2"})


async def test_a_submission_that_is_sent_again_carries_them(anywhere: World) -> None:
    """They are recorded with the request."""
    busy = [True]

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST" and busy.pop():
            busy.append(False)
            return Reply(status=429)
        return await made(asked)

    async with stub(answer) as provider:
        describe(anywhere, provider, submit=ALLOWS)
        async with hurried(anywhere, pace=30) as receiver:
            job = await receiver.submit(NAME, {}, headers={"X-Made-A": "1"}, query={"mode": "a"})
            await ended(receiver, job)
            sent = [one for one in provider.asked if one.method == "POST"]
            assert [(one.path, one.header("x-made-a")) for one in sent] == [("/jobs?mode=a", "1")] * 2
