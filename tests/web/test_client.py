"""``receiver.client``: what another process has of a receiver, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from receiver.client import ApiError, AsyncClient, Client, NoAnswerFromReceiverError, StillRunningError
from receiver.core.model import JobState
from receiver.core.retry import Backoff
from tests.ports import free_port

from .conftest import CHAT, TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import Site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[AsyncClient]:
    """A client of the receiver."""
    async with AsyncClient(site.url, token=TOKEN) as found:
        yield found


async def test_a_job_is_submitted_waited_for_and_its_result_taken(site: Site, client: AsyncClient) -> None:
    """What the client returns is typed as the library's: the job, its end, the result's bytes."""
    job = await client.submit("perplexity-webhook", CHAT, metadata={"topic": "tea"})
    assert (job.state, job.metadata) == (JobState.SUBMITTED, {"topic": "tea"})
    waiting = asyncio.create_task(client.wait(job.id, timeout=30))
    site.sim.release(job.remote_id or "")
    ended = await waiting
    assert ended.state is JobState.SUCCEEDED
    result = await client.result(job.id)
    assert ended.result is not None
    assert (len(result.content), result.content_type) == (ended.result.size, ended.result.content_type)
    assert "choices" in result.json()


async def test_an_id_is_one_part_of_an_address_whatever_it_holds(client: AsyncClient) -> None:
    """Who hands on an id that somebody wrote asks for no other thing than a job of that id."""
    job = await client.submit("perplexity-webhook", CHAT)
    for odd in (f"../jobs/{job.id}", f"x/../{job.id}", f"{job.id}/", f"{job.id}?wait=1", f"{job.id}#x"):
        with pytest.raises(ApiError):
            await client.job(odd)


async def test_the_plain_client_says_the_same(site: Site) -> None:
    """Threads and scripts without asyncio have every call of the other."""

    def use() -> tuple[str, str, list[str]]:
        with Client(site.url, token=TOKEN) as plain:
            job = plain.run("perplexity-webhook", CHAT, timeout=30)
            cursors = [one.job.id for one in plain.completions(follow=False)]
            return job.state, plain.result(job.id).content_type, cursors

    running = asyncio.create_task(asyncio.to_thread(use))
    async with asyncio.timeout(40):
        while not running.done():
            for job in (await site.get("/v1/jobs", state="submitted")).json()["jobs"]:
                site.sim.release(job["remote_id"])
            await asyncio.sleep(0.02)
    state, kind, found = await running
    assert (state, kind, len(found)) == ("succeeded", "application/json", 1)


async def test_a_wait_that_is_given_up_says_how_the_job_stands(client: AsyncClient) -> None:
    """The job goes on; the error carries it."""
    job = await client.submit("perplexity-webhook", CHAT)
    with pytest.raises(StillRunningError) as given_up:
        await client.wait(job.id, timeout=0.1)
    assert given_up.value.job is not None
    assert given_up.value.job.id == job.id


async def test_a_problem_is_an_error_with_its_code(client: AsyncClient) -> None:
    """Status, code and field are what ``/v1`` answered."""
    with pytest.raises(ApiError) as refused:
        await client.submit("nobody", {})
    assert (refused.value.code, refused.value.answered, refused.value.field) == (
        "provider_unknown",
        422,
        "provider",
    )
    with pytest.raises(ApiError, match="cursor") as gone:
        await anext(client.completions(after="1000"))
    assert (gone.value.answered, gone.value.document["oldest"]) == (410, "0")


async def test_an_answer_that_is_lost_makes_no_second_job(site: Site) -> None:
    """The client sends the submission again under the key that it made, and gets the job of the first time."""
    lost = 0

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal lost
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(
            next(one for one in head.split(b"\r\n") if one.lower().startswith(b"content-length:"))[15:]
        )
        body = await reader.readexactly(length)
        port = int(site.url.rpartition(":")[2])
        ours, theirs = await asyncio.open_connection("127.0.0.1", port)
        theirs.write(head.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1) + body)
        answer = await ours.read()
        theirs.close()
        if lost < 2:
            lost += 1
        else:
            writer.write(answer)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with AsyncClient(url, token=TOKEN) as client:
        job = await client.submit("perplexity-webhook", CHAT)
    server.close()
    assert lost == 2
    assert [one["id"] for one in (await site.get("/v1/jobs")).json()["jobs"]] == [job.id]
    assert len(site.sim.requests("perplexity-webhook")) == 1


async def test_a_receiver_that_is_not_there_is_said_to_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bounded number of tries the client gives up."""
    monkeypatch.setattr("receiver.client.calls._RETRIES", Backoff(first=1, attempts=3))
    async with AsyncClient(f"http://127.0.0.1:{free_port()}", token=TOKEN) as client:
        with pytest.raises(NoAnswerFromReceiverError):
            await asyncio.wait_for(client.job("job_" + "0" * 32), 40)
