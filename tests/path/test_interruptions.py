"""Handlers whose process ends: only the one that ends it dies, and no restart makes a dead letter."""

import asyncio
import signal
from collections import Counter
from typing import Any

import httpx
import pytest

from .world import PATIENCE, REQUESTS, Process, World, until

SIGNED = "perplexity-webhook"
ENDS_THE_PROCESS = """
import asyncio, os, time
from pathlib import Path
from receiver import Receiver
receiver = Receiver()

@receiver.on(state="any", name="h", attempts=3, first_wait=0.2, longest_wait=0.2)
async def h(job):
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write(f"{job.id}\\n")
    while not Path("enough").exists():
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    if job.metadata.get("ends"):
        os._exit(3)
    await asyncio.sleep(0.2)
"""
LONG = """
import asyncio, os
from pathlib import Path
from receiver import Receiver
receiver = Receiver()

@receiver.on(state="any", name="h", first_wait=0.1, longest_wait=0.1{limits})
{kind} h(job):
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write(f"{{job.id}}\\n")
    while not Path("enough").exists():
        {wait}(0.05)
"""


async def submit(process: Process, **metadata: Any) -> str:  # noqa: ANN401
    """Submit through the API; the job's id."""
    order = {"provider": SIGNED, "request": REQUESTS[SIGNED], "metadata": metadata}
    answer = await process.request("POST", "/v1/jobs", json=order)
    return str(answer.json()["id"])


def runs(world: World) -> Counter[str]:
    """How often the handler has begun for each job."""
    return Counter(world.runs.read_text(encoding="utf-8").split()) if world.runs.exists() else Counter()


async def handled(process: Process, job_id: str) -> bool:
    """Whether the handler has succeeded for a job."""
    timeline = (await process.request("GET", f"/v1/jobs/{job_id}")).json()["timeline"]
    return any(one.get("step") == "dispatch" and one.get("outcome") == "succeeded" for one in timeline)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_job_that_ends_its_process_takes_no_neighbour_along(
    world: World, database: str, request: pytest.FixtureRequest
) -> None:
    """They were running when it happened: each is called again, alone, and only the culprit becomes a dead letter."""
    if database == "postgresql":
        world.environ |= {
            "RECEIVER_DATABASE_URL": request.getfixturevalue("migrated_url"),
            "RECEIVER_LEASE": "3",
        }
    async with world.process(ENDS_THE_PROCESS) as process:
        neighbours = [await submit(process) for _ in range(3)]
        culprit = await submit(process, ends=True)
        neighbours += [await submit(process) for _ in range(3)]
        # Not before all are there: whoever submits must not meet the end of the process, nor whoever calls back.
        await until(lambda: len(runs(world)) == 7)
        (world.folder / "enough").touch()

        async def dead() -> list[str]:
            answer = await process.request("GET", "/v1/dispatches?state=dead")
            return [one["job_id"] for one in answer.json()["dispatches"]]

        async def buried() -> bool:
            assert process.running is not None
            if process.running.poll() is not None:
                assert process.running.returncode == 3
                await process.start()
            try:
                return await dead() == [culprit]
            except httpx.HTTPError:  # it is just ending
                return False

        await until(buried, patience=3 * PATIENCE)
        for one in neighbours:

            async def over(job_id: str = one) -> bool:
                return await handled(process, job_id)

            await until(over)
        assert runs(world)[culprit] == 3
        assert max(runs(world)[one] for one in neighbours) <= 2
        assert await dead() == [culprit]


# Whoever is told to stop waits six seconds for a handler; so two ends must do, of a handler that may end but once.
@pytest.mark.parametrize(
    ("how", "limits", "ends"),
    [(signal.SIGTERM, ", attempts=1, interruptions=1", 2), (signal.SIGKILL, "", 8)],
)
async def test_restarts_make_no_dead_letter_of_a_long_handler(
    world: World, how: signal.Signals, limits: str, ends: int
) -> None:
    """Its process ends as often as it may be called, told to or not; it is called once more and done."""
    handlers = LONG.format(kind="async def", wait="await asyncio.sleep", limits=limits)
    async with world.process(handlers) as process:
        job_id = await submit(process)
        for number in range(1, ends + 1):
            await until(lambda number=number: runs(world)[job_id] == number)
            assert process.running is not None
            process.running.send_signal(how)
            await asyncio.to_thread(process.running.wait, PATIENCE)
            if number == ends:
                (world.folder / "enough").touch()
            await process.start()

        async def over() -> bool:
            return await handled(process, job_id)

        await until(over)
        assert runs(world)[job_id] == ends + 1
        timeline = (await process.request("GET", f"/v1/jobs/{job_id}")).json()["timeline"]
        codes = Counter(one["code"] for one in timeline if one.get("step") == "dispatch")
        cut = "process_stopped" if how is signal.SIGTERM else "process_ended"
        assert codes == {cut: ends, None: 1}
