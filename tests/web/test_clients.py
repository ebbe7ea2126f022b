"""Every call of both clients, and what they do where an answer is late, lost, or asks for patience."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from receiver.client import ApiError, AsyncClient, Client, NoAnswerFromReceiverError, StillRunningError
from receiver.clock import read_clock
from receiver.core.model import JobState
from receiver.core.retry import Backoff
from receiver.views.completion import CompletionDocument
from receiver.views.job import job_document
from tests.core.making import JOB_ID
from tests.core.making import job as made_job
from tests.path.stub import Asked, Reply, stub
from tests.path.test_mounted import serving
from tests.ports import free_port

from .conftest import CHAT, TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .conftest import Site

    ClientOf = Callable[..., Any]

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Threaded:
    """The plain client, each call of it in a thread, so that a test speaks to both alike."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (the client's own)
        async def call(*given: Any, **named: Any) -> Any:  # noqa: ANN401
            return await asyncio.to_thread(getattr(self._client, name), *given, **named)

        return call

    async def completions(self, **options: Any) -> AsyncIterator[Any]:  # noqa: ANN401
        """As the client for asyncio has it."""
        found = self._client.completions(**options)
        while (one := await asyncio.to_thread(next, found, None)) is not None:
            yield one


@pytest.fixture(params=["asynchronous", "plain"])
async def client_of(request: pytest.FixtureRequest) -> AsyncIterator[ClientOf]:
    """What makes clients of a receiver at an address, of either kind."""
    async with contextlib.AsyncExitStack() as opened:

        def made(url: str, token: str = TOKEN) -> Any:  # noqa: ANN401  (either of two, which have the same calls)
            if request.param == "plain":
                return Threaded(opened.enter_context(Client(url, token=token)))
            client = AsyncClient(url, token=token)
            opened.push_async_exit(client)
            return client

        yield made


@pytest.fixture
def client(site: Site, client_of: ClientOf) -> Any:  # noqa: ANN401
    """A client of the receiver."""
    return client_of(site.url)


async def released(site: Site, task: asyncio.Task[Any]) -> Any:  # noqa: ANN401
    """Have every job end, until *task* has."""
    async with asyncio.timeout(40):
        while not task.done():
            for job in (await site.get("/v1/jobs", state="submitted")).json()["jobs"]:
                site.sim.release(job["remote_id"])
            await asyncio.sleep(0.02)
    return await task


async def test_what_is_submitted_says_everything_that_submit_takes(site: Site, client: Any) -> None:  # noqa: ANN401
    """Operation, metadata, deadline, the caller's own key, its place in a trace, and what becomes of files."""
    options = {"idempotency_key": "mine", "metadata": {"n": 1.5}, "deadline": 600, "files": "never"}
    job = await client.submit("perplexity-webhook", CHAT, traceparent=TRACEPARENT, **options)
    again = await client.submit("perplexity-webhook", CHAT, traceparent=TRACEPARENT, **options)
    assert again.id == job.id
    stored = await site.receiver.job(job.id)
    assert (stored.traceparent, stored.files_when, stored.metadata) == (TRACEPARENT, "never", {"n": 1.5})
    assert stored.deadline_at - stored.created_at == 600_000
    with pytest.raises(ApiError) as refused:
        await client.submit("perplexity-webhook", {**CHAT, "model": "other"}, idempotency_key="mine")
    assert (refused.value.code, refused.value.answered) == ("idempotency_key_reused", 409)


async def test_a_job_is_run_looked_at_replayed_and_its_bytes_taken(site: Site, client: Any) -> None:  # noqa: ANN401
    """``run`` is the job once it has ended; what is known of it is had by its id, and handlers can have it again."""
    running = asyncio.create_task(client.run("perplexity-webhook", CHAT, timeout=30))
    job = await released(site, running)
    assert (job.state, (await client.job(job.id)).state) == (JobState.SUCCEEDED, JobState.SUCCEEDED)
    result, answer = await client.result(job.id), await client.answer(job.id)
    assert result.content == (await site.get(f"/v1/jobs/{job.id}/result")).content
    assert answer.content == (await site.get(f"/v1/jobs/{job.id}/answer")).content
    assert await client.files(job.id) == []
    await site.until(f"/v1/jobs/{job.id}", lambda _: len(site.handled) == 1)
    assert (await client.replay(job.id, dry_run=True))["handlers"] == ["keep"]
    assert len(site.handled) == 1
    assert (await client.replay(job.id, handler="keep"))["handlers"] == ["keep"]
    await site.until(f"/v1/jobs/{job.id}", lambda _: len(site.handled) == 2)
    (callback,) = (await site.get("/v1/callbacks", job=job.id)).json()["callbacks"]
    assert (await client.replay(callback["id"], dry_run=True))["dry_run"] is True
    with pytest.raises(ApiError) as refused:
        await client.replay(job.id, handler="nobody")
    assert refused.value.code == "handler_unknown"


