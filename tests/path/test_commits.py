"""PostgreSQL is lost at a COMMIT, for every kind of write: nothing is lost, doubled or told wrong."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from receiver import Dead, Job, JobState, Receiver, running
from receiver.client import ApiError, AsyncClient, Client
from receiver.core.errors import StoreUnavailableError
from receiver.steps import recording
from receiver.storage.postgres import driver
from receiver.storage.records import Link
from tests.cli.programs import Program

from .cutting import Wire, wire
from .described import describe, hook, replies, signature
from .stub import Asked, Reply, Stub, stub
from .world import API_TOKEN, World, ended, until

#: How a transaction begins that may write.
WRITES = b"READ COMMITTED"


class Scene:
    """A provider, a receiver on a wire that can be cut, and whoever asks it."""

    receiver: Receiver

    def __init__(self, world: World, provider: Stub, cutting: Wire) -> None:
        self.world = world
        self.provider = provider
        self.wire = cutting
        #: The jobs that the handler was called for, and whether it fails for good.
        self.runs: list[str] = []
        self.fails = False

    @property
    def posts(self) -> list[Asked]:
        """The submissions that arrived."""
        return [one for one in self.provider.asked if one.method == "POST" and one.path == "/jobs"]

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401  (httpx's)
        """One request to the API, as curl sends it: once."""
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            headers = {"authorization": f"Bearer {API_TOKEN}"}
            return await client.request(method, self.world.url + path, headers=headers, **options)

    async def call_back(self, state: str, *, name: str | None = None) -> int:
        """What a genuine callback about the job that was submitted last is answered."""
        body = json.dumps({"id": name or f"r{len(self.posts)}", "state": state, "result": [1]}).encode()
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(hook(self.posts[-1:]), content=body, headers=signature(body))
        return answer.status_code

    def cut(self, *wanted: str, reaches: bool, stays: bool = False) -> None:
        """Cut the wire at the next write of that kind."""
        self.wire.cut_at(WRITES, *(one.encode() for one in wanted), reaches=reaches, stays=stays)

    def prepare(self, receiver: Receiver) -> None:
        """Register the handler."""

        @receiver.on("made-up", name="h", state="any", first_wait=0.1)
        async def note(job: Job) -> None:
            self.runs.append(job.id)
            if self.fails:
                raise Dead


@asynccontextmanager
async def scene(
    world: World,
    url: str,
    answer: Callable[[Asked], Reply | None] = lambda _asked: None,
    **described: Any,  # noqa: ANN401  (as describe has them)
) -> AsyncIterator[Scene]:
    """The receiver of a test, its handler, its provider and its wire; *answer* is asked first."""

    async def provide(asked: Asked) -> Reply:
        if (reply := answer(asked)) is not None:
            return reply
        if asked.method == "POST" and asked.path == "/jobs":
            return replies({"id": f"r{len(at.posts)}", "state": "running"})
        return replies({"id": asked.path.split("/")[2], "state": "running"})

    settings: dict[str, Any] = {
        "where": "body",
        "delivers": "result",
        "every": "1h",
        "cancels": True,
    } | described
    with wire(url) as cutting:
        async with stub(provide) as provider:
            at = Scene(world, provider, cutting)
            describe(world, provider, **settings)
            world.environ |= {
                "RECEIVER_DATABASE_URL": cutting.url,
                "RECEIVER_SPOOL": str(world.folder / "held"),
                "RECEIVER_LEASE": "5",
            }
            async with world.receiver(at.prepare) as at.receiver:
                yield at


@pytest.mark.parametrize("reaches", [True, False])
async def test_what_arrives_and_what_is_answered(world: World, migrated_url: str, *, reaches: bool) -> None:
    """A submission, its answer, a callback and the end of a handler: each is there once, whoever tries again."""

    def arm(asked: Asked) -> Reply | None:
        if asked.method == "POST" and len(at.posts) == 2:
            at.cut("INSERT INTO attempt", reaches=reaches)
        return None

    async with scene(world, migrated_url, arm) as at:
        order = {"provider": "made-up", "request": {}, "idempotency_key": "mine"}
        at.cut("INSERT INTO submission", reaches=reaches)
        told = await at.ask("POST", "/v1/jobs", json=order)
        assert at.wire.cut
        if not reaches:
            assert told.status_code in {202, 503}
            if told.status_code == 503:
                assert told.json()["code"] == "nothing_sent"
                told = await at.ask("POST", "/v1/jobs", json=order)
        assert told.json()["remote_id"] == "r1"
        assert len(at.posts) == 1
        # The answer of the provider to the second one.
        job = await at.receiver.submit("made-up", {})
        assert at.wire.cut
        assert (job.remote_id, len(at.posts)) == ("r2", 2)
        # Its callback.
        at.cut("INSERT INTO callback", reaches=reaches)
        assert await at.call_back("done") == 503
        assert at.wire.cut
        # The end of its handler.
        at.cut("DELETE FROM dispatch", reaches=reaches)
        assert await at.call_back("done") == 200
        await until(lambda: at.wire.cut)
        await ended(at.receiver, job)
        record = await at.receiver.running.store.record(job.id)
        assert at.runs == [job.id]
        assert [one.outcome for one in record.attempts if one.handler] == ["succeeded"]
        assert len((await at.ask("GET", "/v1/jobs")).json()["jobs"]) == 2


@pytest.mark.parametrize("reaches", [True, False])
async def test_deeds(world: World, migrated_url: str, *, reaches: bool) -> None:
    """Cancel, replay, retry, link: 2xx if it was done, 503 if it was not, and a repetition does nothing twice."""

    def lost(asked: Asked) -> Reply | None:
        return Reply(status=500) if asked.method == "POST" and len(at.posts) == 2 else None

    async with scene(world, migrated_url, lost) as at:
        job = await at.receiver.submit("made-up", {})

        async def do(*wanted: str, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401
            at.cut(*wanted, reaches=reaches)
            told = await at.ask(method, path, **options)
            assert at.wire.cut
            if reaches:
                return told
            assert (told.status_code, told.json()["code"]) == (503, "store_unavailable"), told.text
            return await at.ask(method, path, **options)

        told = await do("FROM job WHERE", job.id, method="DELETE", path=f"/v1/jobs/{job.id}")
        assert told.status_code == 202
        await until(lambda: any(one.path.endswith("/cancel") for one in at.provider.asked))
        # Only the note of how it ended is cut: it was done all the same.
        at.cut("UPDATE audit", reaches=reaches)
        told = await at.ask("DELETE", f"/v1/jobs/{job.id}")
        assert (told.status_code, at.wire.cut) == (202, True)
        assert await at.call_back("done") == 200
        await ended(at.receiver, job)
        told = await do("FROM job WHERE", job.id, method="POST", path=f"/v1/jobs/{job.id}/replay", json={})
        assert told.status_code == 202
        await ended(at.receiver, job)
        assert at.runs == [job.id] * 2
        # A job whose answer was lost, and whose name a person knows.
        unnamed = await at.receiver.submit("made-up", {})
        assert (unnamed.remote_id, unnamed.submission) == (None, "unknown")
        store = at.receiver.running.store
        named = Link(job_id=unnamed.id, provider="made-up", remote_id="r9", now=at.receiver.running.clock())
        at.cut("FROM job WHERE", "r9", reaches=reaches)
        if not reaches:
            with pytest.raises(StoreUnavailableError):
                await store.link(named)
        for _ in range(2):
            assert (await store.link(named)).remote_id == "r9"
        assert at.wire.cut
        # A handler that fails for good, tried again and then given up.
        at.fails = True
        assert await at.call_back("done", name="r9") == 200
        dead = f"/v1/dispatches/{unnamed.id}:h"
        await until(lambda: at.runs.count(unnamed.id) == 1)
        await ended(at.receiver, unnamed)
        told = await do("UPDATE dispatch SET state = CASE", method="POST", path=f"{dead}/retry")
        assert told.status_code == 202
        await until(lambda: at.runs.count(unnamed.id) == 2)
        await ended(at.receiver, unnamed)
        told = await do("DELETE FROM dispatch", method="DELETE", path=dead)
        assert told.status_code == 204
        assert at.runs.count(unnamed.id) == 2
        assert (await at.ask("GET", "/v1/dispatches")).json()["dispatches"] == []


async def test_nobody_is_told_that_nothing_was_done_while_that_is_not_known(
    world: World, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database stays away after the lost answer: a code of its own, and nothing that has a client try again."""
    monkeypatch.setattr(driver, "_LOOKS", (0.0, 0.1))
    async with scene(world, migrated_url) as at:
        job = await at.receiver.submit("made-up", {})
        assert await at.call_back("done") == 200
        await ended(at.receiver, job)
        at.wire.cut_at(WRITES, b"FROM job WHERE", job.id.encode(), reaches=True, stays=True)
        told = await at.ask("POST", f"/v1/jobs/{job.id}/replay", json={})
        assert (told.status_code, told.json()["code"]) == (500, "commit_unknown")
        assert "retry-after" not in told.headers
        at.wire.away = False
        await ended(at.receiver, job)
        await until(lambda: at.runs == [job.id] * 2)


