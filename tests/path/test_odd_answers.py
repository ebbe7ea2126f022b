"""Outcomes that a strict reader would not take, and callbacks that say nothing, over real sockets and real stores."""

import re
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

import httpx
import pytest

from receiver import JobState
from receiver.core.model import Source, Verdict

from .hurry import hurried
from .stub import Asked, Reply, Stub, always, stub
from .world import REQUESTS, World, ended, until

RESULT = b'{"markdown": "# done", "score": NaN, "n": 1e400, "a": 1, "a": 2}'
FINISHED = b'{"job_id": "p1", "status": "completed", "result": ' + RESULT + b"}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, world: World) -> str:
    """The world on one database and then on the other."""
    if request.param == "postgresql":
        world.environ["RECEIVER_DATABASE_URL"] = request.getfixturevalue("migrated_url")
    return str(request.param)


def pulse(said: Callable[[int], bytes]) -> Callable[[Asked], Awaitable[Reply]]:
    """A provider whose answer to the look of each number is what *said* says."""
    looks = 0

    async def answered(asked: Asked) -> Reply:
        nonlocal looks
        if asked.method == "POST":
            return Reply(status=202, body=b'{"job_id": "p1", "status": "pending"}')
        looks += 1
        return Reply(body=said(looks), headers={"content-type": "application/json"})

    return answered


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["bare", "marked"])
async def test_an_odd_result_is_stored_byte_for_byte(world: World, mark: bytes) -> None:
    """NaN, a number beyond a double, a key that is there twice: the job succeeds, and nothing of it is changed."""
    world.cadence(expected="1s")
    async with stub(pulse(lambda _: mark + FINISHED)) as provider:
        world.environ["RECEIVER_PULSE_BASE_URL"] = provider.url
        async with hurried(world) as receiver:
            job = await ended(receiver, await receiver.submit("pulse", REQUESTS["pulse"]))
            assert (job.state, job.settled_by) == (JobState.SUCCEEDED, Source.POLL)
            assert await receiver.running.store.result(job) == RESULT


@pytest.mark.usefixtures("database")
async def test_an_outcome_that_nobody_can_read_fails_the_job_with_its_bytes(world: World) -> None:
    """It is asked for three times; then the job is over, and what came is there to be looked at."""
    world.cadence(expected="1s")
    async with stub(pulse(lambda _: FINISHED[:-1])) as provider:
        world.environ["RECEIVER_PULSE_BASE_URL"] = provider.url
        async with hurried(world) as receiver:
            job = await ended(receiver, await receiver.submit("pulse", REQUESTS["pulse"]))
            assert (job.state, job.settled_by) == (JobState.FAILED, Source.POLL)
            assert job.error is not None
            assert job.error.code == "result_unreadable"
            assert await receiver.running.store.result(job) == FINISHED[:-1]
            assert len(provider.gets()) == 3
            record = await world.record(receiver, job)
            assert [(a.step, a.outcome, a.code) for a in record.attempts if a.step == "poll"] == [
                ("poll", "failed", "result_unreadable")
            ]


async def test_a_page_in_place_of_an_answer_ends_nothing(world: World) -> None:
    """What something on the way says in HTML, for however long, is no outcome; the real one is taken."""
    world.cadence(expected="1s")
    async with stub(pulse(lambda look: b"<html>sorry</html>" if look < 4 else FINISHED)) as provider:
        world.environ["RECEIVER_PULSE_BASE_URL"] = provider.url
        async with hurried(world) as receiver:
            job = await ended(receiver, await receiver.submit("pulse", REQUESTS["pulse"]))
            assert job.state is JobState.SUCCEEDED


BODIES = [
    (b"", {}),
    (b"done", {"content-type": "text/plain"}),
    (b"id=other&status=done", {"content-type": "application/x-www-form-urlencoded"}),
    (b"<done/>", {"content-type": "application/xml"}),
    (b"\xef\xbb\xbf{}", {}),
    (b'{"id": "another", "status": "FAILED"}', {}),
    (b'{"id": NaN}', {}),
    (b'{"id": "a", "id": "b"}', {}),
    (b"\x28\xb5\x2f\xfd...", {"content-encoding": "zstd"}),
    (b"\x00\xff", {"content-encoding": "lzma"}),
]