async def test_a_job_is_cancelled(site: Site, client: Any) -> None:  # noqa: ANN401
    """The provider is asked to, and whoever waits hears of it."""
    job = await client.submit("pulse", {"file_url": "https://example.com/a.pdf", "async": True})
    await client.cancel(job.id)
    ended = await client.wait(job.id, timeout=40)
    assert ended.state is JobState.CANCELED
    with pytest.raises(ApiError) as refused:
        await client.cancel(job.id)
    assert refused.value.answered == 409
    with pytest.raises(ApiError) as missing:
        await client.result(job.id)
    assert (missing.value.code, missing.value.answered) == ("result_missing", 404)
    assert site.handled


async def test_a_wait_of_no_time_is_one_look(client: Any) -> None:  # noqa: ANN401
    """It says how the job stands; who asks for nobody's job is told at once."""
    job = await client.submit("perplexity-webhook", CHAT)
    for timeout in (0, 0.0, -1):
        with pytest.raises(StillRunningError) as given_up:
            await client.wait(job.id, timeout=timeout)
        assert given_up.value.job is not None
        assert (given_up.value.job.id, given_up.value.job.state) == (job.id, JobState.SUBMITTED)
    with pytest.raises(ApiError) as unknown:
        await client.wait(JOB_ID, timeout=30)
    assert unknown.value.code == "job_not_found"


async def test_completions_are_read_by_page_by_name_and_without_an_end(site: Site, client: Any) -> None:  # noqa: ANN401
    """Filters hold, a named reader goes on where it stood, past what it does not want; followers get what comes."""
    first = await site.ended("perplexity-webhook")
    second = await site.ended("netnut")
    page = await client.page()
    assert ([one.job.id for one in page.completions], page.cursor) == ([first["id"], second["id"]], "2")
    assert [one.job.id async for one in client.completions(provider="netnut", follow=False)] == [second["id"]]
    assert [one async for one in client.completions(state="failed", follow=False)] == []
    assert [one.cursor async for one in client.completions(name="desk", follow=False)] == ["1", "2"]
    assert await client.reader("desk") == "2"
    assert [one async for one in client.completions(name="choosy", state="failed", follow=False)] == []
    assert await client.reader("choosy") == "2"
    assert await client.reader("nobody") is None
    assert await client.stand("desk", "1") == "1"
    coming = client.completions(name="desk")
    assert (await anext(coming)).job.id == second["id"]
    following = asyncio.create_task(anext(coming))
    third = await site.ended("perplexity-webhook")
    assert (await asyncio.wait_for(following, 40)).job.id == third["id"]
    with pytest.raises(ApiError) as gone:
        await client.page(after="1000")
    assert (gone.value.code, gone.value.document["oldest"]) == ("cursor_gone", "0")


async def test_a_wrong_token_is_told(site: Site, client_of: ClientOf) -> None:
    """With the code that ``/v1`` has for it, and it is not tried again."""
    with pytest.raises(ApiError) as refused:
        await client_of(site.url, "not the token").job(JOB_ID)
    assert refused.value.answered in {401, 403}


@pytest.mark.parametrize("end", ["", "/"])
async def test_a_receiver_may_be_mounted_below_a_path(site: Site, client_of: ClientOf, end: str) -> None:
    """The address is the one that it is mounted at, with a slash behind it or not."""
    from fastapi import FastAPI

    app = FastAPI()
    app.mount("/some/hooks", site.receiver.asgi)
    port = free_port()
    job = await site.submit("perplexity-webhook")
    async with serving(app, port):
        found = await client_of(f"http://127.0.0.1:{port}/some/hooks{end}").job(job["id"])
    assert found.id == job["id"]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_who_asks_for_patience_gets_it(client_of: ClientOf, status: int) -> None:
    """The same order under the same key, after as long as was asked; a proxy's own page is no reason to give up."""
    submitted = made_job(state=JobState.SUBMITTED)

    async def answer(_asked: Asked) -> Reply:
        if len(api.asked) == 1:
            return Reply(status=status, body=b"<html>", headers={"retry-after": "1"})
        return Reply(status=202, body=msgspec.json.encode(job_document(submitted)))

    async with stub(answer) as api:
        began = time.monotonic()
        job = await client_of(api.url).submit("perplexity-webhook", CHAT)
        assert time.monotonic() - began >= 1
    assert job.id == submitted.id
    keys = {json.loads(one.body)["idempotency_key"] for one in api.asked}
    assert (len(api.asked), len(keys)) == (2, 1)
    assert None not in keys


