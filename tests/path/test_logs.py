"""Logs: facts with ids, one JSON object a line, and nothing in them that must stay secret."""

import asyncio
import base64
import json
import logging
import os
import sqlite3
import sys
from typing import Any

import httpx
import pytest

from .described import describe, replies
from .stub import Asked, Reply, stub
from .test_bad_input import raw
from .world import API_TOKEN, MASTER_KEY, PULSE_SECRET, REQUESTS, Process, World, until

HANDLERS = """
from receiver import Receiver
receiver = Receiver()

@receiver.on(state="any", name="fine")
def fine(job):
    pass

@receiver.on(state="any", name="broken", attempts=1)
def broken(job):
    secret = "LOCAL-OF-THE-HANDLER"
    raise ValueError("WORDS-OF-THE-HANDLER" + str(job.result and job.result.content))
"""
PROMPT = "CANARY-IN-THE-REQUEST"


def log_of(world: World) -> str:
    """What the process wrote."""
    return (world.folder / "serve.log").read_text(encoding="utf-8")


def lines_of(world: World) -> list[dict[str, Any]]:
    """The same as JSON; fails where a line is none."""
    return [json.loads(line) for line in log_of(world).splitlines()]


async def submit(process: Process, provider: str, request: dict[str, Any]) -> dict[str, Any]:
    """Submit through the API; what it answers."""
    answer = await process.request("POST", "/v1/jobs", json={"provider": provider, "request": request})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def assert_silent(world: World, *more: str) -> None:
    """Assert that no secret, token, signature, credential or body is in the log."""
    text = log_of(world)
    secrets = [
        MASTER_KEY,
        API_TOKEN,
        PULSE_SECRET,
        PULSE_SECRET.removeprefix("whsec_"),
        *(world.environ[name] for name in ("NETNUT_PASSWORD", "PULSE_API_KEY", "YANDEX_API_KEY")),
        world.environ["PERPLEXITY_API_KEY"],
        base64.b64encode(b"user:password").decode(),
        PROMPT,
        "Specialty coffee",  # what the simulator answers
        "WORDS-OF-THE-HANDLER",
        "LOCAL-OF-THE-HANDLER",
        "CANARY",
        *more,
    ]
    for job in world.simulator.jobs():
        if job.submission.callback_url is not None:
            secrets.append(job.submission.callback_url.rpartition("/")[2])
        if job.submission.callback_secret is not None:
            secrets.append(job.submission.callback_secret)
    for sent in world.simulator.callbacks():
        found = dict(sent.message.headers)
        secrets += [found[name] for name in ("x-perplexity-signature", "webhook-signature") if name in found]
    assert [one for one in secrets if one in text] == []


async def test_no_secret_and_no_body_is_logged(world: World) -> None:
    """Submissions, callbacks good, forged and unreadable, fetches, failing handlers: none leaves a trace of its own."""
    world.environ["NETNUT_PASSWORD"] = "p4ssw0rd of netnut"
    world.environ["RECEIVER_LOG_LEVEL"] = "debug"
    asked = {"model": "sonar", "messages": [{"role": "user", "content": PROMPT}]}
    async with world.process(HANDLERS) as process:
        world.simulator.faults("perplexity-webhook", "forged", "twice")
        world.simulator.faults("netnut", "poll_5xx")
        world.simulator.faults("pulse", "large_result")
        jobs = [
            await submit(process, "perplexity-webhook", asked),
            await submit(process, "perplexity-webhook", asked),
            await submit(process, "netnut", {"engine": "x", "prompt": PROMPT}),
            await submit(process, "pulse", {"file_url": f"https://example.com/{PROMPT}"}),
        ]
        world.simulator.faults("perplexity", {"name": "submit_4xx"})
        await process.request("POST", "/v1/jobs", json={"provider": "perplexity", "request": asked})
        await process.request("POST", "/v1/jobs", content=b'{"CANARY')
        callback_url = world.callback_url("netnut")
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            await client.post(callback_url, content=b'{"CANARY": ')
            await client.post(callback_url + "CANARY", content=b"CANARY")
            await client.get(f"{world.url}/v1/jobs", headers={"authorization": "Bearer CANARY"})

        async def over() -> bool:
            listed = (await process.request("GET", "/v1/dispatches?state=dead")).json()["dispatches"]
            return {one["job_id"] for one in listed} >= {jobs[1]["id"], jobs[2]["id"], jobs[3]["id"]}

        await until(over)
        assert_silent(world, "p4ssw0rd", base64.b64encode(b"user:p4ssw0rd of netnut").decode())
        events = {line["event"] for line in lines_of(world)}
        assert {"submission_accepted", "callback_accepted", "callback_rejected"} <= events
        assert {"submission_refused", "result_fetched", "dispatch_dead"} <= events


