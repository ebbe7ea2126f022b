"""Batches whose files take more than one request: lines in, one job, its output and what failed kept with it.

The fakes answer as the vendors' own packages expect it (the sources and the day are in the descriptions).
"""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from receiver import Job, JobState, Receiver
from receiver.core.errors import RequestError
from receiver.core.file import FileState

from .stub import Asked, Reply, Stub, stub
from .test_uploads import parts_of
from .world import World, until

LINES = [{"custom_id": "1", "body": {"text": "déjà vu"}}, {"custom_id": "2", "body": {"text": "b"}}]
JSONL = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in LINES)
OUTPUT = b'{"custom_id": "1", "response": {}}\n'
ERRORS = b'{"custom_id": "2", "error": "too long"}\n'


@dataclass
class Batch:
    """What a provider's side remembers."""

    url: str = ""
    #: The bytes of the file, as they arrived.
    file: bytes | None = None
    #: What it answers first when it is asked whether the file is good.
    checks: int = 0
    #: What a second upload is answered.
    there: bool = False
    #: Whether the file turns out to be no good.
    broken: bool = False


def answered(document: dict[str, Any], *, status: int = 200, **headers: str) -> Reply:
    """An answer in JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(document).encode()
    return Reply(status=status, body=body, headers={"content-type": "application/json", **named})


def together(batch: Batch, asked: Asked) -> Reply:
    """Together's side: a redirect names the address that takes the bytes, then the file is prepared."""
    match asked.method, asked.path:
        case "POST", "/v1/files":
            form = parts_of(asked)
            assert (form["purpose"], form["file_name"], form["file_type"]) == (
                b"batch-api",
                b"batch.jsonl",
                b"jsonl",
            )
            assert form["checksum"] == hashlib.sha256(JSONL).hexdigest().encode()
            if batch.there:
                return answered({"file_id": "file-1"}, status=409)
            place = f"{batch.url}/storage/file-1?signature=s"
            return Reply(status=302, headers={"location": place, "x-together-file-id": "file-1"})
        case "PUT", "/storage/file-1?signature=s":
            assert asked.header("authorization") is None
            batch.file = asked.body
            return Reply()
        case "POST", "/v1/files/file-1/preprocess":
            return answered({"id": "file-1", "filename": "batch.jsonl"})
        case "POST", "/v1/batches":
            assert json.loads(asked.body) == {"endpoint": "/v1/chat/completions", "input_file_id": "file-1"}
            return answered({"job": {"id": "b1", "status": "VALIDATING"}})
        case "GET", "/v1/batches/b1":
            return answered(
                {"id": "b1", "status": "COMPLETED", "output_file_id": "out", "error_file_id": "err"}
            )
    return Reply(body={"/v1/files/out/content": OUTPUT, "/v1/files/err/content": ERRORS}[asked.path])


def cohere(batch: Batch, asked: Asked) -> Reply:
    """Cohere's side: a dataset that is good once it has been validated, and one of several parts that comes out."""
    path, _, query = asked.path.partition("?")
    match asked.method, path:
        case "POST", "/v1/datasets":
            assert re.fullmatch(r"name=receiver-[0-9a-f]+&type=batch-chat-v2-input", query)
            batch.file = parts_of(asked)["data"]
            return answered({"id": "d1"})
        case "GET", "/v1/datasets/d1":
            batch.checks -= 1
            said = "queued" if batch.checks >= 0 else "failed" if batch.broken else "validated"
            dataset = {"id": "d1", "validation_status": said, "validation_error": "no field text"}
            return answered({"dataset": dataset})
        case "POST", "/v2/batches":
            assert json.loads(asked.body) == {"name": "n", "model": "m", "input_dataset_id": "d1"}
            return answered({"batch": {"id": "b1", "status": "BATCH_STATUS_QUEUED"}})
        case "GET", "/v2/batches/b1":
            ended = {"id": "b1", "status": "BATCH_STATUS_COMPLETED", "output_dataset_id": "d2"}
            return answered({"batch": ended})
        case "GET", "/v1/datasets/d2":
            parts = [{"name": name, "url": f"{batch.url}/parts/{name}"} for name in ("out-0", "out-1")]
            return answered({"dataset": {"id": "d2", "dataset_parts": parts}})
    return Reply(body={"/parts/out-0": OUTPUT, "/parts/out-1": ERRORS}[path])