@pytest.mark.parametrize(("step", "reaches"), [("poll", False), ("fetch", True)])
async def test_a_look(world: World, migrated_url: str, step: str, *, reaches: bool) -> None:
    """What a poll or a fetch found and the database did not take is found again, once its lease has lapsed."""

    def look(asked: Asked) -> Reply | None:
        if asked.method == "POST":
            return None
        if asked.path == ("/jobs/r1" if step == "poll" else "/big/r1"):
            at.cut("INSERT INTO attempt", reaches=reaches) if not at.wire.cut else None
        if asked.path == "/big/r1":
            return Reply(body=b"[1]")
        found = {"result": [1]} if step == "poll" else {"result_url": f"{at.provider.url}/big/r1"}
        return replies({"id": "r1", "state": "done", **found})

    async with scene(world, migrated_url, look, where=None, every="1s") as at:
        job = await ended(at.receiver, await at.receiver.submit("made-up", {}))
        assert at.wire.cut
        assert (job.state, at.runs) == (JobState.SUCCEEDED, [job.id])
        assert await at.receiver.running.store.result(job) == b"[1]"


@pytest.mark.parametrize(
    ("write", "reaches"),
    [
        ("UPDATE due SET spent_url", True),
        ("UPDATE due SET spent_url", False),
        ("INSERT INTO result_chunk", True),
        ("INSERT INTO attempt", False),
    ],
)
async def test_a_result_that_can_be_asked_for_once(
    world: World, migrated_url: str, write: str, *, reaches: bool
) -> None:
    """Whichever of its three commits is cut: it is asked for once, and it is here in the end."""

    def look(asked: Asked) -> Reply | None:
        if asked.method == "POST":
            return None
        if asked.path == "/jobs/r1":
            at.cut(write, reaches=reaches) if write.startswith("UPDATE") and not at.wire.cut else None
            return replies({"id": "r1", "state": "done", "result_url": f"{at.provider.url}/once/r1"})
        if not write.startswith("UPDATE"):
            at.cut(write, reaches=reaches)
        return Reply(body=b"[1]")

    async with scene(world, migrated_url, look, where=None, every="1s", fetch="single_use = true") as at:
        job = await ended(at.receiver, await at.receiver.submit("made-up", {}))
        assert at.wire.cut
        assert (job.state, at.runs) == (JobState.SUCCEEDED, [job.id])
        assert await at.receiver.running.store.result(job) == b"[1]"
        assert [one.path for one in at.provider.asked].count("/once/r1") == 1


