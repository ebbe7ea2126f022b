"""Why a job failed: in the provider's words, wherever it says them, and asked for where a callback does not."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from receiver import Job, JobState, Receiver
from receiver.core.model import Source

from .described import Clock, describe, hook, replies, signature
from .hurry import hurried
from .stub import Asked, Reply, Stub, stub
from .world import REQUESTS, World, ended, until

NAME = "made-up"
BROKEN = {"id": "r1", "state": "broken", "reason": "the page is upside down"}
RUNNING = {"id": "r1", "state": "running"}
MODEL = b'{"detail": [{"msg": "image too small"}]}'


class Made:
    """A provider that takes a job and then says whatever it is told to."""

    def __init__(self, says: Reply | dict[str, Any] | None, result: Reply | None = None) -> None:
        self.says = says
        self.result = result

    async def __call__(self, asked: Asked) -> Reply:
        """Say it."""
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        if asked.path.startswith("/results/") and self.result is not None:
            return self.result
        if self.says is None:
            raise ConnectionResetError
        return self.says if isinstance(self.says, Reply) else replies(self.says)


async def call(provider: Stub, document: dict[str, Any], *, signed: bool = True, field: str = "hook") -> None:
    """Call back at the job's own address."""
    body = json.dumps(document).encode()
    url = hook(provider.asked) if field == "hook" else json.loads(provider.asked[0].body)[field]
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        headers = signature(body) if signed else {}
        assert (await client.post(url, content=body, headers=headers)).status_code == 200


@pytest.mark.parametrize("where", ["fetch", "poll"])
async def test_a_status_that_is_the_jobs_own_failure_ends_it_with_the_body(world: World, where: str) -> None:
    """A description lists such statuses; every other 4xx is asked again."""
    async with stub(Made(RUNNING)) as provider:
        at = {"id": "r1", "state": "done", "result_url": f"{provider.url}/results/1"}
        refusal = Reply(status=422, body=MODEL)
        made = Made(at, refusal) if where == "fetch" else Made(refusal)
        provider._answer = made
        listed = "failed = [400, 422]"
        if where == "fetch":
            describe(world, provider, fetch=listed)
        else:
            describe(world, provider, poll=listed)
        async with hurried(world) as receiver:
            done = await ended(receiver, await receiver.submit(NAME, {}))
            assert (done.state, done.settled_by) == (JobState.FAILED, Source.POLL)
            assert (done.error and done.error.code, done.error and done.error.text) == (
                "provider_answered",
                MODEL.decode(),
            )
            assert len(provider.gets()) == (2 if where == "fetch" else 1)


async def told(world: World, provider: Stub, receiver: Receiver) -> Job:
    """A job of which a signed callback said that it failed, and not why; how it ended."""
    job = await receiver.submit(NAME, {})
    await call(provider, {"id": "r1", "state": "broken"})
    return await ended(receiver, job)


async def test_a_failure_that_is_told_without_its_reason_is_asked_for_it(world: World) -> None:
    """Once, before the job is settled: handlers get the reason, and it is the callback that settled the job."""
    seen: list[Job] = []
    async with stub(Made(BROKEN)) as provider:
        describe(world, provider, where="body")
        async with world.receiver(lambda r: r.on(NAME, state="any", name="see")(seen.append)) as receiver:
            done = await told(world, provider, receiver)
            assert (done.state, done.settled_by) == (JobState.FAILED, Source.CALLBACK)
            assert done.error is not None
            assert (done.error.code, done.error.text) == ("provider_reported", "the page is upside down")
            assert len(provider.gets()) == 1
            await asyncio.sleep(0.1)
            assert [one.error and one.error.text for one in seen] == ["the page is upside down"]


async def test_a_failure_that_is_told_with_its_reason_is_settled_at_once(world: World) -> None:
    """Nobody is asked."""
    async with stub(Made(BROKEN)) as provider:
        describe(world, provider, where="body")
        async with world.receiver() as receiver:
            job = await receiver.submit(NAME, {})
            await call(provider, BROKEN)
            assert (await receiver.job(job.id)).state is JobState.FAILED
            assert provider.gets() == []


@pytest.mark.parametrize(
    ("says", "looks"),
    [
        (None, (2, 8)),
        (Reply(status=500), (2, 8)),
        (Reply(status=404), (2, 9)),
        (RUNNING, (2, 9)),
        ({"id": "r1", "state": "broken"}, (1, 1)),
        ({"id": "r1", "state": "done", "result": 1}, (1, 1)),
    ],
    ids=["silent", "500", "404", "lags", "no reason either", "contradicts"],
)
async def test_a_failure_stands_whatever_is_heard_when_it_is_asked_about(
    world: World,
    says: Any,  # noqa: ANN401
    looks: tuple[int, int],
) -> None:
    """The signed callback was the first to tell of an end; within about a minute the job ends so."""
    async with stub(Made(says)) as provider:
        describe(world, provider, where="body", every="1m")
        async with hurried(world, pace=40) as receiver:
            done = await told(world, provider, receiver)
            assert (done.state, done.settled_by) == (JobState.FAILED, Source.CALLBACK)
            assert (done.error and done.error.code) == "provider_reported"
            assert done.held is None
            assert looks[0] <= len(provider.gets()) <= looks[1]
            (callback,) = (await world.record(receiver, done)).callbacks
            assert done.ended_at is not None
            assert done.ended_at - callback.received_at <= 150_000


