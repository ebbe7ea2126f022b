"""The last word of a provider about a job, whole: beside the result, stored once, kept where it is no outcome."""

import gzip
import json
from typing import Any

import httpx
import pytest

from receiver import Job, JobState, Receiver
from receiver.client import AsyncClient
from receiver.core.reading.given import ANSWER
from receiver.storage.results import CHUNK
from receiver.storage.store import Store

from .described import Clock, describe, hook, replies, signature
from .hurry import hurried
from .stub import Asked, Reply, stub
from .world import API_TOKEN, World, ended, until

NAME = "made-up"
DONE = {"id": "r1", "createdAt": "2026-11-29T10:00:00Z", "model": "m-1", "state": "done", "result": {"n": 1}}


@pytest.fixture(params=["sqlite", "postgresql"])
def anywhere(request: pytest.FixtureRequest, world: World) -> World:
    """A world on each database."""
    if request.param == "postgresql":
        world.environ["RECEIVER_DATABASE_URL"] = request.getfixturevalue("migrated_url")
    return world


class Says:
    """A provider that takes a job and says one thing about it."""

    def __init__(self, says: Reply | dict[str, Any], result: bytes = b"") -> None:
        self.says = says
        self.result = result

    async def __call__(self, asked: Asked) -> Reply:
        """Say it."""
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        if asked.path == "/bytes":
            return Reply(body=self.result, headers={"content-type": "text/csv"})
        return self.says if isinstance(self.says, Reply) else replies(self.says)


class Got:
    """What a handler of every end was given, in pieces or whole."""

    def __init__(self, *, pieces: bool = False) -> None:
        self.pieces = pieces
        self.seen: list[tuple[str, bytes | None, bytes | None]] = []

    def __call__(self, receiver: Receiver) -> None:
        """Register it."""

        @receiver.on(NAME, state="any", pieces=self.pieces)
        async def take(job: Job) -> None:
            result = None if job.result is None else b"".join([piece async for piece in job.result])
            answer = None if job.answer is None else b"".join([piece async for piece in job.answer])
            self.seen.append((job.state.value, result, answer))

    async def one(self) -> tuple[str, bytes | None, bytes | None]:
        """The first."""
        await until(lambda: bool(self.seen))
        return self.seen[0]


async def stored_bytes(store: Store, job: Job) -> int:
    """How many bytes lie in rows of their own for a job."""

    def count(tx: Any, job_id: str) -> int:  # noqa: ANN401
        found = tx.run(
            "SELECT coalesce(sum(length(data)), 0) FROM result_chunk WHERE job_id = :id", {"id": job_id}
        )
        return int(found[0][0])

    return await store.read(count, job.id)


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("size", [1, CHUNK - 40, 2 * CHUNK + 17])
async def test_a_polled_document_is_kept_once(anywhere: World, pieces: bool, size: int) -> None:  # noqa: FBT001
    """The result is a slice of it, also across the bounds of what is read at once."""
    text = "".join(chr(97 + n % 26) for n in range(size))
    document = DONE | {"result": {"text": text}, "after": "x" * 1000}
    got = Got(pieces=pieces)
    async with stub(Says(document)) as provider:
        describe(anywhere, provider)
        async with hurried(anywhere, got) as receiver:
            done = await ended(receiver, await receiver.submit(NAME, {}))
            whole, part = json.dumps(document).encode(), json.dumps({"text": text}).encode()
            assert await got.one() == ("succeeded", part, whole)
            assert await receiver.running.store.result(done) == part
            assert done.held is not None
            assert (done.held.offset, done.held.size) == (ANSWER, len(part))
            assert await stored_bytes(receiver.running.store, done) == len(whole)


@pytest.mark.parametrize("pieces", [False, True])
async def test_a_callback_is_the_answer_that_is_kept_already(anywhere: World, pieces: bool) -> None:  # noqa: FBT001
    """No byte of it is stored a second time."""
    got = Got(pieces=pieces)
    async with (
        stub(Says({"id": "r1", "state": "running"})) as provider,
        httpx.AsyncClient(timeout=60) as client,
    ):
        describe(anywhere, provider, where="body", delivers="result", expected="1h")
        async with hurried(anywhere, got) as receiver:
            job = await receiver.submit(NAME, {})
            body = json.dumps(DONE).encode()
            headers = signature(body) | {"content-type": "application/json; charset=utf-8"}
            assert (await client.post(hook(provider.asked), content=body, headers=headers)).status_code == 200
            assert await got.one() == ("succeeded", b'{"n": 1}', body)
            done = await receiver.wait(job.id)
            assert done.answer is not None
            assert done.answer.json()["model"] == "m-1"
            assert done.answer.content_type == "application/json; charset=utf-8"
            assert await stored_bytes(receiver.running.store, done) == 0


async def test_a_packed_callback_is_unpacked(anywhere: World) -> None:
    """What a handler reads is the document."""
    got = Got()
    async with (
        stub(Says({"id": "r1", "state": "running"})) as provider,
        httpx.AsyncClient(timeout=60) as client,
    ):
        describe(anywhere, provider, where="body", delivers="result", expected="1h")
        async with hurried(anywhere, got) as receiver:
            await receiver.submit(NAME, {})
            body = gzip.compress(json.dumps(DONE).encode())
            headers = signature(body) | {"content-encoding": "gzip", "content-type": "application/json"}
            assert (await client.post(hook(provider.asked), content=body, headers=headers)).status_code == 200
            assert await got.one() == ("succeeded", b'{"n": 1}', json.dumps(DONE).encode())


