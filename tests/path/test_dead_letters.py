"""A dead letter's way back: seen by command and by API, retried by either, discarded by either."""

import json
import os
import tempfile
from typing import Any

from tests import warm

from .world import REQUESTS, Process, World, until

SIGNED = "perplexity-webhook"
FAILS = """
import os
from pathlib import Path
from receiver import Receiver
receiver = Receiver()

@receiver.on(attempts=1, name="picky")
def picky(job):
    if Path("broken").exists():
        raise RuntimeError("the folder is full")
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write(f"{job.id}\\n")
"""


def command(world: World, *arguments: str) -> tuple[int, Any]:
    """Run one command beside the process that serves: its exit code and its JSON."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        files = {1: out.fileno(), 2: err.fileno()}
        done = warm.Process(
            [*arguments, "--json"], environ=environ | world.environ, folder=world.folder, files=files
        )
        code = done.wait(20)
        out.seek(0)
        text = out.read()
    return code, json.loads(text) if text else None


async def dead(process: Process) -> set[str]:
    """The dead letters, as the API lists them."""
    answer = await process.request("GET", "/v1/dispatches?state=dead")
    return {one["id"] for one in answer.json()["dispatches"]}


async def test_a_dead_letter_comes_back_by_command_and_by_api(world: World) -> None:
    """Both show the same; what either retries is handled by the process that serves, what either discards is gone."""

    def handled() -> set[str]:
        return set(world.runs.read_text().split()) if world.runs.exists() else set()

    (world.folder / "broken").touch()
    async with world.process(FAILS) as process:
        jobs = []
        for _ in range(4):
            document = {"provider": SIGNED, "request": REQUESTS[SIGNED]}
            jobs.append((await process.request("POST", "/v1/jobs", json=document)).json()["id"])
        names = [f"{job}:picky" for job in jobs]

        async def all_dead() -> bool:
            return await dead(process) == set(names)

        await until(all_dead)
        code, listed = command(world, "dead", "list")
        assert (code, {one["id"] for one in listed["dispatches"]}) == (0, set(names))
        assert "the folder is full" in listed["dispatches"][0]["error"]["text"]
        (world.folder / "broken").unlink()
        assert command(world, "dead", "retry", names[0]) == (0, {"retried": [names[0]], "gone": []})
        assert (await process.request("POST", f"/v1/dispatches/{names[1]}/retry")).status_code == 202
        assert command(world, "dead", "discard", names[2]) == (0, {"discarded": [names[2]], "gone": []})
        assert (await process.request("DELETE", f"/v1/dispatches/{names[3]}")).status_code == 204
        await until(lambda: handled() == set(jobs[:2]))

        async def none_left() -> bool:
            return not (await process.request("GET", "/v1/dispatches")).json()["dispatches"]

        await until(none_left)
        assert command(world, "dead", "list")[1]["dispatches"] == []
        timeline = (await process.request("GET", f"/v1/jobs/{jobs[2]}")).json()["timeline"]
        assert "discarded" in [one.get("outcome") for one in timeline]


async def test_a_handler_is_paused_and_resumed_by_command(world: World) -> None:
    """What ends while it is paused waits; `receiver doctor` says so."""
    world.cadence(expected="20m")
    async with world.process(FAILS) as process:
        assert command(world, "handlers", "pause", "picky")[1]["circuit"]["state"] == "paused"
        document = {"provider": SIGNED, "request": REQUESTS[SIGNED]}
        job = (await process.request("POST", "/v1/jobs", json=document)).json()["id"]

        async def waits() -> bool:
            (one,) = command(world, "handlers", "list")[1]["handlers"]
            return (one["waiting"], one["circuit"]["state"]) == (1, "paused")

        await until(waits)
        found = {one["name"]: one for one in command(world, "doctor")[1]["checks"]}["circuit picky"]
        assert (found["status"], "1 dispatches wait" in found["text"]) == ("warn", True)
        assert "receiver handlers resume picky" in found["next"]
        assert not world.runs.exists()
        assert command(world, "handlers", "resume", "picky")[1]["circuit"]["state"] == "closed"
        await until(lambda: world.runs.exists() and world.runs.read_text().split() == [job])
