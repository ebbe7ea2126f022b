"""A process that ends in the midst of fetching: nothing half is taken for whole, and nothing that was given is lost."""

import asyncio
import hashlib
import signal
from pathlib import Path

import pytest

from receiver import JobState

from .described import describe, replies
from .stub import Asked, Reply, Stub, stub
from .test_submission_outcomes import locked
from .world import PATIENCE, Process, World, until

QUIET = "from receiver import Receiver\nreceiver = Receiver()\n"
WHOLE = bytes(range(256)) * 16 * 1024


async def job_of(process: Process) -> dict[str, object]:
    """The only job there is."""
    (job,) = (await process.request("GET", "/v1/jobs")).json()["jobs"]
    return dict(job)


async def submit(process: Process) -> str:
    """Submit a job; its id."""
    answer = await process.request("POST", "/v1/jobs", json={"provider": "made-up", "request": {}})
    return str(answer.json()["id"])


async def end(process: Process, number: signal.Signals = signal.SIGTERM) -> int:
    """Tell it to stop; its exit code, which comes although what it does has no end."""
    assert process.running is not None
    process.running.send_signal(number)
    return await asyncio.to_thread(process.running.wait, PATIENCE)


def modes(folder: Path) -> tuple[int, set[int]]:
    """Who may do what with a folder, and with what stays in it: marks and unfinished files come and go meanwhile."""
    stay = [*folder.glob("*.result"), *folder.glob("*.answer")]
    return folder.stat().st_mode & 0o777, {one.stat().st_mode & 0o777 for one in stay}


class Slow:
    """A provider whose result, or the file that it links to, takes minutes until it is told to hurry."""

    provider: Stub

    def __init__(self, links: bool) -> None:  # noqa: FBT001
        self.links = links
        self.pause = 2.0
        #: How often the bytes were asked for.
        self.given = 0

    async def __call__(self, asked: Asked) -> Reply:
        """Answer."""
        if asked.method == "POST":
            return replies({"id": "r1", "state": "running"})
        if asked.path == "/jobs/r1":
            at = f"{self.provider.url}/big/{self.given}"
            return replies(
                {
                    "id": "r1",
                    "state": "done",
                    **({"result": {"links": [at]}} if self.links else {"result_url": at}),
                }
            )
        self.given += 1
        return Reply(body=WHOLE, pause=self.pause)


@pytest.mark.parametrize("links", [False, True], ids=["result", "file"])
async def test_told_to_stop_while_bytes_arrive(world: World, *, links: bool) -> None:
    """Exit code 0 in its ten seconds; the job has not succeeded, and the next process gets all of it."""
    slow = Slow(links)
    async with stub(slow) as slow.provider:
        describe(
            world,
            slow.provider,
            every="1s",
            keeps=("1d", "completion"),
            files='[[files]]\npath = "links.*"\n' if links else "",
        )
        async with world.process(QUIET) as process:
            job_id = await submit(process)
            await until(lambda: slow.given == 1)
            await asyncio.sleep(1)
            assert await end(process) == 0
            assert "Traceback" not in (world.folder / "serve.log").read_text(encoding="utf-8")
            slow.pause = 0
            await process.start()
            assert (await job_of(process))["state"] in {JobState.FETCHING, JobState.SUCCEEDED}

            async def over() -> bool:
                return (await job_of(process))["state"] == JobState.SUCCEEDED

            await until(over)
            path = f"/v1/jobs/{job_id}/files/1" if links else f"/v1/jobs/{job_id}/result"
            found = (await process.request("GET", path)).content
            assert hashlib.sha256(found).digest() == hashlib.sha256(WHOLE).digest()
            assert slow.given == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("size", [1, len(WHOLE)], ids=["small", "large"])
async def test_a_result_that_is_given_once_outlives_its_process(
    world: World, number: signal.Signals, size: int
) -> None:
    """The database cannot take it, and the process ends: the next one stores it, and nobody is asked a second time."""
    release = asyncio.Event()

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "r1", "state": "running"})
        if asked.path == "/jobs/r1":
            return replies({"id": "r1", "state": "done", "result_url": f"{provider.url}/once/r1"})
        await release.wait()
        return Reply(body=WHOLE[:size])

    spool = Path(f"{world.folder}/receiver.db-spool")
    async with stub(answer) as provider:
        describe(world, provider, every="1s", fetch="single_use = true")
        async with world.process(QUIET) as process:
            job_id = await submit(process)
            await until(lambda: any(one.path == "/once/r1" for one in provider.asked))
            with locked(world):
                release.set()
                await until(lambda: spool.exists() and bool(list(spool.glob("*.result"))))
                assert modes(spool) == (0o700, {0o600})
                assert await end(process, number) == (0 if number is signal.SIGTERM else -number)
            await process.start()

            async def over() -> bool:
                return (await job_of(process))["state"] == JobState.SUCCEEDED

            await until(over)
            assert (await process.request("GET", f"/v1/jobs/{job_id}/result")).content == WHOLE[:size]
            await until(lambda: list(spool.iterdir()) == [])
            assert [one.path for one in provider.asked].count("/once/r1") == 1
