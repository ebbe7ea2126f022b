"""Files that a caller sends to a provider: in the request from anywhere, or by a path from this machine.

The fakes answer as the vendors' own pages and packages say (they are in the descriptions).
"""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from receiver import JobState
from tests.console.conftest import Person

from .stub import Asked, Reply, Stub, stub
from .test_uploads import parts_of
from .world import API_TOKEN, World, until

CONTENT = bytes(range(256)) * 4
BASE64 = base64.b64encode(CONTENT).decode()
FILE = {"name": "invoice 7.pdf", "content": BASE64}


@dataclass(frozen=True)
class Api:
    """One provider whose jobs are made of a file."""

    operation: str
    request: dict[str, Any]
    #: Where it is sent, in which part of the form, and what stands beside it.
    path: str
    part: str
    fields: dict[str, bytes]
    #: What the submission is answered, and the question about the job.
    accepted: dict[str, Any]
    status: dict[str, Any]
    environ: dict[str, str]


APIS = {
    "stability": Api(
        "upscale-creative",
        {"prompt": "a cat"},
        "/v2beta/stable-image/upscale/creative",
        "image",
        {"prompt": b"a cat"},
        {"id": "s1"},
        {"result": "AAAA", "finish_reason": "SUCCESS"},
        {"STABILITY_API_KEY": "k"},
    ),
    "nanonets": Api(
        "file",
        {"workflow_id": "w1"},
        "/api/v4/workflows/w1/documents",
        "file",
        {"async": b"true"},
        {"document_id": "d1", "status": "pending"},
        {"document_id": "d1", "status": "success", "pages": []},
        {"NANONETS_API_KEY": "k"},
    ),
    "rossum": Api(
        "",
        {"queue": 7, "metadata": {"a": 1}},
        "/api/v1/queues/7/upload",
        "content",
        {"metadata": b'{"a": 1}'},
        {"results": [{"annotation": "{at}/api/v1/annotations/3"}]},
        {"url": "{at}/api/v1/annotations/3", "status": "to_review", "content": "{at}/content/3"},
        {"ROSSUM_API_TOKEN": "k", "ROSSUM_WEBHOOK_SECRET": "a secret of thirty-two bytes, or more"},
    ),
}


def is_submission(asked: Asked) -> bool:
    """Whether a job is started by it."""
    return asked.method == "POST" and any(one.path == asked.path for one in APIS.values())


@asynccontextmanager
async def playing(world: World, name: str, *, doubt: int = 0) -> AsyncIterator[Stub]:
    """The fake of *name*; what became of the first *doubt* submissions nobody knows."""
    api, left = APIS[name], [doubt]

    async def answer(asked: Asked) -> Reply:
        if is_submission(asked) and left[0]:
            left[0] -= 1
            return Reply(status=502)
        document = api.accepted if is_submission(asked) else api.status
        body = json.dumps(document).replace("{at}", serving.url)
        return Reply(body=body.encode(), headers={"content-type": "application/json"})

    async with stub(answer) as serving:
        world.environ |= api.environ
        world.environ[f"RECEIVER_{name.upper()}_BASE_URL"] = serving.url
        yield serving


def sent(serving: Stub) -> list[dict[str, bytes]]:
    """The forms of all submissions."""
    return [parts_of(one) for one in serving.asked if is_submission(one)]


async def order(world: World, name: str, file: object) -> httpx.Response:
    """Submit through the API, as any client does."""
    api = APIS[name]
    document = {
        "provider": name,
        "operation": api.operation,
        "request": {**api.request, "file": file},
        "callback": False,
    }
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        headers = {"authorization": f"Bearer {API_TOKEN}"}
        return await client.post(f"{world.url}/v1/jobs", json=document, headers=headers)


