"""Jobs at account-wide addresses whose submit answer was lost: recognised by a mark, or linked by a person."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from receiver import Job, JobState, Receiver
from receiver.storage.queries import Page
from tests.cli.programs import Program

from .described import describe, replies, signature
from .stub import Asked, Reply, stub
from .test_nodes import node
from .world import World, ended, until

NAME = "made-up"
#: Where the provider takes and repeats what callers want to find again.
MARK = 'mark = "metadata.receiver_job"'
REPEATS = 'mark = ["metadata.receiver_job"]'


class Made:
    """A provider that takes a job and loses its answer."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}

    async def __call__(self, asked: Asked) -> Reply:
        """Take a submission without a word, or say that the job is done."""
        if asked.method == "POST":
            self.metadata = json.loads(asked.body).get("metadata", {})
            raise ConnectionResetError
        return replies({"id": "r1", "state": "done", "result": {"a": 1}, "metadata": self.metadata})


async def tell(world: World, document: dict[str, Any]) -> None:
    """Send an event to the account's address."""
    body = json.dumps(document).encode()
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        url = f"{world.url}/webhooks/{NAME}"
        assert (await client.post(url, content=body, headers=signature(body))).status_code == 200


def collecting(seen: list[Job]) -> Any:  # noqa: ANN401
    """Have every end put into *seen*."""
    return lambda receiver: receiver.on(NAME, state="any", name="see")(seen.append)


@pytest.fixture(params=[1, 2], ids=["one node", "two nodes"])
def nodes(request: pytest.FixtureRequest, world: World) -> int:
    """How many nodes there are: one on SQLite, or two on PostgreSQL."""
    if request.param == 2:
        world.environ["RECEIVER_DATABASE_URL"] = request.getfixturevalue("migrated_url")
    return int(request.param)


@asynccontextmanager
async def submitting(world: World, nodes: int, seen: list[Job]) -> AsyncIterator[Receiver]:
    """The receiver that submits; where there are two, it is the other one that hears events."""
    if nodes == 1:
        async with world.receiver(collecting(seen)) as receiver:
            yield receiver
        return
    async with node(world, collecting(seen), port=world.port), node(world, collecting(seen)) as receiver:
        yield receiver


async def all_jobs(receiver: Receiver) -> list[Job]:
    """Every job there is."""
    return await receiver.running.store.jobs(Page())


@pytest.mark.parametrize("where", ["the event", "the answer"])
async def test_a_job_is_recognised_by_what_the_provider_repeats(world: World, nodes: int, where: str) -> None:
    """No second job, and its handler is called once, with the caller's metadata, beside which the mark has room."""
    seen: list[Job] = []
    made = Made()
    async with stub(made) as provider:
        event = REPEATS if where == "the event" else ""
        answer = REPEATS if where == "the answer" else ""
        words = 'status = "state"\nstates = { done = "succeeded" }'
        describe(
            world, provider, where="registered", submit=MARK, event=f"{words}\n{event}", shape_job=answer
        )
        async with submitting(world, nodes, seen) as receiver:
            job = await receiver.submit(NAME, {"metadata": {"mine": "x"}}, metadata={"order": 7})
            assert job.submission == "unknown"
            assert made.metadata == {"mine": "x", "receiver_job": job.id}
            await tell(world, {"id": "r1", "state": "done", "metadata": made.metadata})
            done = await ended(receiver, job)
            assert (done.state, done.remote_id) == (JobState.SUCCEEDED, "r1")
            await until(lambda: len(seen) == 1)
            assert [(one.id, one.metadata, one.result and one.result.json()) for one in seen] == [
                (job.id, {"order": 7}, {"a": 1})
            ]
            assert [one.id for one in await all_jobs(receiver)] == [job.id]


async def test_a_person_links_what_nobody_could_recognise(world: World, nodes: int) -> None:
    """The doctor shows both and says how; linked, the result is the caller's, and is handled no second time."""
    seen: list[Job] = []
    world.cadence(expected="10m")  # which the doctor finds no fault with
    async with stub(Made()) as provider:
        describe(world, provider, where="registered")
        async with submitting(world, nodes, seen) as receiver:
            job = await receiver.submit(NAME, {}, metadata={"order": 7})
            await tell(world, {"id": "r1", "state": "done"})
            await until(lambda: len(seen) == 1)
            other = seen[0].id
            assert other != job.id
            program = Program(folder=world.folder, settings=world.environ)
            checks = (await asyncio.to_thread(program.run, "doctor", "--json")).json["checks"]
            (told,) = [one for one in checks if one["name"] == "jobs without a name"]
            assert f"nobody here submitted r1 ({other}, succeeded)" in told["text"]
            assert told["next"].endswith(f"receiver jobs link {job.id} r1")
            for _ in range(2):  # said again, it is no conflict
                linked = await asyncio.to_thread(program.json, *told["next"].split()[-4:])
                assert (linked["id"], linked["remote_id"], linked["state"]) == (job.id, "r1", "succeeded")
            done = await ended(receiver, job)
            assert (done.state, done.metadata) == (JobState.SUCCEEDED, {"order": 7})
            assert (await receiver.job(other)).id == job.id
            assert [one.id for one in await all_jobs(receiver)] == [job.id]
            assert len(seen) == 1


async def test_a_repeated_submission_makes_no_second_job(world: World, nodes: int) -> None:
    """The first answer was lost and the event made a job; the repetition, by its key, is answered with the same id."""
    seen: list[Job] = []
    lost = [True]

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST" and lost:
            lost.clear()
            raise ConnectionResetError
        if asked.method == "POST":
            return replies({"id": "r1", "state": "queued"})
        return replies({"id": "r1", "state": "done", "result": {"a": 1}})

    async with stub(answer) as provider:
        describe(world, provider, where="registered", idempotent=True)
        async with submitting(world, nodes, seen) as receiver:
            job = await receiver.submit(NAME, {}, metadata={"order": 7})
            await tell(world, {"id": "r1", "state": "done"})
            done = await ended(receiver, job)
            assert (done.state, done.remote_id) == (JobState.SUCCEEDED, "r1")
            await until(lambda: len(seen) == 1)
            assert [one.id for one in await all_jobs(receiver)] == [job.id]
