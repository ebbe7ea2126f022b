"""Deeds: what is done by hand through ``/v1`` or by a command is on record as what the console does."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from click.testing import CliRunner

from receiver import Job, Receiver
from receiver.cli import main
from receiver.storage import audit
from receiver.storage.audit import Deed

from .world import API_TOKEN, REQUESTS, World, ended, until

CALLS = "perplexity-webhook"


def failing(receiver: Receiver) -> None:
    """Register a handler whose dispatches die."""

    @receiver.on(CALLS, name="broken", attempts=1)
    async def broken(job: Job) -> None:
        raise ValueError


async def trail(receiver: Receiver) -> list[Deed]:
    """Everything on record, the first first."""
    return (await receiver.running.store.read(audit.trail, limit=50))[::-1]


def noted(receiver: Receiver, many: int) -> Callable[[], Awaitable[bool]]:
    """Whether so many deeds are on record: those that come by the thousand are noted a moment later."""

    async def are() -> bool:
        return len(await trail(receiver)) == many

    return are


async def test_what_is_done_through_the_api_is_on_record(world: World) -> None:
    """Who, from where, to what, and how it ended; what only looks, or names nothing, leaves nothing."""
    async with (
        world.receiver(failing) as receiver,
        httpx.AsyncClient(
            trust_env=False,
            timeout=60,
            base_url=world.url,
            headers={"authorization": f"Bearer {API_TOKEN}"},
        ) as http,
    ):
        done = await ended(receiver, await receiver.submit(CALLS, REQUESTS[CALLS]))
        dead = f"{done.id}:broken"
        assert (await http.post(f"/v1/dispatches/{dead}/retry")).status_code == 202
        await ended(receiver, done)
        assert (await http.delete(f"/v1/dispatches/{dead}")).status_code == 204
        replayed = (await http.post(f"/v1/jobs/{done.id}/replay", json={})).json()
        assert (await http.post(f"/v1/jobs/{done.id}/replay", json={"dry_run": True})).status_code == 200
        assert done.first_callback is not None
        assert (await http.post(f"/v1/callbacks/{done.first_callback}/replay")).status_code == 202
        await until(noted(receiver, 4))
        assert (await http.delete(f"/v1/jobs/{done.id}")).status_code == 409
        assert (await http.delete(f"/v1/jobs/job_{'0' * 32}")).status_code == 404
        assert (await http.post("/v1/handlers/broken/pause")).status_code == 200
        assert (await http.post("/v1/handlers/broken/resume")).status_code == 200
        deeds = await trail(receiver)
    assert [(one.action, one.subject, one.job_id, one.outcome) for one in deeds] == [
        ("retry", dead, done.id, "done"),
        ("discard", dead, done.id, "done"),
        ("replay", done.id, done.id, "done"),
        ("read", done.first_callback, done.id, "done"),
        ("cancel", done.id, done.id, "job_ended"),
        ("pause", "broken", None, "done"),
        ("resume", "broken", None, "done"),
    ]
    assert {(one.who, one.role, one.detail["from"]) for one in deeds} == {("api", "operator", "127.0.0.1")}
    assert deeds[2].detail["replay_id"] == replayed["replay_id"]


async def test_what_a_command_does_is_on_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the account and the machine that it ran on."""
    for name, value in world.environ.items():
        monkeypatch.setenv(name, value)

    said: list[str] = []

    async def run(*words: str) -> int:
        done = await asyncio.to_thread(CliRunner().invoke, main, list(words))
        said.append(done.output)
        return done.exit_code

    async with world.receiver(failing) as receiver:
        done = await ended(receiver, await receiver.submit(CALLS, REQUESTS[CALLS]))
        assert await run("dead", "discard", "--all") == 0
        assert await run("replay", done.id) == 0
        assert await run("replay", done.id, "--dry-run") == 0
        assert await run("jobs", "cancel", done.id) == 1
        assert "job_ended" in said[-1]
        assert await run("jobs", "poll", done.id) == 0
        assert await run("handlers", "pause", "broken") == 0
        assert await run("callbacks", "reverify", "--provider", "pulse") == 0
        deeds = await trail(receiver)
    assert [(one.action, one.subject, one.outcome) for one in deeds] == [
        ("discard", f"{done.id}:broken", "done"),
        ("replay", done.id, "done"),
        ("cancel", done.id, deeds[2].outcome),
        ("poll", done.id, "done"),
        ("pause", "broken", "done"),
        ("verify", "", "done"),
    ]
    assert {one.who for one in deeds} == {"cli"}
    assert all(one.detail["user"] and one.detail["host"] for one in deeds)
    assert deeds[5].detail["provider"] == "pulse"