@pytest.mark.parametrize("how", ["callback", "poll"])
async def test_a_failure_has_an_answer_too(anywhere: World, how: str) -> None:
    """All that the provider said of it is there, whoever brought it."""
    broken = {"id": "r1", "state": "broken", "reason": "upside down", "page": 7}
    got = Got()
    says = Says(broken if how == "poll" else {"id": "r1", "state": "running"})
    async with stub(says) as provider, httpx.AsyncClient(timeout=60) as client:
        describe(
            anywhere, provider, where="body", delivers="result", expected="1s" if how == "poll" else "1h"
        )
        async with hurried(anywhere, got) as receiver:
            await receiver.submit(NAME, {})
            if how == "callback":
                body = json.dumps(broken).encode()
                await client.post(hook(provider.asked), content=body, headers=signature(body))
            assert await got.one() == ("failed", None, json.dumps(broken).encode())


async def test_a_result_elsewhere_leaves_the_document_that_named_it(anywhere: World) -> None:
    """Both are kept."""
    got = Got()
    async with stub(Says({}, b"a,b\n1,2\n")) as provider:
        named = {"id": "r1", "state": "done", "model": "m-1", "result_url": f"{provider.url}/bytes"}
        provider._answer = Says(named, b"a,b\n1,2\n")
        describe(anywhere, provider)
        async with hurried(anywhere, got) as receiver:
            done = await ended(receiver, await receiver.submit(NAME, {}))
            assert await got.one() == ("succeeded", b"a,b\n1,2\n", json.dumps(named).encode())
            assert await stored_bytes(receiver.running.store, done) == 8 + len(json.dumps(named))


async def test_an_answer_to_the_submission_may_be_the_last_word(anywhere: World) -> None:
    """A job that is done at once has its answer as well."""

    async def at_once(_asked: Asked) -> Reply:
        return replies(DONE)

    got = Got()
    async with stub(at_once) as provider:
        describe(anywhere, provider)
        async with hurried(anywhere, got) as receiver:
            await receiver.submit(NAME, {})
            assert await got.one() == ("succeeded", b'{"n": 1}', json.dumps(DONE).encode())


async def test_the_answer_is_handed_out(world: World) -> None:
    """Over ``/v1``, by the client, and said of the job; a job that has none says so."""
    async with stub(Says(DONE)) as provider:
        describe(world, provider)
        async with hurried(world) as receiver, AsyncClient(world.url, token=API_TOKEN) as client:
            done = await ended(receiver, await receiver.submit(NAME, {}))
            found = await client.answer(done.id)
            assert (found.json(), found.content_type) == (DONE, "application/json")
            assert (await client.job(done.id)).answer
            provider._answer = Says({"id": "r1", "state": "running"})
            other = await receiver.submit(NAME, {"n": 2})
            assert not (await client.job(other.id)).answer
            async with httpx.AsyncClient(
                headers={"authorization": f"Bearer {API_TOKEN}"}, timeout=60
            ) as http:
                missing = await http.get(f"{world.url}/v1/jobs/{other.id}/answer")
                assert (missing.status_code, missing.json()["code"]) == (404, "answer_missing")


PAGE = b"<html><body>Sign in to  continue</body></html>"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(body=PAGE, headers={"content-type": "text/html"}), "begins: <html><body>Sign in to continue"),
        (Reply(), "is empty"),
        (Reply(body=b'{"id": "r1", "progress": 1}'), 'begins: {"id": "r1", "progress": 1}'),
        (Reply(status=500, body=b"boom"), "begins: boom"),
    ],
)
async def test_what_came_instead_of_an_outcome_is_said_and_kept(
    anywhere: World, reply: Reply, says: str
) -> None:
    """A job that ends by its deadline though its provider answered is not said to have been met with silence."""
    clock = Clock()
    async with stub(Says(reply)) as provider:
        describe(anywhere, provider, every="1s")
        async with anywhere.receiver(clock.wind) as receiver:
            job = await receiver.submit(NAME, {})
            for minutes in (60, 61, 62, 72, 74, 80, 90):
                clock.ahead = minutes * 60_000
                asked = len(provider.gets())
                receiver.running.notify()

                async def moved(asked: int = asked) -> bool:
                    return len(provider.gets()) > asked or (await receiver.job(job.id)).state.ended

                await until(moved)
            done = await ended(receiver, job)
            assert done.state is JobState.TIMED_OUT
            assert done.error is not None
            assert done.error.code == "answer_unusable"
            assert says in done.error.text
            kept = await receiver.wait(done.id)
            assert kept.answer is not None
            assert kept.answer.content == reply.body


async def test_silence_is_still_silence(world: World) -> None:
    """A provider that was never heard leaves nothing."""
    clock = Clock()

    async def silent(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        return replies({"id": "r1", "state": "running"})

    async with stub(silent) as provider:
        describe(world, provider)
        async with world.receiver(clock.wind) as receiver:
            job = await receiver.submit(NAME, {})
            clock.ahead = 61 * 60_000
            receiver.running.notify()
            done = await ended(receiver, job)
            assert (done.error and done.error.code, done.answered) == ("deadline_passed", False)
