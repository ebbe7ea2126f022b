"""Files of results that come with the end of a job that did not succeed; on both databases."""

import json

import pytest

from receiver import Job, JobState, Receiver
from receiver.core.file import FileState
from tests.path.world import ended, until

from .conftest import LINKS, Here, poll, states
from .shelf import Kept

STORED, WAITING = FileState.STORED, FileState.WAITING


@pytest.mark.parametrize(("word", "state"), [("broken", JobState.FAILED), ("stopped", JobState.CANCELED)])
async def test_a_job_that_did_not_succeed_ends_so_once_its_files_are_here(
    here: Here, word: str, state: JobState
) -> None:
    """It is fetching until then; its handlers are called once, in the true state, with the files."""
    seen: list[Job] = []
    here.describe(LINKS, shape_job='result_for = ["failed", "canceled"]', shape_result_url="")
    kept = Kept(body=b"some of it", status=500)
    here.links(part=kept)
    here.shelf.state = word

    def prepare(receiver: Receiver) -> None:
        @receiver.on("made-up", state="any", name="h")
        async def keep(job: Job) -> None:
            seen.append(job)

    async with here.receiver(prepare) as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)

        async def waits() -> bool:
            return states(await receiver.files(job.id)) == [(WAITING, "status_500")]

        await until(waits)
        assert (await receiver.job(job.id)).state is JobState.FETCHING
        assert seen == []
        kept.status = 200
        job = await receiver.wait(job.id, timeout=40)
        await ended(receiver, job)
        record = await receiver.running.store.record(job.id)
    assert (job.state, states(job.files)) == (state, [(STORED, None)])
    assert [(one.state, one.files) for one in seen] == [(state, job.files)]
    assert (record.job.ends_as, record.job.succeeded_at, here.shelf.polls) == (None, None, 1)


async def test_a_result_at_an_address_of_its_own_is_read_for_links_too(here: Here) -> None:
    """The job that did not succeed names where its result is; that is fetched, and then what it links to."""
    here.describe(LINKS, shape_job='result_for = ["failed"]', shape_result_url='result_url = "result"')
    here.links(part=Kept(body=b"some of it"))
    here.shelf.result = here.shelf.put("result", Kept(body=json.dumps(here.shelf.result).encode()))
    here.shelf.state = "broken"
    async with here.receiver() as receiver:
        job = await here.run(receiver)
    assert (job.state, states(job.files)) == (JobState.FAILED, [(STORED, None)])


async def test_one_that_is_given_up_meanwhile_ends_as_its_provider_said(here: Here) -> None:
    """Without the files that did not come."""
    here.describe(LINKS, shape_job='result_for = ["failed"]', shape_result_url="")
    here.links(part=Kept(body=b"x", status=500))
    here.shelf.state = "broken"
    async with here.receiver() as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)

        async def waits() -> bool:
            return states(await receiver.files(job.id)) == [(WAITING, "status_500")]

        await until(waits)
        await receiver.running.store.abandon(job.id, now=receiver.running.clock())
        job = await receiver.wait(job.id, timeout=40)
    assert job.state is JobState.FAILED
    assert states(job.files) == [(FileState.LOST, "file_abandoned")]


async def test_beside_it_ends_at_once(here: Here) -> None:
    """The files come after it, and change nothing about how it ended."""
    here.describe(LINKS, shape_job='result_for = ["failed"]', shape_result_url="")
    here.links(part=Kept(body=b"some of it", pause=0.2))
    here.shelf.state = "broken"
    async with here.receiver() as receiver:
        job = await here.run(receiver, files="beside")
        assert job.state is JobState.FAILED

        async def here_now() -> bool:
            return states(await receiver.files(job.id)) == [(STORED, None)]

        await until(here_now)
        assert (await receiver.job(job.id)).state is JobState.FAILED
