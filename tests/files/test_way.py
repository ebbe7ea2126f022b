"""The way of files: found in a result, fetched, kept, handed to handlers; on both databases."""

import hashlib

from receiver import Job, JobState, Receiver
from receiver.core.file import FileState
from tests.path.world import ended

from .conftest import Here, states
from .shelf import Kept


async def test_a_job_succeeds_once_its_files_are_here(here: Here) -> None:
    """Handlers get the whole result: what it links to, byte for byte, with name, size, type and digest."""
    seen: list[Job] = []
    here.links(first=Kept(body=b"one" * 1000), second=Kept(size=3_000_000))

    def prepare(receiver: Receiver) -> None:
        @receiver.on("made-up", name="h")
        async def keep(job: Job) -> None:
            seen.append(job)
            async with job.files[0].open() as stream:
                assert await stream.read() == b"one" * 1000
            with job.files[1].open() as plain:
                assert hashlib.sha256(plain.read()).hexdigest() == job.files[1].sha256

    async with here.receiver(prepare) as receiver:
        job = await here.run(receiver)
        assert job.state is JobState.SUCCEEDED
        await ended(receiver, job)
        record = await receiver.running.store.record(job.id)
    (handled,) = seen
    assert handled.files == job.files
    assert states(job.files) == [(FileState.STORED, None)] * 2
    assert [(one.name, one.size, one.content_type, one.sha256) for one in job.files] == [
        (name, kept.total, "image/png", kept.sha256)
        for name, kept in (("first", here.shelf.files["/first"]), ("second", here.shelf.files["/second"]))
    ]
    assert [one.name for one in here.kept()] == sorted(one.sha256 or "" for one in job.files)
    assert here.unfinished() == []
    steps = [(one.step, one.outcome) for one in record.attempts]
    assert steps.count(("file", "stored")) == 2
    assert ("files", "found") in steps
    assert ("dispatch", "succeeded") in steps