def fireworks(batch: Batch, asked: Asked) -> Reply:
    """Fireworks' side: a dataset is made, filled, and READY some time after that."""
    path = asked.path.removeprefix("/v1/accounts/mine/")
    datasets = re.fullmatch(r"datasets/(receiver-[0-9a-z]+)(:upload)?", path)
    if (asked.method, path) == ("POST", "datasets"):
        made = json.loads(asked.body)
        assert made["dataset"] == {"userUploaded": {}}
        return answered({"name": f"accounts/mine/datasets/{made['datasetId']}", "state": "UPLOADING"})
    if datasets is not None and datasets[2]:
        batch.file = parts_of(asked)["file"]
        return answered({"id": datasets[1], "filename": "batch.jsonl"})
    if datasets is not None:
        batch.checks -= 1
        state = "UPLOADING" if batch.checks >= 0 else "READY"
        return answered({"name": f"accounts/mine/datasets/{datasets[1]}", "state": state})
    if (asked.method, path) == ("POST", "batchInferenceJobs"):
        assert json.loads(asked.body)["inputDatasetId"].startswith("accounts/mine/datasets/receiver-")
        return answered({"name": "accounts/mine/batchInferenceJobs/j1", "state": "JOB_STATE_CREATING"})
    if path == "batchInferenceJobs/j1":
        job = {"name": "accounts/mine/batchInferenceJobs/j1", "state": "JOB_STATE_COMPLETED"}
        return answered({**job, "outputDatasetId": "accounts/mine/datasets/out"})
    if path == "datasets/out:getDownloadEndpoint":
        signed = {"d/results.jsonl": "/signed/results.jsonl", "d/errors.jsonl": "/signed/errors.jsonl"}
        links = {name: f"{batch.url}{place}" for name, place in signed.items()}
        return answered({"filenameToSignedUrls": links})
    return Reply(body={"/signed/results.jsonl": OUTPUT, "/signed/errors.jsonl": ERRORS}[asked.path])


def gemini(batch: Batch, asked: Asked) -> Reply:
    """Gemini's side: the resumable upload in two requests, and an operation."""
    match asked.method, asked.path:
        case "POST", "/upload/v1beta/files":
            assert asked.header("x-goog-upload-command") == "start"
            assert asked.header("x-goog-upload-protocol") == "resumable"
            assert asked.header("x-goog-upload-header-content-length") == str(len(JSONL))
            assert asked.header("x-goog-api-key") == "a key"
            assert json.loads(asked.body)["file"]["displayName"] == "batch.jsonl"
            return Reply(headers={"x-goog-upload-url": f"{batch.url}/upload/v1beta/files?upload_id=u"})
        case "POST", "/upload/v1beta/files?upload_id=u":
            assert asked.header("x-goog-upload-command") == "upload, finalize"
            assert asked.header("x-goog-upload-offset") == "0"
            assert asked.header("x-goog-api-key") is None
            batch.file = asked.body
            return answered({"file": {"name": "files/f1", "state": "PROCESSING"}})
        case "GET", "/v1beta/files/f1":
            batch.checks -= 1
            return answered({"name": "files/f1", "state": "PROCESSING" if batch.checks >= 0 else "ACTIVE"})
        case "POST", "/v1beta/models/gemini-2.5-flash:batchGenerateContent":
            sent = json.loads(asked.body)["batch"]
            assert sent["inputConfig"] == {"fileName": "files/f1"}
            assert sent["displayName"] == "mine"
            return answered({"name": "batches/b1", "metadata": {"state": "BATCH_STATE_PENDING"}})
        case "GET", "/v1beta/batches/b1":
            ended = {"state": "BATCH_STATE_SUCCEEDED", "output": {"responsesFile": "files/out"}}
            return answered({"name": "batches/b1", "done": True, "metadata": ended})
    return Reply(body={"/v1beta/files/out:download?alt=media": OUTPUT}[asked.path])


@dataclass(frozen=True)
class Api:
    """One provider: its side, what is asked of it, and what has to be kept with the job."""

    answer: Callable[[Batch, Asked], Reply]
    request: dict[str, Any]
    #: The result, where it is the output itself.
    result: bytes | None
    kept: dict[str, bytes]
    environ: dict[str, str]
    #: Where the job is started.
    starts: str


APIS = {
    "together-batch": Api(
        together,
        {"endpoint": "/v1/chat/completions"},
        OUTPUT,
        {"errors.jsonl": ERRORS},
        {"TOGETHER_API_KEY": "a key"},
        "/v1/batches",
    ),
    "cohere-batch": Api(
        cohere,
        {"name": "n", "model": "m"},
        None,
        {"out-0": OUTPUT, "out-1": ERRORS},
        {"CO_API_KEY": "a key"},
        "/v2/batches",
    ),
    "fireworks-batch": Api(
        fireworks,
        {"model": "m"},
        None,
        {"results.jsonl": OUTPUT, "errors.jsonl": ERRORS},
        {"FIREWORKS_API_KEY": "a key", "FIREWORKS_ACCOUNT_ID": "mine"},
        "/v1/accounts/mine/batchInferenceJobs",
    ),
    "gemini-batch": Api(
        gemini,
        {"model": "gemini-2.5-flash", "displayName": "mine"},
        OUTPUT,
        {},
        {"GEMINI_API_KEY": "a key"},
        "/v1beta/models/gemini-2.5-flash:batchGenerateContent",
    ),
}
WAITING = [name for name in APIS if name != "together-batch"]


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
