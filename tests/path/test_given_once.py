"""What a provider gives once: it is asked for once and is here in the end, whoever is away when it comes."""

import asyncio
import hashlib
import json
import signal
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace

from receiver import JobState, Receiver
from receiver.core.job.looking import Lost, Unanswered
from receiver.storage import looks
from receiver.storage.nodes import may_come_back

from .cutting import Wire, wire
from .described import describe, replies
from .stub import Asked, Reply, Stub, stub
from .test_nodes import node
from .test_stopping_midway import QUIET, end, job_of, submit
from .test_submission_outcomes import locked
from .world import World, until

WHOLE = bytes(range(256)) * 8 * 1024
PAGES = {"/rows": ([1, 2], "/rows/2"), "/rows/2": ([3], "/rows/3"), "/rows/3": ([4, 5], None)}
ROWS = '[shapes.rows]\nresult = "."\nitems = "rows"\nnext = "next"'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("page", PAGES)
async def test_a_page_that_is_given_once_outlives_its_process(
    world: World, number: signal.Signals, page: str
) -> None:
    """The database cannot take it, and the process ends: the next one stores it and goes on; each is asked for once."""
    spool = Path(f"{world.folder}/receiver.db-spool")

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            return replies({"id": "r1", "state": "running"})
        if asked.path == "/jobs/r1":
            return replies({"id": "r1", "state": "done", "result_url": f"{provider.url}/rows"})
        if asked.path == page:
            came.append(page)
            await until(lambda: bool(shut))
        rows, following = PAGES[asked.path]
        return replies({"rows": rows} if following is None else {"rows": rows, "next": following})

    came: list[str] = []
    shut: list[bool] = []
    async with stub(answer) as provider:
        describe(world, provider, every="1s", fetch='single_use = true\nanswer = "rows"', shape_job=ROWS)
        async with world.process(QUIET) as process:
            job_id = await submit(process)
            await until(lambda: bool(came))
            with locked(world):
                shut.append(True)
                await until(lambda: spool.exists() and bool(list(spool.glob("*.result"))))
                assert await end(process, number) == (0 if number is signal.SIGTERM else -number)
            await process.start()

            async def over() -> bool:
                return (await job_of(process))["state"] == JobState.SUCCEEDED

            await until(over)
            found = (await process.request("GET", f"/v1/jobs/{job_id}/result")).content
            assert json.loads(found)["rows"] == [1, 2, 3, 4, 5]
            await until(lambda: list(spool.iterdir()) == [])
            assert sorted(one.path for one in provider.asked if one.path.startswith("/rows")) == list(PAGES)


def given(asked: Asked, url: str, *, pause: float) -> Reply:
    """What the provider at *url* answers: a job that is done, and all of its result, *pause* seconds between pieces."""
    if asked.method == "POST":
        return replies({"id": "r1", "state": "running"})
    if asked.path == "/jobs/r1":
        return replies({"id": "r1", "state": "done", "result_url": f"{url}/once/r1"})
    return Reply(body=WHOLE, pause=pause)


class Apart:
    """Two nodes on one PostgreSQL, with a spool each; what one of them gets cannot be stored: its wire is cut."""

    def __init__(self, world: World, url: str, carrying: Wire, provider: Stub) -> None:
        self.world = world
        self.url = url
        self.wire = carrying
        self.provider = provider

    def node(self, name: str) -> AbstractAsyncContextManager[Receiver]:
        """The node of that name."""
        return node(
            self.world,
            RECEIVER_DATABASE_URL=self.wire.url if name == "far" else self.url,
            RECEIVER_SPOOL=f"{self.world.folder}/{name}",
            RECEIVER_LEASE="5",
        )

    def asked(self) -> int:
        """How often the result was asked for."""
        return [one.path for one in self.provider.asked].count("/once/r1")

    def begun(self) -> bool:
        """Whether some of the result is stored, and not all."""
        with psycopg.connect(self.url) as database:
            return bool(database.execute("SELECT 1 FROM result_chunk WHERE length(data) > 1000").fetchall())

    async def left_alone(self, near: Receiver, job_id: str) -> None:
        """Wait until the other node has come upon the job and left it."""

        async def seen() -> bool:
            record = await near.running.store.record(job_id)
            assert not record.job.state.ended, record.attempts
            return looks.ELSEWHERE in {one.code for one in record.attempts}

        await until(seen)

    async def over(self, near: Receiver, job_id: str) -> bool:
        """Whether the job has succeeded; it has not ended in any other way."""
        job = await near.job(job_id)
        assert job.state in {JobState.FETCHING, JobState.SUCCEEDED}, job.error
        return job.state is JobState.SUCCEEDED

    async def check(self, near: Receiver, job_id: str) -> None:
        """The result is whole, and was asked for once."""
        found = await near.running.store.result(await near.job(job_id))
        assert hashlib.sha256(found).digest() == hashlib.sha256(WHOLE).digest()
        assert self.asked() == 1


