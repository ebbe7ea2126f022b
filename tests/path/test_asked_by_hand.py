"""``receiver jobs poll`` about what has ended without an outcome: it asks once, and a late success reaches handlers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import Program

from .described import describe, replies
from .stub import Asked, Reply, stub
from .test_stopping_midway import job_of, submit
from .world import World, until

HANDLERS = """
import os
from pathlib import Path
from receiver import Receiver
receiver = Receiver()

@receiver.on(state="any", name="note")
def note(job):
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write(f"{job.state.value} {job.result.content.decode() if job.result else '-'}\\n")
"""


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, world: World) -> World:
    """On either database."""
    if request.param == "postgres":
        world.environ["RECEIVER_DATABASE_URL"] = request.getfixturevalue("migrated_url")
    return world


@pytest.mark.parametrize("at_address", [False, True], ids=["in the answer", "at an address"])
@pytest.mark.parametrize("end", ["timed_out", "expired"])
async def test_a_person_asks_about_a_job_that_ended(world: World, end: str, *, at_address: bool) -> None:
    """A job that has timed out or expired: nothing new leaves it as it is, and what is there after all is told."""
    says: dict[str, Any] = {"id": "r1", "state": "running"}
    gone = end == "expired"

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "r1", "state": "running"})
        if asked.path == "/jobs/r1":
            return replies(says)
        return Reply(status=410) if gone else Reply(body=b'{"answer":42}')

    def looks() -> int:
        return [one.path for one in provider.asked].count("/jobs/r1")

    def told() -> list[str]:
        return world.runs.read_text().splitlines() if world.runs.exists() else []

    async def poll(job_id: str) -> dict[str, Any]:
        program = Program(folder=Path(world.folder), settings=world.environ)
        found: dict[str, Any] = await asyncio.to_thread(program.json, "jobs", "poll", job_id)
        return found

    async with stub(answer) as provider:
        done = {"id": "r1", "state": "done"}
        there = done | {"result_url": f"{provider.url}/big/r1"}
        if end == "expired":
            says = there
        describe(world, provider, every="1s", deadline="2s" if end == "timed_out" else "1h")
        async with world.process(HANDLERS) as process:
            job_id = await submit(process)

            async def over() -> bool:
                return (await job_of(process))["state"] == end

            await until(over)
            await until(lambda: told() == [f"{end} -"])
            before = looks()
            assert (await poll(job_id))["state"] == end
            assert looks() == before + 1
            gone = False
            says = there if at_address else done | {"result": {"answer": 42}}
            assert (await poll(job_id))["state"] == "succeeded"
            assert looks() == before + 2
            await until(lambda: len(told()) == 2)
            state, _, result = told()[1].partition(" ")
            assert (state, json.loads(result)) == ("succeeded", {"answer": 42})
            # Once: whoever asks again is told that it has ended, and nobody else is asked.
            await poll(job_id)
            assert looks() == before + 2
            assert len(told()) == 2
