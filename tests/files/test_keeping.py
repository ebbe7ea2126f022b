"""Keeping: pruning and the sweep, doctor and readiness, files about to be lost, and a copied database."""

import os
import time

import httpx
import pytest

from receiver import Receiver
from receiver.core.file import FileState
from receiver.core.model import DAY, HOUR
from receiver.storage import downloads
from receiver.storage.retention import Prune
from tests.path.world import until

from .conftest import Here, poll, states
from .shelf import Kept
from .test_faces import Commands, client

TWO = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@TWO
async def test_files_go_with_their_jobs(here: Here) -> None:
    """Pruning a job leaves its bytes to the sweep, which keeps what another job has, and what is fresh."""
    here.links(shared=Kept(body=b"shared"), own=Kept(body=b"own"))
    async with here.receiver() as receiver:
        first = await here.run(receiver)
        running = receiver.running
        assert (await running.sweeping()).files == 0
        now = running.clock()
        await running.store.prune(Prune(before=now + DAY, now=now + 9 * DAY))
        assert await running.store.read(downloads.waiting, now + HOUR) is False
        here.links(shared=Kept(body=b"shared"))
        second = await here.run(receiver)
        for path in here.kept():
            os.utime(path, (time.time() - 86_400,) * 2)
        swept = await running.sweeping()
        assert (swept.files, swept.bytes) == (1, 3)
        assert [one.name for one in here.kept()] == [second.files[0].sha256]
        assert first.files[0].sha256 == second.files[0].sha256


@ONE
async def test_the_commands_prune_and_look_after_files(here: Here) -> None:
    """``db prune`` sweeps, ``doctor`` says where files are kept, and what is wrong with a folder that is another."""
    here.links(it=Kept(body=b"x"))
    here.environ["RECEIVER_PUBLIC_URL"] = "http://127.0.0.1:9"
    commands = Commands(here)
    async with here.receiver() as receiver:
        await here.run(receiver)
    _, out, _ = await commands("doctor")
    assert f"kept at {(here.folder / 'kept').as_uri()}" in out
    old = time.time() - 86_400
    os.utime(here.kept()[0], (old, old))
    code, out, _ = await commands("db", "prune", "--older-than", "4d", "--json")
    assert (code, '"files": 0' in out) == (0, True)
    here.environ["RECEIVER_FILES_URL"] = (here.folder / "other").as_uri()
    _, out, _ = await Commands(here)("doctor")
    assert "receiver-files.id" in out
    assert "a folder that they all mount, or an object store" in out


@ONE
async def test_readiness_tells_of_files_and_refuses_nobody(here: Here) -> None:
    """With ``?verbose``: no room, or another folder; callbacks are taken all the same. The metrics say it, too."""
    here.links(it=Kept(body=b"x"))
    async with here.receiver() as receiver:
        await here.run(receiver)
        assert not [line for line in await _shown(receiver) if "_paused{" in line or "_waiting{" in line]
    async with here.receiver(RECEIVER_FILES_URL=(here.folder / "other").as_uri()) as receiver:
        answer = await ready(receiver)
        assert (answer.status_code, "receiver-files.id" in answer.json()["warnings"][0]) == (200, True)
    async with here.receiver(RECEIVER_DISK_FLOOR=str(1 << 60)) as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)
        await until(lambda: receiver.running.downloading.paused is not None)
        shown = await _shown(receiver)
        assert 'receiver_downloads_paused{code="files_disk_low"} 1.0' in shown
        assert 'receiver_files_waiting{provider="made-up"} 1.0' in shown
        answer = await ready(receiver)
        assert (answer.status_code, "RECEIVER_DISK_FLOOR" in answer.json()["warnings"][0]) == (200, True)


async def _shown(receiver: Receiver) -> list[str]:
    """The lines of the metrics, with the record counted as it is now."""
    running = receiver.running
    await running.store.counting.soon(now=running.clock(), patience=5)
    async with client(receiver) as http:
        return (await http.get("/metrics")).text.splitlines()


async def ready(receiver: object) -> httpx.Response:
    """What ``/readyz?verbose`` says."""
    async with client(receiver) as http:  # type: ignore[arg-type]
        return await http.get("/readyz?verbose")


@TWO
async def test_files_about_to_be_lost_are_found(here: Here) -> None:
    """By provider: how many that should be here are deleted within the hour, and when the first is."""
    here.describe('[[files]]\npath = "links.*"\nkeeps = "30m"\n')
    here.links(bad=Kept(body=b"x", status=500), good=Kept(body=b"y"))
    async with here.receiver() as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)
        running = receiver.running
        now = running.clock()

        async def failed() -> bool:
            return states(await receiver.files(job.id)) == [
                (FileState.WAITING, "status_500"),
                (FileState.STORED, None),
            ]

        await until(failed)
        assert await running.store.read(downloads.leaving, now=now) == []
        (late,) = await running.store.read(downloads.leaving, now=now + 20 * 60_000)
        assert (late.provider, late.count) == ("made-up", 1)
        assert await running.store.read(downloads.leaving, now=now - DAY) == []
