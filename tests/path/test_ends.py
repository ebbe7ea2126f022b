"""How jobs end of which their provider speaks in its own way: results of failures, unlisted words, far results."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from receiver import Job, JobState, Receiver
from receiver.core.model import Source

from .described import Clock, describe, replies
from .hurry import hurried
from .stub import Asked, Reply, Stub, stub
from .test_reasons import call
from .world import API_TOKEN, World, ended, until

NAME = "made-up"
EXPIRED = {"id": "r1", "state": "late", "reason": "after a day"}
LATE = 'result_for = ["expired", "cut"]'
OUTPUT = b'{"custom_id": "1"}\n'


@pytest.fixture(params=["sqlite", "postgresql"])
def anywhere(request: pytest.FixtureRequest, world: World) -> World:
    """A world on each database."""
    if request.param == "postgresql":
        world.environ["RECEIVER_DATABASE_URL"] = request.getfixturevalue("migrated_url")
    return world


class Batches:
    """A provider whose jobs may end otherwise and have a result all the same."""

    def __init__(self, document: dict[str, Any], output: Reply | None = None) -> None:
        self.document = document
        self.output = output or Reply(body=OUTPUT, headers={"content-type": "application/jsonl"})
        self.url = ""

    async def __call__(self, asked: Asked) -> Reply:
        """Take a job, say how it stands, give its output."""
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        if asked.path.startswith("/files/"):
            return self.output
        return replies({name: str(value).replace("HERE", self.url) for name, value in self.document.items()})


def with_words(world: World, provider: Stub, shape: str, **options: Any) -> None:  # noqa: ANN401
    """Describe *provider*, whose jobs may also be late or cut."""
    describe(world, provider, shape_job=shape, **options)
    file = Path(world.environ["RECEIVER_PROVIDERS_DIR"]) / f"{NAME}.toml"
    text = file.read_text(encoding="utf-8")
    text = text.replace("states = { ", "states = { late = 'expired', cut = 'failed', asks = 'needs_action', ")
    file.write_text(text, encoding="utf-8")


async def content(receiver: Receiver, job: Job) -> bytes:
    """The bytes of a job's result."""
    assert job.held is not None
    return await receiver.running.store.result(job)


@pytest.mark.parametrize("how", ["callback", "poll"])
async def test_a_job_that_did_not_succeed_keeps_its_result(anywhere: World, how: str) -> None:
    """It ends in its true state, with the provider's reason and with the result; handlers of any end get both."""
    got: list[tuple[str, bytes, str]] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(NAME, state="any")
        async def keep(job: Job) -> None:
            assert job.result is not None
            assert job.error is not None
            got.append((job.state, job.result.content, job.error.text))

    batches = Batches(EXPIRED | {"result_url": "HERE/files/1"})
    async with stub(batches) as provider:
        batches.url = provider.url
        with_words(anywhere, provider, LATE, where="body", expected="1h" if how == "callback" else "1s")
        async with hurried(anywhere, prepare) as receiver:
            job = await receiver.submit(NAME, {})
            if how == "callback":
                await call(provider, {"id": "r1", "state": "late"})
            done = await ended(receiver, job)
            assert (done.state, await content(receiver, done)) == (JobState.EXPIRED, OUTPUT)
            assert done.settled_by is (Source.CALLBACK if how == "callback" else Source.POLL)
            assert done.succeeded_at is None
            await until(lambda: bool(got))
            assert got == [("expired", OUTPUT, "after a day")]
            assert [one.path for one in provider.gets()] == ["/jobs/r1", "/files/1"]


async def test_a_result_of_a_failure_may_come_along(world: World) -> None:
    """A word of its own may be what brings one; other failures have none."""
    batches = Batches({"id": "r1", "state": "cut", "reason": "the limit", "result": "half of it"})
    async with stub(batches) as provider:
        describe(world, provider)
        file = Path(world.environ["RECEIVER_PROVIDERS_DIR"]) / f"{NAME}.toml"
        text = file.read_text(encoding="utf-8").replace('result_url = "result_url"\n', LATE + "\n")
        file.write_text(text.replace("states = { ", "states = { late = 'expired', cut = 'failed', "))
        async with hurried(world) as receiver:
            done = await ended(receiver, await receiver.submit(NAME, {}))
            assert (done.state, await content(receiver, done)) == (JobState.FAILED, b'"half of it"')
            batches.document = {"id": "r1", "state": "broken", "result": "none of it"}
            done = await ended(receiver, await receiver.submit(NAME, {"n": 2}))
            assert (done.state, done.held) == (JobState.FAILED, None)


@pytest.mark.parametrize("answer", [Reply(status=410), Reply(status=404)])
async def test_a_result_that_is_gone_does_not_change_how_the_job_ended(world: World, answer: Reply) -> None:
    """It ends as its provider said, with the provider's reason, once the result cannot be had."""
    batches = Batches(EXPIRED | {"result_url": "HERE/files/1"}, answer)
    async with stub(batches) as provider:
        batches.url = provider.url
        with_words(world, provider, LATE, fetch='patience = "2s"')
        async with hurried(world) as receiver:
            done = await ended(receiver, await receiver.submit(NAME, {}))
            assert (done.state, done.held) == (JobState.EXPIRED, None)
            assert (done.error and done.error.text) == "after a day"


