"""Batches that are made of a file: its lines are uploaded, the job is started, and its output comes back as one job."""

import base64
import json
import os
import re
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from receiver import Job
from receiver.core.errors import RequestError
from receiver.storage.queries import Page

from .stub import Asked, Reply, Stub, stub
from .world import World, until

DESCRIPTION = """
name = "batches"
title = "Batches"
origins = ["https://batches.example"]
sources = [{ url = "https://batches.example/docs", read = "2026-11-20" }]
[submit]
url = "https://batches.example/v1/batches"
answer = "batch"
[submit.upload]
url = "https://batches.example/v1/files"
set = { purpose = "batch" }
into = "input_file_id"
[poll]
url = ["https://batches.example/v1/batches/{id}"]
answer = "batch"
every = "1s"
longest = "1s"
[limits]
rate = 1000
[shapes.file]
id = ["id"]
[shapes.batch]
id = ["id"]
status = "status"
states = { validating = "submitted", completed = "succeeded", failed = "failed" }
result_url = "https://batches.example/v1/files/{output_file_id}/content"
"""
LINES = [{"custom_id": "1", "body": {"text": "déjà vu"}}, {"custom_id": "2", "body": {"text": "b"}}]
OUTPUT = b'{"custom_id": "1", "response": {}}\n{"custom_id": "2", "response": {}}\n'


class Api:
    """The vendor's side; ``uploads`` and ``batches`` are what arrived."""

    def __init__(self) -> None:
        self.uploads: list[dict[str, bytes]] = []
        self.batches: list[dict[str, Any]] = []
        #: What uploads are answered, first to last; after that they succeed.
        self.trouble: list[Reply] = []

    async def answer(self, asked: Asked) -> Reply:
        """Answer one request."""
        match asked.method, asked.path:
            case "POST", "/v1/files":
                self.uploads.append(parts_of(asked))
                if self.trouble:
                    return self.trouble.pop(0)
                return Reply(body=json.dumps({"id": f"file-{len(self.uploads)}"}).encode())
            case "POST", "/v1/batches":
                self.batches.append(json.loads(asked.body))
                return Reply(body=b'{"id": "b1", "status": "validating"}')
            case "GET", "/v1/batches/b1":
                return Reply(body=b'{"id": "b1", "status": "completed", "output_file_id": "out"}')
            case "GET", "/v1/files/out/content":
                return Reply(body=OUTPUT, headers={"content-type": "application/jsonl"})
        return Reply(status=404)


def parts_of(asked: Asked) -> dict[str, bytes]:
    """The parts of a form."""
    head = f"Content-Type: {asked.header('content-type')}\r\n\r\n".encode()
    found = message_from_bytes(head + asked.body)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)  # type: ignore[misc]
        for part in found.walk()
        if not part.is_multipart()
    }


async def batch(world: World, api: Api, request: dict[str, Any]) -> Job:
    """Submit *request*, and wait until its job has ended."""
    async with stub(api.answer) as provider:
        return await _ended(world, provider, request)


async def _ended(world: World, provider: Stub, request: dict[str, Any]) -> Job:
    (world.folder / "providers" / "batches.toml").write_text(DESCRIPTION, encoding="utf-8")
    world.environ["RECEIVER_BATCHES_BASE_URL"] = provider.url
    async with world.receiver() as receiver:
        job = await receiver.submit("batches", request)
        return await receiver.wait(job.id, timeout=30)


async def test_lines_are_uploaded_started_and_their_output_is_the_result(world: World) -> None:
    """One job in our record: the file is made of the lines, the batch of the file's id, the result of its output."""
    api = Api()
    job = await batch(world, api, {"endpoint": "/v1/chat", "requests": LINES})
    assert job.state == "succeeded"
    assert job.result is not None
    assert job.result.content == OUTPUT
    (sent,) = api.uploads
    assert sent["purpose"] == b"batch"
    assert [json.loads(line) for line in sent["file"].splitlines()] == LINES
    assert api.batches == [{"endpoint": "/v1/chat", "input_file_id": "file-1"}]


