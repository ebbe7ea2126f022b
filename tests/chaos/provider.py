"""The provider of the jobs: a description, and a socket that takes submissions and can be asked."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.path.stub import Answerer, Asked, Reply, stub

#: How many polls it takes at once.
CONCURRENCY = 16
SECRET = "the webhook secret of the tests"
_DESCRIPTION = """
name = "chaos"
title = "A provider to be driven while things break"
origins = ["https://chaos.example"]
deadline = "30m"
sources = [{ url = "https://chaos.example/docs", read = "2026-11-21" }]

[[credentials]]
prefix = "Bearer "
secret = "env:CHAOS_API_KEY"

[submit]
url = "https://chaos.example/jobs"
idempotency = { where = "header", name = "Idempotency-Key" }
answer = "job"

[callback]
where = "body"
path = "webhook"
delivers = "result"
result = "job"
expected = "EXPECTED"

[verify]
scheme = "hmac"
header = "Chaos-Signature"
signed = "{delivery_id}.{body}"
delivery_id = "header:Chaos-Delivery"

[key]
secret = "env:CHAOS_WEBHOOK_SECRET"

[poll]
url = ["https://chaos.example/jobs/{id}"]
answer = "job"
every = "1s"
longest = "1s"

[limits]
concurrency = CONCURRENCY
rate = 200

[shapes.job]
id = ["id"]
status = "state"
states = { queued = "submitted", running = "running", done = "succeeded", broken = "failed", stopped = "canceled" }
result = "output"
error = ["reason"]
"""


def describe(folder: Path, *, expected: str, files: str = "") -> None:
    """Write the description; *expected* is after how long a callback is missed, *files* says where links are."""
    text = _DESCRIPTION.replace("EXPECTED", expected).replace("CONCURRENCY", str(CONCURRENCY))
    folder.mkdir(exist_ok=True)
    (folder / "chaos.toml").write_text(text + files, encoding="utf-8")


def remote_id(number: int) -> str:
    """What the provider calls the job of an order."""
    return f"r{number}"


def document(number: int, state: str, *, marker: str) -> dict[str, Any]:
    """What the provider says about a job; *marker* tells two such documents apart."""
    found: dict[str, Any] = {"id": remote_id(number), "state": state, "marker": marker}
    if state == "done":
        found["output"] = {"marker": marker}
    return found


@dataclass
class Taken:
    """A job that the provider has taken."""

    path: str
    #: The keys under which it was submitted: more than one would be a second bill.
    keys: set[str]


class Provider:
    """What the provider knows."""

    def __init__(self, outcome: Callable[[int], str], pause: float) -> None:
        self._outcome = outcome
        self._pause = pause
        self.url = ""
        #: By the number of the order.
        self.taken: dict[int, Taken] = {}
        self._polling = 0
        self.polls = 0
        #: The most polls that were under way at the same time.
        self.most_polls = 0
        #: What the results of an order link to.
        self.links: Callable[[int], list[str]] = lambda _number: []
        #: Answers the questions for anything that is no job.
        self.serve: Answerer | None = None

    def document(self, number: int, state: str, *, marker: str) -> dict[str, Any]:
        """What it says about a job."""
        found = document(number, state, marker=marker)
        if (links := self.links(number)) and "output" in found:
            found["output"]["links"] = links
        return found

    async def answer(self, asked: Asked) -> Reply:
        """Answer a submission or a poll."""
        if asked.method == "POST":
            request = json.loads(asked.body)
            number = request["number"]
            path = urlsplit(request["webhook"]).path
            one = self.taken.setdefault(number, Taken(path=path, keys=set()))
            one.keys.add(asked.header("idempotency-key") or "")
            return _reply(document(number, "queued", marker="submit"))
        if self.serve is not None and not asked.path.startswith("/jobs/"):
            return await self.serve(asked)
        self.polls += 1
        self._polling += 1
        self.most_polls = max(self.most_polls, self._polling)
        await asyncio.sleep(self._pause)
        self._polling -= 1
        number = int(asked.path.rpartition("r")[2])
        return _reply(self.document(number, self._outcome(number), marker="poll"))


def _reply(body: dict[str, Any]) -> Reply:
    return Reply(body=json.dumps(body).encode(), headers={"content-type": "application/json"})


@contextlib.asynccontextmanager
async def provider(
    *, outcome: Callable[[int], str] = lambda _number: "done", pause: float = 0.0
) -> AsyncIterator[Provider]:
    """A provider that says *outcome* of an order when it is asked, after *pause* seconds."""
    found = Provider(outcome, pause)
    async with stub(found.answer) as serving:
        found.url = serving.url
        yield found
