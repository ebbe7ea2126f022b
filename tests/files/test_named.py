"""Files beside the result: addresses that a provider's answer completes, as batches have for the lines that failed."""

import pytest

from receiver import Job, JobState
from receiver.core.description.provider import describe
from receiver.core.file import FileState
from receiver.core.files.links import links
from tests.providers.making import PROVIDERS

from .conftest import Here, states
from .shelf import Kept

ERRORS = """[[files]]
url = "https://made-up.example/files-{result.errors}"
authenticated = true
name = "{result.errors}.jsonl"
[[credentials]]
prefix = "Bearer "
secret = "env:MADE_UP_SECRET"
"""
BATCH = {"shape_result": ".", "shape_result_url": 'result_url = "result.output"', "files": ERRORS}
OUTPUT = b'{"custom_id": "1"}\n{"custom_id": "2"}\n'
FAILED = b'{"custom_id": "3", "error": "too long"}\n'


async def test_output_and_errors_are_kept_with_the_one_job(here: Here) -> None:
    """The result is the output, in lines that are no JSON document; the other file is fetched with our credentials."""
    here.describe(**BATCH)
    here.shelf.put("files-e1", Kept(body=FAILED))
    here.shelf.result = {"output": here.shelf.put("output", Kept(body=OUTPUT)), "errors": "e1"}
    async with here.receiver() as receiver:
        job = await here.run(receiver)
        assert (job.state, job.result and job.result.content) == (JobState.SUCCEEDED, OUTPUT)
        assert states(job.files) == [(FileState.STORED, None)]
        (file,) = job.files
        assert (file.name, file.size) == ("e1.jsonl", len(FAILED))
        async with file.open() as stream:
            assert await stream.read() == FAILED
    (asked,) = here.shelf.gets("files-e1")
    assert asked.header("authorization") == "Bearer a webhook secret of thirty-two bytes"


async def test_without_failed_lines_there_is_no_file(here: Here) -> None:
    """``null`` where the id would be is no file, and none that is lost; nothing is asked for."""
    here.describe(**BATCH)
    here.shelf.result = {"output": here.shelf.put("output", Kept(body=OUTPUT)), "errors": None}
    async with here.receiver() as receiver:
        job = await here.run(receiver)
        assert (job.state, job.files) == (JobState.SUCCEEDED, ())
    assert [one.path for one in here.shelf.asked if one.path.startswith("/files-")] == []


async def test_where_every_line_failed_the_errors_are_kept(here: Here) -> None:
    """No output: the batch itself is the result, and the file is there all the same."""
    here.describe(**BATCH)
    here.shelf.put("files-e1", Kept(body=FAILED))
    here.shelf.result = {"output": None, "errors": "e1"}
    async with here.receiver() as receiver:
        job = await here.run(receiver)
        assert job.state is JobState.SUCCEEDED
        assert states(job.files) == [(FileState.STORED, None)]


async def test_an_id_leads_nowhere_else(here: Here) -> None:
    """Whatever the answer says, the address stays below the description's own."""
    here.describe(**BATCH)
    here.shelf.result = {"output": here.shelf.put("output", Kept(body=OUTPUT)), "errors": "../x?y#z"}
    async with here.receiver() as receiver:
        job = await here.run(receiver)
        assert [one.state for one in job.files] == [FileState.LOST]
    paths = {one.path for one in here.shelf.asked if one.path.startswith("/files-")}
    assert paths == {"/files-..%2Fx%3Fy%23z"}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, "at a path in the result or at a url"),
        ({"path": "a", "url": "https://x.example/{a}"}, "give one"),
        ({"url": "https://x.example/errors"}, "needs plain paths of the answer"),
        ({"url": "https://x.example/{}"}, "needs plain paths of the answer"),
        ({"url": "https://y.example/{a}"}, "is outside origins"),
        ({"url": "https://x.example/{items[a=b].id}"}, "needs plain paths"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused(entry: dict[str, str], reason: str) -> None:
    """With the reason, before anything is asked."""
    document = {
        "name": "x",
        "title": "X",
        "sources": [{"url": "https://x.example/docs", "read": "2026-11-20"}],
        "origins": ["https://x.example"],
        "files": [entry],
    }
    with pytest.raises(ValueError, match=reason):
        describe(document)


@pytest.mark.parametrize(
    ("name", "field", "url"),
    [
        ("openai-batch", "error_file_id", "https://api.openai.com/v1/files/file-e/content"),
        ("groq-batch", "error_file_id", "https://api.groq.com/openai/v1/files/file-e/content"),
        ("together-batch", "error_file_id", "https://api.together.ai/v1/files/file-e/content"),
        ("mistral-batch", "error_file", "https://api.mistral.ai/v1/files/file-e/content"),
        (
            "azure-openai-batch",
            "error_file_id",
            "https://mine.openai.azure.com/openai/files/file-e/content?api-version=2024-10-21",
        ),
    ],
)
def test_the_packaged_batches_keep_the_file_of_failed_lines(name: str, field: str, url: str) -> None:
    """Where the vendors' packages have its id and its address, with our credentials; the setting of Azure filled in."""
    job = Job(id="job_1", provider=name, created_at=0, deadline_at=0)
    answer = b'{"id": "b1", "%s": "file-e"}' % field.encode()
    (found,), total = links(OUTPUT, PROVIDERS[name], job, answer=answer, most=9, now=0)
    assert (found.url, found.name, found.authenticated, total) == (url, "errors.jsonl", True, 1)
