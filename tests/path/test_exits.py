"""Handlers that want the process to exit from a task of their own: an outcome of theirs, and nobody else's."""

import asyncio

import pytest

from .test_interruptions import handled, submit
from .world import World, until

HANDLERS = """
import asyncio, os
from pathlib import Path
from receiver import Receiver
receiver = Receiver()

async def child():
    raise {raised}

@receiver.on(state="any", name="exits", attempts=2, first_wait=0.1, longest_wait=0.1)
async def exits(job):
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write("exits\\n")
    {begins}

@receiver.on(state="any", name="other", attempts=1)
async def other(job):
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write("other\\n")
    while not Path("enough").exists():
        await asyncio.sleep(0.02)
"""


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt"])
@pytest.mark.parametrize(
    "begins", ["await asyncio.gather(child())", "asyncio.ensure_future(child()); await asyncio.sleep(0.2)"]
)
async def test_a_task_of_a_handler_that_exits_ends_no_process(world: World, raised: str, begins: str) -> None:
    """Nor the attempts of others; one that waits for its task hears of it, and is a dead letter after its attempts."""
    waits = begins.startswith("await")
    async with world.process(HANDLERS.format(raised=raised, begins=begins)) as process:
        job_id = await submit(process)

        async def over() -> bool:
            story = (await process.request("GET", f"/v1/jobs/{job_id}")).json()["timeline"]
            outcomes = [one["outcome"] for one in story if one.get("handler") == "exits"]
            return outcomes == (["failed", "failed"] if waits else ["succeeded"])

        await until(over)
        (world.folder / "enough").touch()

        async def other() -> bool:
            return await handled(process, job_id)

        await until(other)
        ran = world.runs.read_text(encoding="utf-8").split()
        assert sorted(ran) == ["exits"] * (2 if waits else 1) + ["other"]
        dead = (await process.request("GET", "/v1/dispatches?state=dead")).json()["dispatches"]
        told = [(one["handler"], one["error"]["code"]) for one in dead]
        assert told == ([("exits", raised.removesuffix("(3)"))] if waits else [])


CANCELS = """
import asyncio
from pathlib import Path
from receiver import Receiver
receiver = Receiver()

@receiver.on(state="any", name="exits")
async def cancels(job):
    if not Path("done").exists():
        Path("done").touch()
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)
"""


async def test_a_handler_that_cancels_the_server_ends_it_in_one_sentence(world: World) -> None:
    """No traceback of ours but a sentence and exit code 1; whoever starts next goes on with the job."""
    async with world.process(CANCELS) as process:
        job_id = await submit(process)
        assert process.running is not None
        assert await asyncio.to_thread(process.running.wait, 20) == 1
        last = (world.folder / "serve.log").read_text(encoding="utf-8").splitlines()[-1]
        assert last.startswith("error: ")
        assert last.endswith("(serving_canceled)")
        await process.start()

        async def other() -> bool:
            story = (await process.request("GET", f"/v1/jobs/{job_id}")).json()["timeline"]
            return "succeeded" in [one["outcome"] for one in story if one.get("handler") == "exits"]

        await until(other)
