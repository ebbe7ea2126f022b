"""What is copied from a page does what it says when it is pasted: into a shell, into Python, into a client of .http."""

from __future__ import annotations

import asyncio
import html
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.web.conftest import TOKEN, Site

if TYPE_CHECKING:
    from tests.console.conftest import Person

NO_CURL = "no curl on this machine: apt-get install curl"


def boxes(page: str) -> dict[str, str]:
    """The texts to be copied from a page, by name."""
    found = re.findall(r"<summary>([^<]+)</summary><pre id=\"copy-\d\"[^>]*>(.*?)</pre>", page, re.DOTALL)
    return {name: html.unescape(text) for name, text in found}


async def pasted(site: Site, text: str) -> str:
    """What a shell prints that has the settings of the receiver and its commands."""
    settings = site.receiver.running.settings.environ
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = dict(settings) | {"PATH": path, "RECEIVER_API_TOKEN": TOKEN, "RECEIVER_PUBLIC_URL": site.url}
    done = await asyncio.to_thread(
        subprocess.run, ["/bin/sh", "-c", text], env=environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason=NO_CURL)
async def test_a_job_is_submitted_once_more_as_it_was(site: Site, operator: Person) -> None:
    """By curl, by command and in Python: the provider is asked for the same, with the same metadata."""
    metadata = {"topic": "it's Åsa's", "n": 7}
    first = await site.ended("netnut", metadata=metadata)
    copies = boxes(await operator.see(f"/jobs/{first['id']}"))
    assert list(copies) == ["curl", "receiver", "Python"]
    known = {first["id"]}

    async def one_more() -> None:
        """Exactly one job has come, and it was asked for the same."""
        page: dict[str, Any] = (await site.get("/v1/jobs")).json()
        (new,) = {one["id"] for one in page["jobs"]} - known
        known.add(new)
        again = [await site.receiver.running.store.record(one) for one in (new, first["id"])]
        assert [(one.job.provider, one.job.metadata) for one in again] == [("netnut", metadata)] * 2
        requests = [one.submission.request for one in again if one.submission is not None]
        assert requests[0] == requests[1]

    assert '"id"' in await pasted(site, copies["curl"])
    await one_more()
    await pasted(site, copies["receiver"])
    await one_more()
    names: dict[str, Any] = {}
    source = f"async def again(receiver):\n{textwrap.indent(copies['Python'], '    ')}\n    return job"
    exec(source, names)  # noqa: S102  (what a person would paste)
    await names["again"](site.receiver)
    await one_more()


@pytest.mark.skipif(shutil.which("curl") is None, reason=NO_CURL)
@pytest.mark.parametrize("provider", ["pulse", "perplexity-webhook"])
async def test_a_callback_is_sent_once_more_as_it_came(site: Site, operator: Person, provider: str) -> None:
    """Once its secrets were revealed, on record: to its own address, with its signature; it is a duplicate then."""
    job = await site.ended(provider)
    entry, *_ = [one for one in job["timeline"] if one["kind"] == "callback"]
    path = f"/callbacks/{entry['callback']['id']}"
    masked = boxes(await operator.see(path))
    assert "***" in masked["curl"] or "TOKEN" in masked["curl"]
    copies = boxes((await operator.do(f"{path}/reveal")).text)
    assert "***" not in copies["curl"] + copies[".http"]

    async def duplicates() -> int:
        found = await site.receiver.running.store.record(job["id"])
        return sum(one.verdict == "duplicate" for one in found.callbacks)

    before = await duplicates()
    await pasted(site, copies["curl"])
    assert await duplicates() == before + 1
    head, _, body = copies[".http"].partition("\n\n")
    first, *lines = head.split("\n")
    method, url, _ = first.split(" ")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.request(method, url, headers=headers, content=body.encode())
    assert answer.is_success
    assert await duplicates() == before + 2
    assert copies["receiver"].endswith(f"receiver callbacks body {path.rpartition('/')[2]}")
    assert (await pasted(site, copies["receiver"])).endswith(body)