@pytest.mark.parametrize("reaches", [True, False])
async def test_a_submission_that_is_tried_again(world: World, migrated_url: str, *, reaches: bool) -> None:
    """It was put off, and the claim that is to send it is cut: it is sent all the same, once, without a key."""

    def busy(asked: Asked) -> Reply | None:
        if asked.method == "POST" and len(at.posts) == 1:
            at.cut("lane = ", "UPDATE due SET owner", reaches=reaches)
            return Reply(status=429, headers={"retry-after": "1"})
        return None

    async with scene(world, migrated_url, busy) as at:
        job = await at.receiver.submit("made-up", {})
        assert (job.state, job.remote_id) == (JobState.SUBMITTING, None)

        async def named() -> bool:
            return (await at.receiver.job(job.id)).remote_id == "r2"

        await until(named)
        assert at.wire.cut
        assert len(at.posts) == 2


@pytest.mark.parametrize("reaches", [True, False])
@pytest.mark.parametrize("caller", ["client", "asynchronous client", "command"])
async def test_whoever_submits_tries_again_by_itself(
    world: World, migrated_url: str, caller: str, *, reaches: bool
) -> None:
    """The commit of the record is cut: with its own key the caller has one job, submitted once."""
    async with scene(world, migrated_url) as at:
        at.cut("INSERT INTO submission", reaches=reaches)
        if caller == "client":
            with Client(world.url, token=API_TOKEN) as client:
                name = (await asyncio.to_thread(client.submit, "made-up", {})).remote_id
        elif caller == "asynchronous client":
            async with AsyncClient(world.url, token=API_TOKEN) as client:
                name = (await client.submit("made-up", {})).remote_id
        else:
            program = Program(folder=world.folder, settings=world.environ)
            name = (await asyncio.to_thread(program.json, "submit", "made-up", "-", given="{}"))["remote_id"]
        assert at.wire.cut
        assert (name, len(at.posts)) == ("r1", 1)
        assert len((await at.ask("GET", "/v1/jobs")).json()["jobs"]) == 1