def runpod(done: bytes) -> Callable[[Asked], Awaitable[Reply]]:
    """RunPod: it signs nothing, and is asked for what its callbacks announce."""

    async def answered(asked: Asked) -> Reply:
        submitted = b'{"id": "r1", "status": "IN_QUEUE"}'
        return Reply(body=submitted if asked.method == "POST" else done)

    return answered


async def runs(world: World, provider: Stub) -> None:
    """Point the world at *provider*, whose polls are an hour away."""
    world.environ |= {"RECEIVER_RUNPOD_BASE_URL": provider.url, "RUNPOD_API_KEY": "a key of RunPod"}


@pytest.mark.usefixtures("database")
async def test_whatever_comes_with_a_good_token_is_a_reason_to_ask(world: World) -> None:
    """Empty, text, a form, XML, a mark, another id, an unknown coding: the look is the provider's word, once each."""
    done = b'{"id": "r1", "status": "COMPLETED", "output": 1}'
    async with stub(runpod(done)) as provider, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        await runs(world, provider)
        async with world.receiver() as receiver:
            for body, headers in BODIES:
                job = await receiver.submit("runpod", {"endpoint_id": "e", "input": {}})
                url = _callback_url(provider)
                assert (await client.post(url, content=body, headers=headers)).status_code == 200
                job = await ended(receiver, job)
                assert (job.state, job.settled_by, job.remote_id) == (
                    JobState.SUCCEEDED,
                    Source.CALLBACK,
                    "r1",
                )
            assert len(provider.gets()) == len(BODIES)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
async def test_a_good_token_wakes_by_any_method(world: World, method: str) -> None:
    """Where the token is all that vouches there is nothing else to be wrong with a request."""
    done = b'{"id": "r1", "status": "COMPLETED", "output": 1}'
    async with stub(runpod(done)) as provider, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        await runs(world, provider)
        async with world.receiver() as receiver:
            job = await receiver.submit("runpod", {"endpoint_id": "e", "input": {}})
            await client.request(method, _callback_url(provider))
            assert (await ended(receiver, job)).state is JobState.SUCCEEDED


@pytest.mark.usefixtures("database")
async def test_unreadable_wake_ups_are_bounded_as_others_are(world: World) -> None:
    """One look answers all that came before it, and of one job twenty are heeded: a leaked token buys no more."""
    running = b'{"id": "r1", "status": "IN_PROGRESS"}'
    async with stub(runpod(running)) as provider, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        await runs(world, provider)
        async with world.receiver() as receiver:
            job = await receiver.submit("runpod", {"endpoint_id": "e", "input": {}})
            url = _callback_url(provider)
            for _ in range(60):
                assert (await client.post(url, content=b"not json")).status_code == 200
            await until(lambda: len(provider.gets()) > 0)
            record = await world.record(receiver, job)
            assert len(record.callbacks) <= 20
            assert {(one.verdict, one.code) for one in record.callbacks} == {
                (Verdict.UNREADABLE, "body_not_json")
            }
            assert len(provider.gets()) <= 21


@pytest.mark.usefixtures("database")
async def test_a_posted_outcome_that_nobody_can_read_fails_the_job_with_its_bytes(world: World) -> None:
    """Deepgram posts the result and can be asked for nothing: what came is kept, and the job does not wait it out."""
    async with (
        always(Reply(body=b'{"request_id": "d1"}')) as provider,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        world.environ |= {"RECEIVER_DEEPGRAM_BASE_URL": provider.url, "DEEPGRAM_API_KEY": "a key of Deepgram"}
        async with world.receiver() as receiver:
            job = await receiver.submit("deepgram", {"url": "https://example.com/a.wav"})
            url = _callback_url(provider)
            assert (await client.post(url, content=b"")).status_code == 200
            assert (await receiver.job(job.id)).state is JobState.SUBMITTED
            cut = b'{"metadata": {"request_id": "d1"}, "results": {"chan'
            assert (await client.post(url, content=cut)).status_code == 200
            job = await ended(receiver, job)
            assert (job.state, job.settled_by) == (JobState.FAILED, Source.CALLBACK)
            assert job.error is not None
            assert job.error.code == "result_unreadable"
            assert await receiver.running.store.result(job) == cut


def _callback_url(provider: Stub) -> str:
    """The callback URL in what was submitted last, in its address or its body."""
    asked = [one for one in provider.asked if one.method == "POST"][-1]
    found = re.search(r"https?[^\"&]*/callbacks/[^\"&\s]*", unquote(asked.path + " " + asked.body.decode()))
    assert found is not None
    return found[0]
