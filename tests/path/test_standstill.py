"""A process that stands still, or whose event loop does: nothing runs twice at once, and somebody is told."""

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from receiver import Job, Receiver, Settings
from receiver.core.errors import ConfigurationError
from receiver.exposition import exposition, families
from receiver.worker import leases, worker

from .described import describe, replies
from .stub import Asked, Reply, stub
from .test_nodes import node
from .world import API_TOKEN, PATIENCE, REQUESTS, World, ended, until

SIGNED = "perplexity-webhook"
STEPS = """
import asyncio, os, time
from pathlib import Path
from receiver import Receiver
receiver = Receiver()

def note(word):
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write(f"{{word}}\\n")

@receiver.on(name="h", first_wait=0.1, longest_wait=0.1)
async def h(job):
    note("began")
    try:
        {work}
    finally:
        note("left")
    note("went on")
"""


def lines(path: Path) -> list[str]:
    """What the handler of the other process has noted."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []


async def test_a_handler_that_was_frozen_past_its_lease_does_not_go_on(
    world: World, migrated_url: str
) -> None:
    """Another node has taken it over: at its next step it is cancelled, before it does anything more."""
    world.environ |= {"RECEIVER_DATABASE_URL": migrated_url, "RECEIVER_LEASE": "4"}
    seen: list[str] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(name="h", first_wait=0.1, longest_wait=0.1)
        async def take_over(job: Job) -> None:
            seen.append(job.id)
            await asyncio.sleep(4)

    async with world.process(STEPS.format(work="await asyncio.sleep(3)")) as process:
        order = {"provider": SIGNED, "request": REQUESTS[SIGNED]}
        job_id = (await process.request("POST", "/v1/jobs", json=order)).json()["id"]
        await until(lambda: lines(world.runs) == ["began"])
        assert process.running is not None
        process.running.send_signal(signal.SIGSTOP)
        async with node(world, prepare) as other:
            await until(lambda: seen == [job_id])
            process.running.send_signal(signal.SIGCONT)
            await until(lambda: lines(world.runs) == ["began", "left"])
            await until(lambda: "dispatch_superseded" in (world.folder / "serve.log").read_text())

            async def over() -> bool:
                return not (await other.running.store.record(job_id)).dispatches

            await until(over)
            record = await other.running.store.record(job_id)
            ends = [one.outcome for one in record.attempts if one.step == "dispatch"]
            assert ends == ["interrupted", "succeeded"]
    assert seen == [job_id]


async def test_a_handler_that_was_frozen_and_still_is_ours_goes_on(world: World, migrated_url: str) -> None:
    """Nobody was there to take it over: it is made sure of, and then it is done once."""
    world.environ |= {"RECEIVER_DATABASE_URL": migrated_url, "RECEIVER_LEASE": "1"}
    async with world.process(STEPS.format(work="await asyncio.sleep(2)")) as process:
        order = {"provider": SIGNED, "request": REQUESTS[SIGNED]}
        await process.request("POST", "/v1/jobs", json=order)
        await until(lambda: lines(world.runs) == ["began"])
        assert process.running is not None
        process.running.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2.5)
        process.running.send_signal(signal.SIGCONT)
        await until(lambda: lines(world.runs) == ["began", "left", "went on"])
        await asyncio.sleep(1.5)
        assert lines(world.runs) == ["began", "left", "went on"]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_handler_that_blocks_the_event_loop_runs_once(
    world: World, database: str, request: pytest.FixtureRequest
) -> None:
    """It blocks for longer than the lease lasts: no node takes it meanwhile, nor its own; the log says where."""
    seen: list[str] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(name="h")
        async def take_over(job: Job) -> None:
            seen.append(job.id)

    world.environ["RECEIVER_LEASE"] = "3"
    if database == "postgresql":
        world.environ["RECEIVER_DATABASE_URL"] = request.getfixturevalue("migrated_url")
    async with world.process(STEPS.format(work="time.sleep(5)")) as process:
        order = {"provider": SIGNED, "request": REQUESTS[SIGNED]}
        await process.request("POST", "/v1/jobs", json=order)
        await until(lambda: lines(world.runs) == ["began"])
        if database == "postgresql":
            async with node(world, prepare):
                await asyncio.sleep(4.5)
        await until(lambda: lines(world.runs) == ["began", "left", "went on"])
        await asyncio.sleep(1.5)
        assert lines(world.runs) == ["began", "left", "went on"]
        metrics = (await process.request("GET", "/metrics")).text
    assert seen == []
    told = (world.folder / "serve.log").read_text(encoding="utf-8")
    assert "event_loop_blocked" in told
    assert "my_handlers.py" in told
    (blocked,) = (
        one for one in metrics.splitlines() if one.startswith("receiver_event_loop_blocked_seconds_total")
    )
    assert float(blocked.split()[1]) >= 3


async def test_a_plain_handler_that_hangs_is_told_of(world: World) -> None:
    """Past its timeout it cannot be stopped: the log names it and its job, and the metrics count it."""

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, name="h", timeout=0.1)
        def hang(_job: Job) -> None:
            go_on.wait(PATIENCE)

    go_on = threading.Event()
    with structlog.testing.capture_logs() as told:
        async with world.receiver(prepare) as receiver:
            job = await receiver.submit(SIGNED, REQUESTS[SIGNED])

            def hangs() -> list[Any]:
                return [one for one in told if one["event"] == "handler_hangs"]

            await until(lambda: bool(hangs()))
            assert (hangs()[0]["handler"], hangs()[0]["job"]) == ("h", job.id)
            assert receiver.running.worker is not None
            (one,) = receiver.running.worker.running()
            assert (one.slot, one.many, one.overdue) == ("handler h", 1, 1)
            measured = families(
                receiver.running.metrics, None, [], failed={}, refusing=False, counted_at=0, now=1
            )
            assert b'receiver_work_overdue{slot="handler h"} 1.0' in exposition(measured)
            go_on.set()


@pytest.mark.parametrize("step", ["submit", "poll", "fetch"])
async def test_a_step_that_takes_long_is_told_of(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Not only handlers may hold a lease for too long: the log names step, job and provider, the metrics count it."""
    monkeypatch.setattr(worker, "_LONGEST_STEP", 0.1)
    monkeypatch.setattr(leases, "_GRACE", 0.1)
    release = asyncio.Event()

    async def answer(asked: Asked) -> Reply:
        posts = len([one for one in provider.asked if one.method == "POST"])
        at = "fetch" if asked.path == "/big/r1" else "poll" if asked.method == "GET" else "submit"
        if at == step == "submit" and posts == 1:
            return Reply(status=429, headers={"retry-after": "1"})
        if at == step:
            await release.wait()
        if at == "fetch":
            return Reply(body=b"1")
        done = (
            {"state": "done", "result_url": f"{provider.url}/big/r1"}
            if at == "poll"
            else {"state": "running"}
        )
        return replies({"id": "r1", **done})

    with structlog.testing.capture_logs() as told:
        async with stub(answer) as provider:
            describe(world, provider, every="1s")
            async with world.receiver() as receiver:
                job = await receiver.submit("made-up", {})

                def hangs() -> list[Any]:
                    return [one for one in told if one["event"] == "step_hangs"]

                await until(lambda: bool(hangs()))
                found = hangs()[0]
                name = "submit" if step == "submit" else "look"
                assert (found["step"], found["job"], found["slot"]) == (name, job.id, "provider made-up")
                async with httpx.AsyncClient(trust_env=False, timeout=60, base_url=world.url) as client:
                    headers = {"authorization": f"Bearer {API_TOKEN}"}
                    measured = (await client.get("/metrics", headers=headers)).text
                assert 'receiver_work_overdue{slot="provider made-up"} 1.0' in measured
                release.set()
                assert (await ended(receiver, job)).state == "succeeded"
                assert receiver.running.worker is not None
                assert receiver.running.worker.running() == []


