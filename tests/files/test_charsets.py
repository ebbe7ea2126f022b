"""Results that are not written in UTF-8: kept as they arrived, and read for what they link to as if they were."""

import gzip
import json

import pytest

from receiver import JobState
from receiver.core.file import FileState

from .conftest import Here, states
from .shelf import Kept

BY_ADDRESS = {"shape_result": ".", "shape_result_url": 'result_url = "result.output"'}
#: How a document is written, and what is said of it.
WRITTEN = [
    ("utf-8-sig", "application/json"),
    ("utf-16-le", "application/json; charset=utf-8"),
    ("latin-1", "application/json; charset=iso-8859-1"),
    ("utf-8", "application/json; charset=iso-8859-1"),
]


@pytest.mark.parametrize(("charset", "kind"), WRITTEN)
async def test_a_result_in_another_charset_links_as_in_utf_8(here: Here, charset: str, kind: str) -> None:
    """The answer names where the result is, and the result its files: both in that charset; the bytes are the same."""
    here.describe(**BY_ADDRESS)
    here.shelf.charset, here.shelf.kind = charset, kind
    link = here.shelf.put("é.png", Kept(body=b"a picture"))
    content = json.dumps({"links": [link], "é": "ü"}, ensure_ascii=False).encode(charset)
    output = here.shelf.put("output", Kept(body=content, headers={"content-type": kind}))
    here.shelf.result = {"output": output, "é": "ü"}
    async with here.receiver() as receiver:
        job = await here.run(receiver)
        assert job.state is JobState.SUCCEEDED
        assert job.result is not None
        assert (job.result.content, job.result.content_type) == (content, kind)
        assert [one.name for one in job.files] == ["é.png"]
        assert job.result.json()["links"] == [link]


@pytest.mark.parametrize(("charset", "kind"), WRITTEN)
async def test_an_answer_in_another_charset_goes_on_as_in_utf_8(here: Here, charset: str, kind: str) -> None:
    """Two pages in that charset: the second is found, and the files of both."""
    here.describe(
        '[[files]]\npath = "result.links.*"\n',
        shape_job='next = "next"\nitems = "result.links"',
        shape_result=".",
        shape_result_url="",
    )
    here.shelf.charset, here.shelf.kind = charset, kind
    one, two = (here.shelf.put(name, Kept(body=name.encode())) for name in ("one", "two"))
    here.shelf.pages = [{"links": [one], "é": "ü"}, {"links": [two], "é": "ü"}]
    async with here.receiver() as receiver:
        job = await here.run(receiver)
        assert job.state is JobState.SUCCEEDED
        assert states(job.files) == [(FileState.STORED, None)] * 2
        assert job.result is not None
        assert job.result.json()["result"] == {"links": [one, two], "é": "ü"}


async def test_a_result_that_only_its_own_bytes_call_packed_links_too(here: Here) -> None:
    """Kept packed, as it arrived, because nothing said that it is; its links are found all the same."""
    here.describe(**BY_ADDRESS)
    link = here.shelf.put("a.png", Kept(body=b"a picture"))
    content = gzip.compress(json.dumps({"links": [link]}).encode("utf-16"))
    here.shelf.result = {"output": here.shelf.put("output", Kept(body=content))}
    async with here.receiver() as receiver:
        job = await here.run(receiver)
        assert job.result is not None
        assert job.result.content == content
        assert states(job.files) == [(FileState.STORED, None)]
