"""Batches: lines in, one job in our record, its output and what failed kept with it.

The fakes answer as the vendors' own packages expect it (the sources and the day are in the descriptions).
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from receiver import Job, JobState, Receiver
from receiver.core.errors import RequestError
from receiver.core.file import FileState

from .batches import APIS, JSONL, LINES, Batch, cohere
from .stub import Asked, Reply, Stub, stub
from .world import World, until

#: Those that have to be asked whether a file may be used already.
WAITING = ["cohere-batch", "fireworks-batch", "gemini-batch"]


@asynccontextmanager
async def playing(world: World, name: str, batch: Batch) -> AsyncIterator[tuple[Stub, Receiver]]:
    """A receiver whose provider *name* is a fake."""

    async def answer(asked: Asked) -> Reply:
        return APIS[name].answer(batch, asked)

    async with stub(answer) as serving:
        batch.url = serving.url
        point(world, name, serving)
        async with world.receiver() as receiver:
            yield serving, receiver


def point(world: World, name: str, serving: Stub) -> None:
    """Have receivers know the provider *name* at the fake, and ask it every second."""
    description = files("receiver.providers").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    quick = re.sub(r'(every|longest) = "[^"]*"', r'\1 = "1s"', description)
    quick = re.sub(r"(?m)^(ready = .*)\}$", r'\1, every = "1s" }', quick)
    Path(world.environ["RECEIVER_PROVIDERS_DIR"], f"{name}.toml").write_text(quick, encoding="utf-8")
    world.environ |= APIS[name].environ
    world.environ[f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL"] = serving.url


async def kept(job: Job) -> dict[str, bytes]:
    """The files that are kept with a job, by their names."""
    found = {}
    for file in job.files:
        assert file.state is FileState.STORED, (file.name, file.code)
        async with file.open() as stream:
            found[file.name] = await stream.read()
    return found


def started(serving: Stub, name: str) -> int:
    """How many jobs were started."""
    return sum(one.method == "POST" and one.path == APIS[name].starts for one in serving.asked)


async def finished(receiver: Receiver, name: str, request: dict[str, Any]) -> Job:
    """Submit, without a callback, and wait for the end."""
    job = await receiver.submit(name, request, callback=False)
    return await receiver.wait(job.id, timeout=30)


@pytest.mark.parametrize("name", APIS)
async def test_lines_become_a_file_a_job_its_output_and_its_errors(world: World, name: str) -> None:
    """One submission, one job in our record; the file goes byte for byte, and whatever came out is kept."""
    api, batch = APIS[name], Batch()
    async with playing(world, name, batch) as (serving, receiver):
        job = await finished(receiver, name, {**api.request, "requests": LINES})
        assert (job.state, job.error) == (JobState.SUCCEEDED, None)
        assert batch.file == JSONL
        assert job.result is not None
        assert api.result is None or job.result.content == api.result
        assert await kept(job) == api.kept
        assert started(serving, name) == 1


@pytest.mark.parametrize("name", WAITING)
async def test_a_file_is_waited_for_and_uploaded_once(world: World, name: str) -> None:
    """A job is started only once its file may be used; meanwhile the file is not sent again."""
    api, batch = APIS[name], Batch(checks=2)
    async with playing(world, name, batch) as (serving, receiver):
        job = await finished(receiver, name, {**api.request, "requests": LINES})
        assert job.state is JobState.SUCCEEDED
        assert (batch.checks, started(serving, name)) == (-1, 1)
        sent = [one for one in serving.asked if "déjà vu".encode() in one.body]
        assert len(sent) == 1
        record = await world.record(receiver, job)
        submissions = [one.code for one in record.attempts if one.step == "submit"]
        assert submissions == ["upload_not_ready", "upload_not_ready", None]


async def test_a_file_that_is_no_good_ends_the_job_with_the_reason(world: World) -> None:
    """The provider's own words are kept, and nothing is started."""
    async with playing(world, "cohere-batch", Batch(broken=True)) as (serving, receiver):
        request = {**APIS["cohere-batch"].request, "requests": LINES}
        job = await finished(receiver, "cohere-batch", request)
        assert job.state is JobState.FAILED
        assert job.error is not None
        assert (job.error.code, job.error.text) == ("upload_unusable", "no field text")
        assert started(serving, "cohere-batch") == 0


async def test_a_file_that_is_there_already_is_not_sent_again(world: World) -> None:
    """Together knows a file by its checksum and says so; the job is made of the one that is there."""
    batch = Batch(there=True)
    async with playing(world, "together-batch", batch) as (serving, receiver):
        request = {**APIS["together-batch"].request, "requests": LINES}
        job = await finished(receiver, "together-batch", request)
        assert (job.state, batch.file) == (JobState.SUCCEEDED, None)
        assert [one.path for one in serving.asked if one.method == "PUT"] == []


async def test_what_an_address_needs_is_missed_before_anything_is_recorded(world: World) -> None:
    """A field of the request that is no text is told at once."""
    async with playing(world, "cohere-batch", Batch()) as (serving, receiver):
        request = {**APIS["cohere-batch"].request, "requests": LINES, "dataset_type": 7}
        with pytest.raises(RequestError, match="dataset_type"):
            await receiver.submit("cohere-batch", request)
        assert serving.asked == []


async def test_a_process_that_is_killed_during_an_upload_leaves_no_doubt(world: World) -> None:
    """Nothing was bought by then: the next process uploads anew, and starts the job once."""
    name, batch, reached = "cohere-batch", Batch(), asyncio.Event()

    async def answer(asked: Asked) -> Reply:
        if asked.path.startswith("/v1/datasets?") and not reached.is_set():
            reached.set()
            await asyncio.Event().wait()
        return cohere(batch, asked)

    async with stub(answer) as serving:
        batch.url = serving.url
        point(world, name, serving)
        async with world.process("from receiver import Receiver\n\nreceiver = Receiver()\n") as process:
            order = {"provider": name, "request": {**APIS[name].request, "requests": LINES}}
            submitting = asyncio.create_task(process.request("POST", "/v1/jobs", json=order))
            await reached.wait()
            process.kill()
            await asyncio.wait({submitting})
            submitting.exception()
            await process.start()

            async def succeeded() -> bool:
                (job,) = (await process.request("GET", "/v1/jobs")).json()["jobs"]
                return bool(job["state"] == "succeeded")

            await until(succeeded, patience=30)
        assert started(serving, name) == 1