async def test_a_file_of_the_callers_own_is_uploaded_as_it_is(world: World, tmp_path: Path) -> None:
    """A JSONL file goes byte for byte; the id of a file that is there needs no upload."""
    (tmp_path / "in.jsonl").write_bytes(b'{"custom_id": "1"}\n')
    api = Api()
    job = await batch(world, api, {"endpoint": "/v1/chat", "file": str(tmp_path / "in.jsonl")})
    assert job.state == "succeeded"
    assert api.uploads[0]["file"] == b'{"custom_id": "1"}\n'
    other = Api()
    await batch(world, other, {"endpoint": "/v1/chat", "input_file_id": "mine"})
    assert (other.uploads, other.batches) == ([], [{"endpoint": "/v1/chat", "input_file_id": "mine"}])


async def test_an_upload_in_doubt_is_made_again_and_the_batch_started_once(world: World) -> None:
    """Nothing is bought by an upload: a 503 is no unknown outcome, and no batch is started without a file."""
    api = Api()
    api.trouble = [Reply(status=503, headers={"retry-after": "1"})]
    job = await batch(world, api, {"endpoint": "/v1/chat", "requests": LINES})
    assert job.state == "succeeded"
    assert (len(api.uploads), len(api.batches)) == (2, 1)
    assert api.batches[0]["input_file_id"] == "file-2"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(status=400, body=b'{"error": {"message": "too large"}}'), "upload_refused_400"),
        (Reply(body=b"{}"), "upload_without_id"),
    ],
)
async def test_a_file_that_is_refused_ends_the_job_unstarted(world: World, reply: Reply, code: str) -> None:
    """The reason is told, and nothing is started."""
    api = Api()
    api.trouble = [reply]
    job = await batch(world, api, {"endpoint": "/v1/chat", "requests": LINES})
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == code
    assert api.batches == []


@pytest.mark.parametrize(
    "request_",
    [
        {"requests": []},
        {"requests": "x"},
        {"requests": ["x"]},
        {"requests": LINES, "file": "x"},
        {"requests": LINES, "input_file_id": "f"},
    ],
)
async def test_what_cannot_be_a_file_is_refused_before_it_is_recorded(
    world: World, request_: dict[str, Any]
) -> None:
    """The sentence names the field; nothing is sent."""
    api = Api()
    with pytest.raises(RequestError):
        await batch(world, api, {"endpoint": "/v1/chat", **request_})
    assert (api.uploads, api.batches) == ([], [])
    await until(lambda: True)


@pytest.mark.parametrize("how", ["lines", "file", "in the request", "held in memory", "of a form"])
async def test_what_is_too_large_is_refused_before_anything_is_sent(
    world: World, tmp_path: Path, how: str
) -> None:
    """By what the provider takes in one request, and by what is held in memory: no request, no job, and the field."""
    api, file, terms = Api(), tmp_path / "in.jsonl", 'largest = "1KiB"\n'
    large = b'{"custom_id": "1"}\n' * 100
    request: dict[str, Any] = {"endpoint": "/v1/chat", "file": str(file)}
    file.write_bytes(large)
    match how:
        case "lines":
            request = {"endpoint": "/v1/chat", "requests": LINES * 20}
        case "in the request":
            request["file"] = {"name": "in.jsonl", "content": base64.b64encode(large).decode()}
        case "held in memory" | "of a form":
            terms = ""
            os.truncate(file, 256 * 1024 * 1024 + 1)  # which takes no room on the disk
    text = DESCRIPTION.replace("into = ", f"{terms}into = ")
    if how == "of a form":
        text = re.sub(r"(?s)\[submit\.upload\].*?(?=\[poll\])", "", text)
        text = text.replace('answer = "batch"\n', 'answer = "batch"\ncontent = "multipart"\n', 1)
    (world.folder / "providers" / "batches.toml").write_text(text, encoding="utf-8")
    async with stub(api.answer) as provider:
        world.environ["RECEIVER_BATCHES_BASE_URL"] = provider.url
        async with world.receiver() as receiver:
            with pytest.raises(RequestError, match="are the most that") as refused:
                await receiver.submit("batches", request)
            named = {"lines": "requests", "in the request": "file.content"}.get(how, "file")
            assert (refused.value.code, refused.value.field) == ("upload_too_large", f"request.{named}")
            assert provider.asked == []
            assert await receiver.running.store.jobs(Page(limit=1)) == []