async def test_a_callback_is_the_outcome_though_nobody_can_be_asked(world: World) -> None:
    """The provider is asked for ten minutes whether there is a result; the job ends as the callback said then."""
    clock = Clock()

    async def silent(asked: Asked) -> Reply:
        return replies({"id": "r1", "state": "queued"}) if asked.method == "POST" else Reply(status=500)

    async with stub(silent) as provider:
        with_words(world, provider, LATE, where="body", expected="1h")
        async with world.receiver(clock.wind) as receiver:
            job = await receiver.submit(NAME, {})
            await call(provider, {"id": "r1", "state": "late"})
            await until(lambda: bool(provider.gets()))
            assert not (await receiver.job(job.id)).state.ended
            clock.ahead = 11 * 60_000
            receiver.running.notify()
            done = await ended(receiver, job)
            assert (done.state, done.settled_by) == (JobState.EXPIRED, Source.CALLBACK)


@pytest.mark.parametrize("unknown", ["running", "failed"])
async def test_an_unlisted_word_is_seen(anywhere: World, unknown: str) -> None:
    """It is counted, stands in the timeline, with the job and in doctor, and means what the description says."""
    batches = Batches({"id": "r1", "state": "aborted", "reason": "by whom?"})
    async with stub(batches) as provider:
        describe(anywhere, provider, shape_job=f'unknown = "{unknown}"')
        headers = {"authorization": f"Bearer {API_TOKEN}"}
        async with (
            hurried(anywhere) as receiver,
            httpx.AsyncClient(trust_env=False, timeout=60, headers=headers) as v1,
        ):
            job = await receiver.submit(NAME, {})
            if unknown == "failed":
                job = await ended(receiver, job)
                assert (job.state, job.error and job.error.text) == (JobState.FAILED, "by whom?")
            await noticed(receiver, job)
            shown = (await v1.get(f"{anywhere.url}/v1/jobs/{job.id}")).json()
            assert (shown["attention"], shown["word"]) == ("word_unlisted", "aborted")
            line = next(one for one in shown["timeline"] if one.get("step") == "state")
            assert (line["code"], line["detail"]) == ("word_unlisted", {"word": "aborted"})
            metrics = (await v1.get(f"{anywhere.url}/metrics")).text
            assert f'receiver_unlisted_words_total{{provider="made-up",state="{unknown}"}}' in metrics
            assert "aborted" not in metrics
            found = await checked(receiver)
            assert any("'aborted' is a word" in one and job.id in one for one in found)
            if unknown == "running":
                batches.document = {"id": "r1", "state": "done", "result": "all"}
                assert (await ended(receiver, job)).state is JobState.SUCCEEDED
                assert (await receiver.job(job.id)).attention == "word_unlisted"


async def test_a_job_that_waits_for_a_person_says_so(anywhere: World) -> None:
    """It is running, and shown until its provider says something else."""
    batches = Batches({"id": "r1", "state": "asks"})
    async with stub(batches) as provider:
        with_words(anywhere, provider, "")
        async with hurried(anywhere) as receiver:
            job = await receiver.submit(NAME, {})
            await noticed(receiver, job)
            seen = await receiver.job(job.id)
            assert (seen.state, seen.attention, seen.word) == (JobState.RUNNING, "needs_action", "asks")
            assert any("a person has to do something at made-up" in one for one in await checked(receiver))
            batches.document = {"id": "r1", "state": "done", "result": "all"}
            done = await ended(receiver, job)
            assert (done.state, done.attention, done.word) == (JobState.SUCCEEDED, None, None)
            assert not any("made-up" in one for one in await checked(receiver))


async def noticed(receiver: Receiver, job: Job) -> None:
    """Wait until a job deserves attention."""
    async with asyncio.timeout(40):
        while (await receiver.job(job.id)).attention is None:  # noqa: ASYNC110  (the store tells nobody)
            await asyncio.sleep(0.01)


async def checked(receiver: Receiver) -> list[str]:
    """What doctor says of the record."""
    from receiver.cli.record_checks import check_record  # noqa: PLC0415  (a command's own module)

    return [one.text async for one in check_record(receiver.running, None)]


async def test_a_result_is_fetched_in_two_steps(anywhere: World) -> None:
    """Where the result should be stands where it is; both are asked with credentials if they lie in an origin."""

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        if asked.path == "/jobs/r1":
            return replies({"id": "r1", "state": "done", "file": "f1"})
        if asked.path == "/files/f1":
            return replies({"file": {"download_url": f"{provider.url}/bytes"}})
        return Reply(body=b"the bytes", headers={"content-type": "audio/mpeg"})

    credentials = '[[credentials]]\nprefix = "Bearer "\nsecret = "env:MADE_UP_SECRET"\n'
    async with stub(answer) as provider:
        file_shape = '[shapes.file]\nresult_url = "file.download_url"'
        describe(anywhere, provider, fetch=f'answer = "file"\n{credentials}{file_shape}')
        file = Path(anywhere.environ["RECEIVER_PROVIDERS_DIR"]) / f"{NAME}.toml"
        text = file.read_text(encoding="utf-8")
        text = text.replace(
            'result_url = "result_url"', 'result_url = "https://made-up.example/files/{file}"'
        )
        file.write_text(text, encoding="utf-8")
        async with hurried(anywhere) as receiver:
            done = await ended(receiver, await receiver.submit(NAME, {}))
            assert (done.state, await content(receiver, done)) == (JobState.SUCCEEDED, b"the bytes")
            assert done.held is not None
            assert done.held.content_type == "audio/mpeg"
            assert [one.path for one in provider.gets()] == ["/jobs/r1", "/files/f1", "/bytes"]
            assert all((one.header("authorization") or "").startswith("Bearer ") for one in provider.gets())