async def test_what_goes_wrong_inside_is_logged_without_what_it_was_about(world: World) -> None:
    """A commit that the database refuses is logged with its traceback, and without the values it had in hand."""
    async with world.process(HANDLERS) as process:
        world.simulator.faults("netnut", "never")
        await submit(process, "netnut", {"engine": "x", "prompt": PROMPT})
        database = sqlite3.connect(world.folder / "receiver.db", isolation_level=None)
        database.execute("CREATE TRIGGER no BEFORE INSERT ON callback BEGIN SELECT RAISE(ABORT, 'no'); END")
        database.close()
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(world.callback_url("netnut"), json={"traceId": "CANARY"})
        assert answer.status_code == 503
        assert any("exception" in line for line in lines_of(world))
        assert_silent(world)


async def test_every_line_of_the_log_is_json(world: World) -> None:
    """Without a terminal each line is one JSON object with event, level and time; a line about what is no request too.

    What that was is not repeated: an address may hold a token.
    """
    async with world.process(HANDLERS) as process:
        for target in (b"CANARY\x00", b"http://[CANARY", b"*CANARY", b"/%"):
            answer = await raw(world, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nHost: CANARY\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 400")
            assert b"CANARY" not in answer
        await submit(process, "netnut", REQUESTS["netnut"])

        async def warned() -> bool:
            return "request_malformed" in log_of(world)

        await until(warned)
        for line in lines_of(world):
            assert {"event", "level", "timestamp"} <= line.keys()
        assert_silent(world)


EMBEDDED = """
import asyncio, sqlite3, sys
from receiver import Receiver
from receiver.settings import from_environment

async def main():
    receiver = Receiver(from_environment())
    async with receiver.lifespan():
        with sqlite3.connect(sys.argv[1], isolation_level=None) as database:
            database.execute("CREATE TRIGGER no BEFORE INSERT ON submission BEGIN SELECT RAISE(ABORT, 'no'); END")
        try:
            await receiver.submit("netnut", {"prompt": "CANARY-IN-THE-REQUEST"})
        except Exception:
            pass

asyncio.run(main())
"""


async def test_an_application_that_set_no_log_up_gets_no_values_either(world: World) -> None:
    """By itself structlog shows a traceback with every local variable, and ours hold what is secret."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", EMBEDDED, str(world.folder / "receiver.db")),
        env={name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
        | world.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    text = (await process.communicate())[0].decode()
    assert process.returncode == 0, text
    assert "write_failed" in text
    assert "Traceback" in text
    assert PROMPT not in text


async def test_the_log_of_an_application_names_no_address_of_ours(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A token may stand in the query of what a provider is asked. What the application asks itself is in its log."""
    caplog.set_level(logging.DEBUG)

    async def answer(_asked: Asked) -> Reply:
        return replies({"id": "r1", "state": "done", "result": {"a": 1}})

    async with stub(answer) as provider:
        describe(world, provider, every="1s")
        async with world.receiver() as receiver, httpx.AsyncClient(trust_env=False) as own:
            job = await receiver.submit("made-up", {"prompt": PROMPT})
            await receiver.wait(job.id, timeout=40)
            await own.get(f"{provider.url}/of-the-application")
    lines = [
        one.getMessage() for one in caplog.records if one.name.partition(".")[0] in {"httpx", "httpcore"}
    ]
    assert any("/of-the-application" in line for line in lines)
    assert [line for line in lines if "/jobs" in line] == []
    assert len([line for line in lines if line.startswith("connect_tcp.started")]) == 1
