"""What handlers may do to the process that they share with the receiver, and what must not depend on it."""

import asyncio
import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from receiver import Job, Receiver

from .test_interruptions import submit
from .world import REQUESTS, World, ended, until

SIGNED = "perplexity-webhook"
RUDE = """
import asyncio, os, time
from pathlib import Path
from receiver import Receiver
receiver = Receiver()
folder = Path.cwd()

@receiver.on(name="wanders")
def wanders(job):
    os.chdir("/")

@receiver.on(name="stops")
async def stops(job):
    asyncio.get_running_loop().stop()

@receiver.on(name="goes_on_twice")
async def goes_on_twice(job):
    if os.fork() == 0:
        raise ValueError("The child goes on as if it were the receiver.")

@receiver.on(name="leaves_a_child")
def leaves_a_child(job):
    child = os.fork()
    if child == 0:
        while True:
            time.sleep(1)
    (folder / "children").open("a").write(f"{child}\\n")
"""


async def test_a_handler_that_holds_up_every_thread_of_the_loop_holds_up_nothing_of_ours(
    world: World,
) -> None:
    """``asyncio.to_thread`` is how a handler waits: submissions with files, names, pages and the end go on."""
    go_on = Event()
    seen: list[str] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED)
        async def hold_up(_job: Job) -> None:
            await asyncio.to_thread(go_on.wait)

        receiver.on("pulse", name="note")(lambda job: seen.append(job.id))

    with ThreadPoolExecutor(1) as only:
        asyncio.get_running_loop().set_default_executor(only)
        # A name, which is resolved; an address would not be.
        by_name = world.environ["RECEIVER_PULSE_BASE_URL"].replace("127.0.0.1", "localhost")
        world.environ["RECEIVER_PULSE_BASE_URL"] = by_name
        try:
            async with world.receiver(prepare) as receiver:
                held = await receiver.submit(SIGNED, REQUESTS[SIGNED])
                worker = receiver.running.worker
                assert worker is not None
                await until(lambda: worker.leases().dispatches != ())
                job = await ended(receiver, await receiver.submit("pulse", REQUESTS["pulse"]))
                await until(lambda: seen == [job.id])
                assert (await receiver.job(held.id)).state == "succeeded"
                assert worker.leases().dispatches != ()
                go_on.set()
        finally:
            go_on.set()


async def test_a_process_whose_handlers_are_rude_serves_on(world: World) -> None:
    """They change its folder, stop its loop, fork; killed while a child lives, it can be started again at once."""
    world.environ["RECEIVER_DATABASE_URL"] = "sqlite:///receiver.db"
    children = world.folder / "children"

    def born() -> list[int]:
        return [int(one) for one in children.read_text().split()] if children.exists() else []

    async with world.process(RUDE) as process:
        try:
            for number in (1, 2):
                job_id = await submit(process)

                async def handled(job_id: str = job_id) -> bool:
                    story = (await process.request("GET", f"/v1/jobs/{job_id}")).json()["timeline"]
                    return [one["outcome"] for one in story if one.get("handler")] == ["succeeded"] * 4

                await until(handled)
                assert len(born()) == number
            process.kill()
            for one in born():
                os.kill(one, 0)  # each lives on
            await process.start()
            stored = await process.request("GET", f"/v1/jobs/{job_id}")
            assert stored.json()["state"] == "succeeded"
        finally:
            for one in born():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, 9)
