"""Files in the console: listed on their job's page, shown from our own store in a sandbox, never run."""

import re

import httpx
import pytest

from tests.path.world import until

from .conftest import Here, poll
from .shelf import Kept
from .test_faces import client

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def sign_in(http: httpx.AsyncClient) -> None:
    """Come in with the API token."""
    answer = await http.post(
        "/console/sign-in", data={"secret": "the API token of the tests", "next": "/console"}
    )
    assert answer.status_code == 303, answer.text


async def test_files_are_listed_and_shown(here: Here) -> None:
    """Name, size, state and code of each; images and sounds as what they are, everything else to be saved."""
    here.describe('[[files]]\npath = "links.*.url"\nname = "{.name}"\n')
    kinds = {"image/png": "a.png", "audio/mpeg": "b.mp3", "text/html": "<script>alert(1)</script>"}
    here.shelf.result = {
        "links": [
            {
                "name": name,
                "url": here.shelf.put(f"n{number}", Kept(body=b"<b>x", headers={"content-type": kind})),
            }
            for number, (kind, name) in enumerate(kinds.items())
        ]
        + [{"name": "gone", "url": f"{here.shelf.url}/nowhere"}]
    }
    async with here.receiver() as receiver, client(receiver) as http:
        job = await here.run(receiver)
        await sign_in(http)
        page = (await http.get(f"/console/jobs/{job.id}")).text
        shown = [f"/console/jobs/{job.id}/files/{number}/shown" for number in (1, 2)]
        assert re.findall(r'<(img|audio)[^>]* src="([^"]+/shown)"', page) == [
            ("img", shown[0]),
            ("audio", shown[1]),
        ]
        assert "<script>alert(1)" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "file_gone" in page
        assert "4 files" in page
        # The way of the job has a station for them.
        assert "3 of 4 stored, 12 bytes; 1 lost" in page
        for path, disposition in ((shown[0], "inline"), (shown[0].removesuffix("/shown"), "attachment")):
            answer = await http.get(path)
            assert (answer.status_code, answer.content) == (200, b"<b>x")
            assert answer.headers["content-type"] == "image/png"
            assert answer.headers["content-disposition"].startswith(disposition)
            assert "sandbox" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
        html = await http.get(f"/console/jobs/{job.id}/files/3")
        assert html.headers["content-type"] == "application/octet-stream"
        assert html.headers["content-disposition"].startswith("attachment")
        for missing in ("files/3/shown", "files/9", "files/x", "files/0"):
            assert (await http.get(f"/console/jobs/{job.id}/{missing}")).status_code == 404


async def test_a_result_of_ten_megabytes_is_cut_and_inert(here: Here) -> None:
    """Markup, marks of direction and links in it are text; the whole of it is handed on as a file only."""
    hostile = "<script>alert(1)</script><svg onload=alert(2)>\u202e [x](javascript:alert(3)) \x1b[31m"
    here.shelf.result = {"links": [], "text": hostile * 120_000}
    async with here.receiver() as receiver, client(receiver) as http:
        job = await here.run(receiver)
        await sign_in(http)
        page = (await http.get(f"/console/jobs/{job.id}")).text
        answer = await http.get(f"/console/jobs/{job.id}/result")
    assert len(answer.content) > 9_000_000
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "This is its beginning; download it for the rest." in page
    assert "&lt;script&gt;alert(1)" in page
    for one in ("<script>alert", "<svg onload", "\u202e", "\x1b", 'href="javascript'):
        assert one not in page
    assert len(page) < 400_000


async def test_what_giving_up_on_files_means_is_said_before(here: Here) -> None:
    """The result is here: the job would not time out, but succeed without them."""
    here.links(bad=Kept(body=b"y", status=500))
    async with here.receiver() as receiver, client(receiver) as http:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)

        async def waits() -> bool:
            return [one.code for one in await receiver.files(job.id)] == ["status_500"]

        await until(waits)
        await sign_in(http)
        page = (await http.get(f"/console/jobs/{job.id}/abandon")).text
    assert "Wait for no more files?" in page
    assert "so it succeeds now" in page


async def test_nobody_sees_files_who_is_not_signed_in(here: Here) -> None:
    """They are led to the door, as everywhere."""
    here.links(it=Kept(body=b"x"))
    async with here.receiver() as receiver, client(receiver) as http:
        job = await here.run(receiver)
        del http.headers["authorization"]
        answer = await http.get(f"/console/jobs/{job.id}/files/1")
    assert answer.status_code in {303, 401}