async def test_patience_may_be_asked_for_by_a_date(client_of: ClientOf) -> None:
    """It is waited for until then, and not for a minute."""
    submitted = made_job(state=JobState.SUBMITTED)

    async def answer(_asked: Asked) -> Reply:
        if len(api.asked) == 1:
            return Reply(
                status=503, headers={"retry-after": formatdate(read_clock() / 1000 + 2, usegmt=True)}
            )
        return Reply(body=msgspec.json.encode(job_document(submitted)))

    async with stub(answer) as api:
        began = time.monotonic()
        assert (await client_of(api.url).submit("perplexity-webhook", CHAT)).id == submitted.id
        # A date has no fractions of a second.
        assert 0.9 < time.monotonic() - began < 40


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
async def test_what_was_decided_is_not_asked_again(client_of: ClientOf, status: int) -> None:
    """A refusal is final, and so is an outcome that nobody knows."""

    async def answer(_asked: Asked) -> Reply:
        return Reply(status=status, body=b'{"code": "made_up", "detail": "So it is."}')

    async with stub(answer) as api:
        with pytest.raises(ApiError, match="So it is") as refused:
            await client_of(api.url).submit("perplexity-webhook", CHAT)
    assert (refused.value.code, refused.value.answered, len(api.asked)) == ("made_up", status, 1)


async def test_a_replay_that_may_have_been_heard_is_not_repeated(
    client_of: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each makes new dispatches. One that surely was not heard is sent again, and so is a question."""
    monkeypatch.setattr("receiver.client.calls._RETRIES", Backoff(first=1, attempts=3))

    async def hang_up(_asked: Asked) -> Reply:
        raise ConnectionError

    async with stub(hang_up) as api:
        client = client_of(api.url)
        with pytest.raises(NoAnswerFromReceiverError):
            await client.replay(JOB_ID)
        assert len(api.asked) == 1
        with pytest.raises(NoAnswerFromReceiverError):
            await client.replay(JOB_ID, dry_run=True)
        assert len(api.asked) == 4


def away(status: int) -> Reply:
    """What is heard of a receiver that is being started again: a proxy's answer, or nothing."""
    if not status:
        raise ConnectionError
    return Reply(status=status, body=b"<html>")


@pytest.mark.parametrize("status", [0, 502, 503])
async def test_a_wait_outlasts_a_receiver_that_is_away(
    client_of: ClientOf, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Once it has answered it is asked again for as long as the caller waits, however often it is silent."""
    monkeypatch.setattr("receiver.client.calls._RETRIES", Backoff(first=1, longest=1, attempts=2))
    states = {1: JobState.SUBMITTED, 2: JobState.SUBMITTED, 12: JobState.SUCCEEDED}

    async def answer(_asked: Asked) -> Reply:
        found = states.get(len(api.asked))
        return (
            away(status)
            if found is None
            else Reply(body=msgspec.json.encode(job_document(made_job(state=found))))
        )

    async with stub(answer) as api:
        job = await client_of(api.url).run("perplexity-webhook", CHAT, timeout=40)
    assert (job.state, len(api.asked)) == (JobState.SUCCEEDED, 12)


async def test_a_wait_for_who_stays_away_ends_in_its_time(
    client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That nobody answers is said then; and at once where nobody ever did, as at a wrong address."""
    monkeypatch.setattr("receiver.client.calls._RETRIES", Backoff(first=1, longest=1, attempts=2))

    async def answer(_asked: Asked) -> Reply:
        if len(api.asked) == 1:
            return Reply(body=msgspec.json.encode(job_document(made_job(state=JobState.SUBMITTED))))
        return away(0)

    async with stub(answer) as api:
        with pytest.raises(NoAnswerFromReceiverError):
            await client_of(api.url).wait(JOB_ID, timeout=0.5)
        assert len(api.asked) > 3
    nowhere = client_of(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(NoAnswerFromReceiverError):
        await asyncio.wait_for(nowhere.wait(JOB_ID, timeout=3600), 40)


@pytest.mark.parametrize("status", [0, 502])
async def test_who_follows_outlasts_a_receiver_that_is_away(
    client_of: ClientOf, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A worker on the feed goes on by itself where it stood; its place is put again until it is taken."""
    monkeypatch.setattr("receiver.client.calls._RETRIES", Backoff(first=1, longest=1, attempts=2))
    tries: Counter[str] = Counter()
    one = CompletionDocument(
        cursor="8",
        state=JobState.SUCCEEDED,
        replay_id=None,
        job=job_document(made_job(state=JobState.SUCCEEDED)),
    )

    async def answer(asked: Asked) -> Reply:
        what = asked.method + asked.path.partition("?")[0]
        tries[what] += 1
        if what.startswith("GET/v1/readers/"):
            return Reply(body=b'{"cursor": "7"}')
        if what == "GET/v1/completions" and tries[what] == 1:
            return Reply(body=b'{"completions": [], "cursor": "7"}')
        if tries[what] % 5:
            return away(status)
        if what == "PUT/v1/readers/worker":
            return Reply(body=b'{"cursor": "8"}')
        return Reply(body=msgspec.json.encode({"completions": [one], "cursor": "8"}))

    async with stub(answer) as api:
        found = client_of(api.url).completions(name="worker")
        cursors = [(await anext(found)).cursor for _ in range(3)]
    assert (cursors, tries["PUT/v1/readers/worker"]) == (["8"] * 3, 10)