async def test_a_reason_that_stands_at_the_results_address_is_found(world: World) -> None:
    """The status says that the job is over, and what came out of it is an error."""
    async with stub(Made(RUNNING)) as provider:
        at = {"id": "r1", "state": "done", "result_url": f"{provider.url}/results/1"}
        provider._answer = Made(at, Reply(status=422, body=MODEL))
        describe(world, provider, where="body", fetch="failed = [422]")
        async with world.receiver() as receiver:
            done = await told(world, provider, receiver)
            assert (done.state, done.error and done.error.text) == (JobState.FAILED, MODEL.decode())


async def test_a_failure_survives_a_restart_before_its_reason_is_known(world: World) -> None:
    """Told, acknowledged, and the receiver away for a day: the job fails, by its callback."""
    clock, made = Clock(), Made(None)
    async with stub(made) as provider:
        describe(world, provider, where="body", deadline="2h")
        async with world.receiver(clock.wind) as receiver:
            job = await receiver.submit(NAME, {})
            await call(provider, {"id": "r1", "state": "broken"})
            assert not (await receiver.job(job.id)).state.ended
        clock.ahead = 86_400_000
        async with world.receiver(clock.wind) as receiver:
            done = await ended(receiver, job)
            assert (done.state, done.settled_by) == (JobState.FAILED, Source.CALLBACK)


# -- NetNut: a notification that nobody signs --------------------------------------------------------------


class NetNut:
    """Takes a job, and answers about it with what it is told to."""

    def __init__(self, says: Reply) -> None:
        self.says = says
        self.url = ""

    async def __call__(self, asked: Asked) -> Reply:
        """Answer."""
        if asked.method == "POST":
            return replies({"traceId": "t1", "response_url": f"{self.url}/search/response/t1"})
        return self.says


@pytest.mark.parametrize(
    ("status_code", "says", "state", "text"),
    [
        (500, Reply(status=500, body=b"scraper crashed"), JobState.FAILED, "scraper crashed"),
        (500, replies({"status": "failed", "message": "blocked"}), JobState.FAILED, "blocked"),
        (500, replies({"traceId": "t1", "message": "no luck"}), JobState.FAILED, "no luck"),
        (500, Reply(body=b"<html>sorry"), JobState.FAILED, "<html>sorry"),
        (500, replies({"traceID": "t1", "response": {"a": 1}}), JobState.SUCCEEDED, None),
        (200, replies({"status": "error", "message": "no page"}), JobState.FAILED, "no page"),
        (200, Reply(status=404), JobState.EXPIRED, None),
        (200, Reply(status=410), JobState.EXPIRED, None),
    ],
    ids=["a 500", "a word", "nothing", "no document", "not borne out", "a word alone", "404", "410"],
)
async def test_netnuts_failures_are_learned_from_its_answers(
    world: World, status_code: int, says: Reply, state: JobState, text: str | None
) -> None:
    """A notification is believed no further than that it is time to ask, and what is answered then ends the job."""
    made = NetNut(says)
    async with stub(made) as provider:
        made.url = provider.url
        world.environ["RECEIVER_NETNUT_BASE_URL"] = provider.url
        async with hurried(world, pace=60) as receiver:
            job = await receiver.submit("netnut", REQUESTS["netnut"])
            await call(
                provider, {"traceId": "t1", "status_code": status_code}, signed=False, field="callback_url"
            )
            done = await ended(receiver, job)
            assert (done.state, done.settled_by) == (state, Source.CALLBACK)
            assert text is None or (done.error is not None and text in done.error.text)
            assert done.ended_at is not None
            assert done.ended_at < done.created_at + 10 * 60_000


async def test_a_failure_that_nobody_bears_out_is_forgotten(world: World) -> None:
    """NetNut says that it still works: a forged notification ends nothing, and leaves no error behind."""
    made = NetNut(replies({"traceId": "t1", "status": "processing"}))
    async with stub(made) as provider:
        made.url = provider.url
        world.environ["RECEIVER_NETNUT_BASE_URL"] = provider.url
        async with hurried(world, pace=200) as receiver:
            job = await receiver.submit("netnut", REQUESTS["netnut"])
            await call(provider, {"traceId": "t1", "status_code": 500}, signed=False, field="callback_url")

            async def forgotten() -> bool:
                return bool(provider.gets()) and (await receiver.job(job.id)).woken_by is None

            await until(forgotten)
            after = await receiver.job(job.id)
            assert (after.state.ended, after.error, after.woken_by) == (False, None, None)
            made.says = Reply(status=500)
            await asyncio.sleep(0.5)
            assert not (await receiver.job(job.id)).state.ended
