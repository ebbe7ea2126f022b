"""PostgreSQL is lost at a COMMIT of what a person asks for: it is done once, and nobody is told otherwise."""

import asyncio
from typing import Any

import pytest

from receiver import JobState
from receiver.core.errors import CommitUnknownError
from receiver.core.model import DAY, HOUR
from receiver.storage.retention import Prune
from receiver.storage.store import Store
from tests.cli.programs import Finished, Program
from tests.core.making import NOW
from tests.storage.making import DONE, Desk

from .cutting import wire
from .described import replies
from .stub import Asked, Reply
from .test_commits import WRITES, Scene, scene
from .world import World, ended, until


async def command(at: Scene, *arguments: str) -> Finished:
    """Run a command beside the receiver, on the same wire."""
    program = Program(folder=at.world.folder, settings=at.world.environ)
    return await asyncio.to_thread(program.run, *arguments, "--json")


@pytest.mark.parametrize("reaches", [True, False])
async def test_a_submission_of_unknown_outcome(world: World, migrated_url: str, *, reaches: bool) -> None:
    """Sent again and given up by hand: what the command says is what was done, and it is sent once more, not twice."""

    def lost(asked: Asked) -> Reply | None:
        return Reply(status=500) if asked.method == "POST" and len(at.posts) < 3 else None

    async with scene(world, migrated_url, lost) as at:
        sent, dropped = [await at.receiver.submit("made-up", {}) for _ in range(2)]
        assert (sent.submission, dropped.submission) == ("unknown", "unknown")

        async def do(action: str, job_id: str) -> Any:  # noqa: ANN401  (JSON)
            at.cut("FROM job WHERE", job_id, reaches=reaches)
            told = await command(at, "jobs", action, job_id)
            assert at.wire.cut
            if not reaches:
                assert (told.code, told.problem["code"]) == (1, "store_unavailable")
                told = await command(at, "jobs", action, job_id)
            assert told.code == 0, told.err
            return told.json

        assert (await do("abandon", dropped.id))["state"] == "timed_out"
        await ended(at.receiver, dropped)
        await do("resubmit", sent.id)

        async def named() -> bool:
            return (await at.receiver.job(sent.id)).remote_id == "r3"

        await until(named)
        assert len(at.posts) == 3
        assert at.runs == [dropped.id]


@pytest.mark.parametrize("reaches", [True, False])
async def test_a_callback_that_is_replayed(world: World, migrated_url: str, *, reaches: bool) -> None:
    """Handlers are called once more for it, however often its caller has to ask."""
    async with scene(world, migrated_url) as at:
        job = await at.receiver.submit("made-up", {})
        assert await at.call_back("done") == 200
        await ended(at.receiver, job)
        (callback,) = (await at.ask("GET", "/v1/callbacks")).json()["callbacks"]
        path = f"/v1/callbacks/{callback['id']}/replay"
        at.cut("FROM job WHERE", job.id, reaches=reaches)
        told = await at.ask("POST", path, json={})
        assert at.wire.cut
        if not reaches:
            assert (told.status_code, told.json()["code"]) == (503, "store_unavailable")
            told = await at.ask("POST", path, json={})
        assert (told.status_code, told.json()["handlers"]) == (202, ["h"])
        await ended(at.receiver, job)
        assert at.runs == [job.id] * 2


@pytest.mark.parametrize("reaches", [True, False])
async def test_the_answer_to_a_cancellation(world: World, migrated_url: str, *, reaches: bool) -> None:
    """The provider has stopped the job: it is canceled here too, and its handler is called once."""

    def stop(asked: Asked) -> Reply | None:
        if asked.method == "POST" and not asked.path.endswith("/cancel"):
            return None
        if asked.path.endswith("/cancel") and not at.wire.cut:
            at.cut("INSERT INTO attempt", reaches=reaches)
        return replies({"id": "r1", "state": "stopped"})

    async with scene(world, migrated_url, stop) as at:
        job = await at.receiver.submit("made-up", {})
        assert (await at.ask("DELETE", f"/v1/jobs/{job.id}")).status_code == 202
        job = await ended(at.receiver, job)
        assert at.wire.cut
        assert (job.state, at.runs) == (JobState.CANCELED, [job.id])
        asked = sum(one.path.endswith("/cancel") for one in at.provider.asked)
        assert asked == (1 if reaches else 2)


@pytest.mark.parametrize("reaches", [True, False])
async def test_a_prune(migrated_url: str, *, reaches: bool) -> None:
    """Nobody is told that it was done, or was not; the next one finds what is left, and no row stays."""
    with wire(migrated_url) as cutting:
        store = await Store.open(cutting.url, serve=True)
        try:
            desk = Desk(store)
            one = await desk.submitted(created_at=NOW - 30 * DAY)
            await desk.call(one, DONE, at=NOW - 30 * DAY + HOUR)
            cutting.cut_at(WRITES, b"DELETE FROM job", reaches=reaches)
            item = Prune(before=NOW - DAY, now=NOW)
            with pytest.raises(CommitUnknownError):
                await store.prune(item)
            assert cutting.cut
            assert (await store.prune(item)).jobs == (0 if reaches else 1)
            left = "SELECT job_id FROM callback UNION SELECT job_id FROM attempt UNION SELECT job_id FROM submission"
            assert desk.rows(left) == []
        finally:
            await store.close()
