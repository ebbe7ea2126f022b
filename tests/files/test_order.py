"""Order, crashes and several nodes: what is deleted first is fetched first, and nothing is lost or doubled."""

import asyncio
import os
import sys
import time

import pytest

from receiver import JobState
from receiver.core.file import FileState
from receiver.files.opening import Marking
from receiver.files.store import FilesUnsharedError
from receiver.storage.store import Store
from tests.path.world import until
from tests.postgres import PostgresServer

from .conftest import Here, poll, states
from .shelf import Kept

MIB = 1024 * 1024


async def test_what_is_deleted_first_is_fetched_first(here: Here) -> None:
    """A file that its provider deletes a minute after the end, while 50 others wait, is asked for among the first."""
    dying = Kept(body=b"dies soon")
    others = {f"n{number}": Kept(body=b"%d" % number, pause=0.4) for number in range(50)}
    here.links(**others, dying=dying)
    # The last of the result, and the only one whose link says when it runs out.
    here.shelf.result["links"][-1] += f"?Expires={int(time.time()) + 60}"
    async with here.receiver() as receiver:
        dying.gone_at = time.monotonic() + 60
        job = await here.run(receiver, patience=60)
    assert states(job.files) == [(FileState.STORED, None)] * 51
    # Of those that are begun at once it is one, although it was found last.
    paths = [one.path for one in here.shelf.asked if one.method == "GET" and not one.path.startswith("/jobs")]
    assert any(path.startswith("/dying") for path in paths[:8])
    assert here.shelf.most_at_once <= 8


SERVE = "from receiver.cli import main; main(['worker'])"


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
async def test_killed_in_the_middle(here: Here) -> None:
    """With kill -9: what was safe of a download is gone on with; nothing half is readable, and no orphan is left."""
    kept = Kept(size=24 * MIB, slow_after=16 * MIB)
    here.links(big=kept)
    here.environ["RECEIVER_LEASE"] = "5"
    async with here.receiver() as receiver:
        # Recorded here; fetched by another process.
        await receiver.running.worker.drain(patience=1)  # type: ignore[union-attr]
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVE),
        env={**os.environ, **here.environ},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    store = await Store.open(here.environ["RECEIVER_DATABASE_URL"])

    async def safe() -> bool:
        ((received,),) = await store.read(lambda tx: tx.run("SELECT max(received) FROM download"))
        return (received or 0) > 0

    try:
        await until(safe)
    finally:
        process.kill()
        await process.wait()
        await store.close()
    assert here.kept() == []
    assert len(here.unfinished()) == 1
    kept.slow_after = None
    async with here.receiver() as receiver:
        job = await receiver.wait(job.id, timeout=40)
        record = await receiver.running.store.record(job.id)
    (file,) = job.files
    assert (job.state, file.state, file.sha256) == (JobState.SUCCEEDED, FileState.STORED, kept.sha256)
    assert [one.name for one in here.kept()] == [kept.sha256]
    assert here.unfinished() == []
    (told,) = (one for one in record.attempts if one.step == "file")
    assert told.detail["resumed_at"] > 0
    assert here.shelf.gets("big")[-1].header("range") == f"bytes={told.detail['resumed_at']}-"


async def test_a_process_that_ends_gives_its_downloads_back(here: Here) -> None:
    """SIGTERM: what is here is made safe, and whoever is there goes on with it at once."""
    kept = Kept(size=8 * MIB, slow_after=4 * MIB)
    here.links(big=kept)
    async with here.receiver() as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)
        await until(lambda: any(one.stat().st_size > MIB for one in here.unfinished()))
    kept.slow_after = None
    async with here.receiver() as receiver:
        # Sooner than its lease would have lapsed.
        job = await receiver.wait(job.id, timeout=40)
    assert states(job.files) == [(FileState.STORED, None)]
    assert here.shelf.gets("big")[-1].header("range") is not None
    assert here.unfinished() == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_two_nodes_fetch_each_file_once(here: Here, postgres_server: PostgresServer) -> None:
    """On one database and one folder; the job ends once, whoever has its last file."""
    names = [f"n{number}" for number in range(30)]
    here.links(**{name: Kept(body=name.encode() * 1000, pause=0.02) for name in names})
    async with here.receiver() as one, here.receiver() as other:
        job = await here.run(one, patience=60)
        record = await one.running.store.record(job.id)
        assert (await other.running.store.job(job.id)).state is JobState.SUCCEEDED
    assert states(job.files) == [(FileState.STORED, None)] * 30
    assert [len(here.shelf.gets(name)) for name in names] == [1] * 30
    assert len([one for one in record.attempts if (one.step, one.outcome) == ("file", "stored")]) == 30


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_nodes_that_do_not_share_the_folder_are_told(here: Here) -> None:
    """The one whose folder is another fetches nothing; the job's files come by the one that has the record's."""
    here.links(first=Kept(body=b"1"))
    async with here.receiver() as right:
        await here.run(right)
        async with here.receiver(RECEIVER_FILES_URL=(here.folder / "other").as_uri()) as wrong:
            await right.running.worker.drain(patience=1)  # type: ignore[union-attr]
            here.links(second=Kept(body=b"2"))
            job = await wrong.submit("made-up", {"a": 1})
            await poll(wrong, job)

            async def told() -> bool:
                return states(await wrong.files(job.id)) == [(FileState.WAITING, "files_unshared")]

            await until(told)
            assert here.shelf.gets("second") == []
    async with here.receiver() as right:
        assert states((await right.wait(job.id, timeout=40)).files) == [(FileState.STORED, None)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_equal_bytes_are_kept_once(here: Here) -> None:
    """Of two jobs, and of two links."""
    here.links(a=Kept(body=b"same"), b=Kept(body=b"same"))
    async with here.receiver() as receiver:
        first, second = await here.run(receiver), await here.run(receiver)
    assert len({one.sha256 for job in (first, second) for one in job.files}) == 1
    assert len(here.kept()) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_twenty_are_fetched_at_once_and_eight_of_one_origin(here: Here) -> None:
    """However many wait; the others come as there is room."""
    held = asyncio.Event()
    here.links(**{f"n{number}": Kept(body=b"%d" % number, held=held) for number in range(24)})
    async with here.receiver() as receiver:
        running = asyncio.create_task(here.run(receiver, patience=60))
        await until(lambda: here.shelf.most_at_once >= 8)
        held.set()
        job = await running
    assert states(job.files) == [(FileState.STORED, None)] * 24
    assert here.shelf.most_at_once == 8


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
async def test_a_place_is_marked_once_however_many_begin(here: Here) -> None:
    """Many at once agree; a mark that was never made is made later, and that of another record is left alone."""
    async with here.receiver() as receiver:
        running = receiver.running
        now = running.clock()
        claims = [Marking(store=running.store, files=running.files) for _ in range(8)]
        outcomes = await asyncio.gather(*(one.claim(now=now) for one in claims), return_exceptions=True)
        assert any(one is None for one in outcomes)
        for one in claims:
            await one.claim(now=now)
        mark = here.folder / "kept" / "receiver-files.id"
        mark.unlink()
        with pytest.raises(FilesUnsharedError):
            await Marking(store=running.store, files=running.files).claim(now=now)
        await Marking(store=running.store, files=running.files).claim(now=now + 61_000)
        mark.write_text("another")
        with pytest.raises(FilesUnsharedError):
            await Marking(store=running.store, files=running.files).claim(now=now + 61_000)
        assert mark.read_text() == "another"