@pytest.mark.parametrize("restarts", [False, True], ids=["away", "restarted"])
async def test_what_another_node_holds_is_left_to_it(
    world: World, migrated_url: str, *, restarts: bool
) -> None:
    """The node that got it loses the database in the middle of it, or ends, too: no other node gives the job up."""

    async def answer(asked: Asked) -> Reply:
        return given(asked, provider.url, pause=0.2)

    async with AsyncExitStack() as nodes:
        carrying = nodes.enter_context(wire(migrated_url))
        provider = await nodes.enter_async_context(stub(answer))
        at = Apart(world, migrated_url, carrying, provider)
        describe(world, provider, every="1s", fetch="single_use = true")
        far = await nodes.enter_async_context(AsyncExitStack())
        job = await (await far.enter_async_context(at.node("far"))).submit("made-up", {})
        await until(at.begun)
        carrying.cut_at(b"INSERT INTO result_chunk", reaches=False, stays=True)
        spool = world.folder / "far"
        await until(lambda: bool(list(spool.glob("*.result"))))
        assert carrying.cut
        if restarts:
            await far.aclose()
        near = await nodes.enter_async_context(at.node("near"))
        await at.left_alone(near, job.id)
        carrying.away = False
        if restarts:
            await far.enter_async_context(at.node("far"))
        await until(lambda: at.over(near, job.id))
        await at.check(near, job.id)
        await until(lambda: list(spool.iterdir()) == [])


async def test_what_a_node_held_that_has_left_is_lost(world: World, migrated_url: str) -> None:
    """A node that left in order, or was forgotten after a day, is waited for no longer; nor is one for itself."""
    world.environ["RECEIVER_DATABASE_URL"] = migrated_url

    async def answer(asked: Asked) -> Reply:
        return replies({"id": "r1", "state": "running" if asked.method == "POST" else "queued"})

    async with stub(answer) as provider:
        describe(world, provider, every="1h")
        async with node(world) as one:
            store, name = one.running.store, one.running.node.name
            job = await one.submit("made-up", {})
            (due,) = (await store.record(job.id)).due
            for holder, owner, found in [
                (name, "another", Unanswered(code=looks.ELSEWHERE)),
                (name, name, Lost()),
                ("one that left", "another", Lost()),
                (None, "another", Lost()),
            ]:
                row = replace(due, spent_by=holder, owner=owner)
                assert await store.read(looks.lost, row) == found


async def test_a_process_that_died_while_it_asked_left_nothing(world: World, migrated_url: str) -> None:
    """Several nodes may serve the database, and the one that asked is killed: started again it knows: it is lost."""
    world.environ["RECEIVER_DATABASE_URL"] = migrated_url
    world.environ["RECEIVER_SPOOL"] = str(world.folder / "held")
    world.environ["RECEIVER_LEASE"] = "5"

    async def answer(asked: Asked) -> Reply:
        return given(asked, provider.url, pause=1)

    async with stub(answer) as provider:
        describe(world, provider, every="1s", fetch="single_use = true")
        async with world.process(QUIET) as process:
            await submit(process)
            await until(lambda: any(one.path == "/once/r1" for one in provider.asked))
            await end(process, signal.SIGKILL)
            await process.start()

            async def over() -> bool:
                return (await job_of(process))["state"] == JobState.EXPIRED

            await until(over)
            error = (await job_of(process))["error"]
            assert isinstance(error, dict)
            assert error["code"] == "result_lost"
            assert [one.path for one in provider.asked].count("/once/r1") == 1
            await until(lambda: list((world.folder / "held").iterdir()) == [])


@pytest.mark.parametrize("way", ["broke off", "killed"])
async def test_what_its_own_node_knows_to_be_lost_is_not_waited_for(
    world: World, migrated_url: str, way: str
) -> None:
    """The answer broke off, or its process was killed and is started again: other nodes end the job, and ask nobody."""
    world.environ |= {"RECEIVER_DATABASE_URL": migrated_url, "RECEIVER_LEASE": "5"}
    broken = asyncio.Event()

    async def answer(asked: Asked) -> Reply:
        if asked.path == "/once/r1":
            await broken.wait()
            raise ConnectionResetError
        return given(asked, provider.url, pause=0)

    def asked() -> int:
        return [one.path for one in provider.asked].count("/once/r1")

    async with AsyncExitStack() as nodes:
        provider = await nodes.enter_async_context(stub(answer))
        nodes.callback(broken.set)
        describe(world, provider, every="1s", fetch="single_use = true")
        spool = str(world.folder / "near")
        if way == "killed":
            world.environ["RECEIVER_SPOOL"] = str(world.folder / "far")
            process = await nodes.enter_async_context(world.process(QUIET))
            job_id = await submit(process)
            await until(lambda: asked() == 1)
            await end(process, signal.SIGKILL)
            near = await nodes.enter_async_context(node(world, RECEIVER_SPOOL=spool))

            async def left() -> bool:
                codes = {one.code for one in (await near.running.store.record(job_id)).attempts}
                return looks.ELSEWHERE in codes

            await until(left)
            assert not (await near.job(job_id)).state.ended
            await process.start()
        else:
            far = await nodes.enter_async_context(node(world))
            job_id = (await far.submit("made-up", {})).id
            await until(lambda: asked() == 1)
            assert far.running.worker is not None
            # It settles what it is at and takes nothing more; as a node it stays, and may come back.
            draining = asyncio.create_task(far.running.worker.drain(patience=30))
            await asyncio.sleep(0)
            broken.set()
            await draining
            near = await nodes.enter_async_context(node(world, RECEIVER_SPOOL=spool))
            assert await near.running.store.read(may_come_back, far.running.node.name)

        async def over() -> bool:
            return (await near.job(job_id)).state.ended

        await until(over)
        job = await near.job(job_id)
        assert (job.state, job.error and job.error.code) == (JobState.EXPIRED, "result_lost")
        assert asked() == 1
        record = await near.running.store.record(job_id)
        assert (looks.ELSEWHERE in {one.code for one in record.attempts}) is (way == "killed")
