"""A job whose files are being fetched turns out to be the caller's: the files are that one's, and it ends once."""

import pytest

from receiver.core.file import Download, File, FileState
from receiver.core.handler import HandlerSpec
from receiver.core.model import HOUR, MINUTE, JobState, Step
from receiver.storage import downloads, files
from receiver.storage.downloads import DownloadClaim, DownloadSettled
from receiver.storage.files import Gathered
from receiver.storage.settlements import timeline
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk
from tests.storage.test_united import adopted, link, orphan


@pytest.mark.parametrize("when", ["gathering", "downloading"])
async def test_files_are_the_callers(desk: Desk, when: str) -> None:
    """Whether its result has been read for links or not: what was found, and what is still to be done, moves along."""
    await desk.register(HandlerSpec(name="h"))
    one = await orphan(desk)
    other = await adopted(desk, {"status": "working"})
    with desk.store.driver.write() as tx:
        tx.run("UPDATE job SET files_when = 'before' WHERE id = :id", {"id": other.id})
    await desk.call_wide(DONE | {"id": "r1"}, at=NOW + 2 * MINUTE)
    assert (await desk.store.job(other.id)).state is JobState.FETCHING
    if when == "downloading":
        await gather(desk, at=NOW + 3 * MINUTE)
    after = await desk.store.link(link(one))
    assert (after.id, after.state, after.held is not None) == (one.id, JobState.FETCHING, True)
    if when == "gathering":
        await gather(desk, at=NOW + HOUR)
    (found,) = await desk.store.read(files.of_job, one.id)
    assert found.state is FileState.WAITING
    claim = DownloadClaim(owner="n", limit=5, each=5, busy={}, closed=(), lease_ms=LEASE, now=NOW + 2 * HOUR)
    (fetching,) = await desk.store.write(downloads.claim, claim)
    assert fetching.job.id == one.id
    stored = File(number=1, name="", state=FileState.STORED, size=1, sha256="0" * 64, stored_at=NOW)
    move = await desk.store.write(
        downloads.settle,
        DownloadSettled(
            download=fetching.download,
            file=stored,
            log=timeline(one.id, step="file", started_at=NOW, now=NOW, outcome="stored"),
            now=NOW + 2 * HOUR,
        ),
    )
    assert move is not None
    assert (move.completed, move.job.state) == (True, JobState.SUCCEEDED)
    ((dispatch, job),) = await desk.work("h", at=NOW + 2 * HOUR)
    assert (dispatch.job_id, job.metadata) == (one.id, {"order": 7})
    assert desk.count("job") == desk.count("file") == 1
    assert desk.count("download") == 0


async def gather(desk: Desk, *, at: int) -> None:
    """Read the result of whichever job is due, and find one link."""
    claimed = [one for one in await desk.claim(at=at, provider="wide") if one.due.step is Step.FILES]
    (one,) = claimed
    download = Download(
        job_id=one.job.id,
        number=1,
        provider="wide",
        url="https://x.example/a",
        origin="https://x.example",
        largest=9,
        run_at=at,
        expires_at=at + 9 * HOUR,
    )
    await desk.store.write(
        files.gather,
        Gathered(
            due=one.due,
            files=(File(number=1, name="a"),),
            downloads=(download,),
            log=timeline(one.job.id, step="files", started_at=at, now=at, outcome="found"),
            now=at,
        ),
    )