async def test_a_caller_is_told_not_to_try_again_by_itself(
    world: World, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be recorded and nobody can look: the caller hears the job's id, and the job is sent later, once."""
    monkeypatch.setattr(recording, "_LOOKS", (0.1, 0.1))
    async with scene(world, migrated_url) as at, AsyncClient(world.url, token=API_TOKEN) as client:
        at.cut("INSERT INTO submission", reaches=True, stays=True)
        with pytest.raises(ApiError) as told:
            await client.submit("made-up", {})
        assert (told.value.code, told.value.answered, len(at.posts)) == ("outcome_unknown", 500, 0)
        at.wire.away = False

        async def sent() -> bool:
            found = await at.ask("GET", f"/v1/jobs/{told.value.document['id']}")
            return found.status_code == 200 and found.json()["remote_id"] == "r1"

        await until(sent)
        assert len(at.posts) == 1


@pytest.mark.parametrize("reaches", [True, False])
async def test_an_order_outlives_the_process_that_was_told_to_send_it_later(
    world: World, migrated_url: str, monkeypatch: pytest.MonkeyPatch, *, reaches: bool
) -> None:
    """The process stops before the database is back: recorded or not, it is sent by the next one, once."""
    monkeypatch.setattr(recording, "_LOOKS", (0.1,))
    monkeypatch.setattr(running, "PATIENCE", 0.1)
    async with scene(world, migrated_url) as at:
        at.cut("INSERT INTO submission", reaches=reaches, stays=True)
        told = await at.ask("POST", "/v1/jobs", json={"provider": "made-up", "request": {"a": 1}})
        assert (told.status_code, told.json()["code"]) == (500, "outcome_unknown")
        await at.receiver.stop()
        held = world.folder / "held"
        assert [one.name for one in held.iterdir()] == [f"{told.json()['id']}.order"]
        at.wire.away = False
        await at.receiver.start()
        assert list(held.iterdir()) == []
        job_id = told.json()["id"]

        async def sent() -> bool:
            return (await at.receiver.job(job_id)).remote_id == "r1"

        await until(sent)
        assert [json.loads(one.body)["a"] for one in at.posts] == [1]
        assert len((await at.ask("GET", "/v1/jobs")).json()["jobs"]) == 1