@pytest.mark.parametrize("name", APIS)
async def test_a_file_in_the_request_is_the_part_that_the_provider_wants(world: World, name: str) -> None:
    """Through ``POST /v1/jobs``: byte for byte, under its name, beside the other fields; the job goes its way."""
    async with playing(world, name) as serving, world.receiver() as receiver:
        answer = await order(world, name, FILE)
        assert answer.status_code == 202, answer.text
        (form,) = sent(serving)
        assert form == {APIS[name].part: CONTENT, **APIS[name].fields}
        (asked,) = [one for one in serving.asked if is_submission(one)]
        assert b'filename="invoice 7.pdf"' in asked.body
        assert BASE64.encode() not in asked.body
        await receiver.running.store.write(_soon, receiver.running.clock())
        receiver.running.notify()
        done = await receiver.wait(answer.json()["id"], timeout=30)
        assert done.state is JobState.SUCCEEDED


def _soon(tx: Any, items: Any) -> list[None]:  # noqa: ANN401  (what the store hands over)
    """Have everything be due now."""
    for now in items:
        tx.run("UPDATE due SET run_at = :now WHERE run_at > :now", {"now": now})
    return [None for _ in items]


@pytest.mark.parametrize(
    ("file", "field", "words"),
    [
        ({"name": "a.pdf", "content": "no base64!"}, "request.file.content", "no base64"),
        ({"name": "a.pdf"}, "request.file", "base64"),
        ({"name": "../a.pdf", "content": BASE64}, "request.file", "plain name"),
        ({"name": 'a".pdf', "content": BASE64}, "request.file", "plain name"),
        ({"name": "", "content": BASE64}, "request.file", "plain name"),
        ({"name": "a.pdf", "content": BASE64, "path": "/etc/passwd"}, "request.file", "base64"),
    ],
)
async def test_what_is_no_file_is_refused(world: World, file: object, field: str, words: str) -> None:
    """Before anything is recorded or sent, with the field and what would be right."""
    async with playing(world, "stability") as serving, world.receiver():
        answer = await order(world, "stability", file)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["field"]) == (422, "file_unreadable", field)
        assert words in problem["detail"]
        assert serving.asked == []


async def test_a_submission_in_doubt_is_sent_again_with_its_file(world: World) -> None:
    """By a person in the console, whose pages tell of the file without showing its bytes."""
    async with playing(world, "stability", doubt=1) as serving, world.receiver() as receiver:
        job = (await order(world, "stability", FILE)).json()
        async with httpx.AsyncClient(base_url=world.url, trust_env=False, timeout=30) as client:
            person = Person(http=client)
            assert (await person.sign_in(API_TOKEN)).status_code == 303
            page = await person.see(f"/jobs/{job['id']}")
            assert "invoice 7.pdf" in page
            assert BASE64[:64] not in page
            assert f"{len(BASE64)} characters" in page
            await person.do(f"/jobs/{job['id']}/resubmit")

            async def taken() -> bool:
                return (await receiver.job(job["id"])).submission == "sent"

            await until(taken)
        assert [one["image"] for one in sent(serving)] == [CONTENT, CONTENT]


async def test_the_command_line_sends_a_file_by_its_path_and_in_the_request(
    world: World, tmp_path: Path
) -> None:
    """A path is one of the folder that the command runs in, and is kept whole, for whoever sends it again."""
    (tmp_path / "invoice 7.pdf").write_bytes(CONTENT)
    api = APIS["rossum"]
    async with playing(world, "rossum") as serving:
        for file in ("invoice 7.pdf", FILE):
            (tmp_path / "request.json").write_text(json.dumps({**api.request, "file": file}))
            command = [sys.executable, "-m", "receiver", "submit", "rossum", "request.json", "--json"]
            running = await asyncio.create_subprocess_exec(
                *command, cwd=tmp_path, env=world.environ, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await running.communicate()
            assert running.returncode == 0, out
            job_id = json.loads(out)["id"]
            assert sent(serving)[-1] == {"content": CONTENT, **api.fields}
            async with world.receiver() as receiver:
                kept = await receiver.running.store.submission(job_id)
                assert kept is not None
                recorded = json.loads(kept.request)["file"]
                assert recorded == (FILE if file is FILE else str(tmp_path / "invoice 7.pdf"))