async def test_a_completion_that_nobody_wants_is_counted_and_told_of(world: World) -> None:
    """Once by its first, and again whenever their number has doubled."""
    with structlog.testing.capture_logs() as told:
        async with world.receiver(lambda receiver: receiver.on("netnut", name="h")(print)) as receiver:
            for _ in range(3):
                job = await receiver.submit(SIGNED, REQUESTS[SIGNED])

                async def over(job_id: str = job.id) -> bool:
                    return (await receiver.job(job_id)).state.ended

                await until(over)
            counted = receiver.running.metrics.counts["completions_unhandled"]
            assert counted == {(SIGNED, "succeeded"): 3}
    lines = [one["count"] for one in told if one["event"] == "completion_unhandled"]
    assert lines == [1, 2]


async def test_a_handler_cannot_be_registered_late(world: World) -> None:
    """What ended before would never have reached it; after a stop it can be."""
    receiver = Receiver(Settings.load(world.environ))
    early = receiver.on(SIGNED, name="early")
    await receiver.start()
    with pytest.raises(ConfigurationError) as refused:
        early(print)
    assert refused.value.code == "handler_late"
    await receiver.stop()
    early(print)


async def test_a_start_without_handlers_forgets_none(world: World) -> None:
    """What ends meanwhile waits for them, and the log says which are missing."""
    async with world.receiver(lambda receiver: receiver.on(SIGNED, name="save")(print)):
        pass
    with structlog.testing.capture_logs() as told:
        async with world.receiver() as receiver:
            job = await receiver.submit(SIGNED, REQUESTS[SIGNED])

            async def over() -> bool:
                return (await receiver.job(job.id)).state.ended

            await until(over)
    assert [one["handler"] for one in told if one["event"] == "handler_absent"] == ["save"]
    seen: list[str] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, name="save")
        async def save(job: Job) -> None:
            seen.append(job.id)

    async with world.receiver(prepare):
        await until(lambda: seen == [job.id])
