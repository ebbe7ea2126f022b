"""What becomes of files while our own store cannot take any: nothing is lost by it, for as long as that is bounded."""

from receiver import JobState
from receiver.core.file import FileState
from receiver.core.model import HOUR
from tests.path.described import Clock
from tests.path.world import until

from .conftest import Here, poll, states
from .shelf import Kept

STORED, WAITING = FileState.STORED, FileState.WAITING


async def test_a_full_disk_pauses_downloads_alone(here: Here) -> None:
    """The job waits in ``fetching``; with room again it goes on by itself."""
    here.links(it=Kept(body=b"x"))
    async with here.receiver(RECEIVER_DISK_FLOOR=str(1 << 60)) as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)
        await until(lambda: receiver.running.downloading.paused == "files_disk_low")
        assert (await receiver.job(job.id)).state is JobState.FETCHING
        assert here.shelf.gets("it") == []
    async with here.receiver() as receiver:
        assert states((await receiver.wait(job.id, timeout=40)).files) == [(STORED, None)]


async def test_a_store_that_cannot_be_used_loses_nothing(here: Here) -> None:
    """A file lies where the folder should be: the file waits with a code, and comes once that is put right."""
    here.links(it=Kept(body=b"x"))
    (here.folder / "kept").write_bytes(b"")
    async with here.receiver() as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)

        async def met() -> bool:
            return states(await receiver.files(job.id)) == [(WAITING, "file_store_unavailable")]

        await until(met)
        (here.folder / "kept").unlink()
        assert states((await receiver.wait(job.id, timeout=40)).files) == [(STORED, None)]


async def test_a_store_that_cannot_be_used_is_waited_for_a_day(here: Here) -> None:
    """Longer than its provider keeps the file, which may keep it longer than it says; then the file is lost."""
    clock = Clock()
    here.describe('[[files]]\npath = "links.*"\nkeeps = "1h"\n')
    here.links(it=Kept(body=b"x"))
    (here.folder / "kept").write_bytes(b"")
    async with here.receiver(clock.wind) as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)

        async def tried(more: int) -> None:
            async def again() -> bool:
                record = await receiver.running.store.record(job.id)
                return sum(one.step == "file" for one in record.attempts) >= more

            await until(again)

        await tried(1)
        clock.ahead = 24 * HOUR
        receiver.running.worker.notify_files()  # type: ignore[union-attr]
        await tried(2)
        assert states(await receiver.files(job.id)) == [(WAITING, "file_store_unavailable")]
        clock.ahead = 26 * HOUR
        receiver.running.worker.notify_files()  # type: ignore[union-attr]
        assert states((await receiver.wait(job.id, timeout=40)).files) == [
            (FileState.LOST, "file_unreachable")
        ]
