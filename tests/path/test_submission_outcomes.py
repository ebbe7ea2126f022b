"""What a caller is told of a submission while the database is away: nothing was sent, sent, or not known yet."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

import httpx
import msgspec
import psycopg
import pytest
import structlog

from receiver import Job, NothingSentError, OutcomeUnknownError, Receiver, Settings
from receiver.core.errors import StoreUnavailableError
from receiver.core.identity import JOB, new_id
from receiver.steps import answer
from receiver.storage.records import Link
from receiver.storage.settlements import SubmitSettled
from receiver.storage.spool import answers
from tests.postgres import PostgresServer

from .described import describe, replies
from .stub import Asked, Reply, stub
from .world import API_TOKEN, REQUESTS, World, until

QUIET = """
from receiver import Receiver
receiver = Receiver()
"""


def posts(world: World, provider: str) -> int:
    """How many submissions the provider was sent."""
    return sum(one.method == "POST" for one in world.simulator.requests(provider))


@contextmanager
def locked(world: World) -> Iterator[sqlite3.Connection]:
    """The SQLite file, locked by somebody else."""
    with closing(sqlite3.connect(world.folder / "receiver.db", isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        if other.in_transaction:
            other.execute("ROLLBACK")


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a caller told sooner that its answer is held."""
    monkeypatch.setattr(answer, "_PATIENCE", 1.0)


async def known(receiver: Receiver, job_id: str) -> Job:
    """The job, once its id at the provider is known."""

    async def named() -> bool:
        try:
            return (await receiver.job(job_id)).remote_id is not None
        except StoreUnavailableError:
            return False

    await until(named, pause=0.1)
    return await receiver.job(job_id)


async def test_what_could_not_be_recorded_was_not_sent(world: World) -> None:
    """503 with Retry-After and a code of its own; the provider has heard nothing, and a repetition is one job."""
    async with world.receiver() as receiver, httpx.AsyncClient(trust_env=False, timeout=30) as client:
        with locked(world):
            with pytest.raises(NothingSentError):
                await receiver.submit("netnut", REQUESTS["netnut"])
            refused = await client.post(
                f"{world.url}/v1/jobs",
                json={"provider": "netnut", "request": REQUESTS["netnut"]},
                headers={"authorization": f"Bearer {API_TOKEN}"},
            )
        assert (refused.status_code, refused.json()["code"]) == (503, "nothing_sent")
        assert "retry-after" in refused.headers
        assert posts(world, "netnut") == 0
        job = await receiver.submit("netnut", REQUESTS["netnut"])
        assert job.remote_id is not None
        assert posts(world, "netnut") == 1


async def test_an_answer_is_held_until_the_database_can_take_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller hears the job's id and not to repeat it; then the answer is stored, and none is lost."""
    impatient(monkeypatch)
    world.simulator.faults("perplexity", {"name": "submit_slow", "seconds": 1})
    async with world.receiver() as receiver, httpx.AsyncClient(trust_env=False, timeout=30) as client:
        sending = asyncio.create_task(
            client.post(
                f"{world.url}/v1/jobs",
                json={"provider": "perplexity", "request": REQUESTS["perplexity"]},
                headers={"authorization": f"Bearer {API_TOKEN}"},
            )
        )
        await until(lambda: posts(world, "perplexity") == 1)
        with locked(world):
            told = await sending
            problem = told.json()
            assert (told.status_code, problem["code"]) == (500, "outcome_unknown")
            assert "retry-after" not in told.headers
            assert problem["id"] in problem["detail"]
            assert "Do not send the job again" in problem["detail"]
            folder = receiver.settings.spool_folder
            assert [one.name for one in folder.iterdir()] == [f"{problem['id']}.answer"]
            assert [oct(one.stat().st_mode & 0o777) for one in (folder, *folder.iterdir())] == [
                "0o700",
                "0o600",
            ]
        job = await known(receiver, problem["id"])
        assert (job.remote_id, posts(world, "perplexity")) == (world.simulator.jobs("perplexity")[0].id, 1)
        await until(lambda: list(folder.iterdir()) == [])


@pytest.mark.parametrize("provider", ["netnut", "perplexity"])
async def test_an_answer_survives_its_process(world: World, provider: str) -> None:
    """Killed while it is held: the next process stores it before anything is sent again, idempotency key or not."""
    world.simulator.faults(provider, {"name": "submit_slow", "seconds": 1})
    spool = Path(f"{world.folder}/receiver.db-spool")
    async with world.process(QUIET) as process:
        order = {"provider": provider, "request": REQUESTS[provider]}
        sending = asyncio.create_task(process.request("POST", "/v1/jobs", json=order))
        await until(lambda: posts(world, provider) == 1)
        with locked(world):
            await until(lambda: spool.exists() and bool(list(spool.glob("*.answer"))))
            process.kill()
            await asyncio.wait({sending})
            sending.exception()
        await process.start()
        (job,) = (await process.request("GET", "/v1/jobs")).json()["jobs"]
        assert job["remote_id"] == world.simulator.jobs(provider)[0].id
        await until(lambda: list(spool.iterdir()) == [])
        assert posts(world, provider) == 1


async def test_an_answer_that_waits_for_postgresql_is_stored_when_it_is_back(
    world: World, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three accepted jobs, and the server away when their answers come: none loses its id at the provider."""
    impatient(monkeypatch)
    url = postgres_server.create()
    world.environ |= {"RECEIVER_DATABASE_URL": url, "RECEIVER_SPOOL": str(world.folder / "held")}
    for _ in range(3):  # a fault is one submission's
        world.simulator.faults("perplexity", {"name": "submit_slow", "seconds": 2})
    async with world.receiver() as receiver:
        sending = [
            asyncio.create_task(receiver.submit("perplexity", REQUESTS["perplexity"])) for _ in range(3)
        ]
        await until(lambda: posts(world, "perplexity") == 3)
        await asyncio.to_thread(postgres_server.stop)
        told = await asyncio.gather(*sending, return_exceptions=True)
        ids = [one.job_id for one in told if isinstance(one, OutcomeUnknownError)]
        assert len(ids) == 3, told
        assert len(list((world.folder / "held").iterdir())) == 3
        await asyncio.to_thread(postgres_server.start)
        jobs = [await known(receiver, job_id) for job_id in ids]
        assert {job.remote_id for job in jobs} == {one.id for one in world.simulator.jobs("perplexity")}
        assert posts(world, "perplexity") == 3
    postgres_server.drop(url)


class Cut:
    """A way to PostgreSQL that loses the answer to a commit: it is carried out, and nobody hears of it."""

    def __init__(self, url: str) -> None:
        self.target = psycopg.conninfo.conninfo_to_dict(url)
        #: Called with what the client sends; where it says so, nothing of the answer comes back.
        self.lose: Callable[[bytes], bool] = lambda _sent: False
        self.lost = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        """Where it is."""
        port = self._server.sockets[0].getsockname()[1]
        user, password = self.target.get("user", ""), self.target.get("password", "")
        return f"postgresql://{user}:{password}@127.0.0.1:{port}/{self.target['dbname']}?sslmode=disable"

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = str(self.target["host"]), int(self.target.get("port") or 5432)
        opened = (
            asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            if host.startswith("/")
            else asyncio.open_connection(host, port)
        )
        answers, requests = await opened
        back = asyncio.create_task(self._copy(answers, writer))
        try:
            while data := await reader.read(1 << 16):
                if self.lose(data):
                    self.lost += 1
                    back.cancel()
                    requests.write(data)
                    await requests.drain()
                    # The server answers, and so it is committed.
                    await answers.read(1)
                    return
                requests.write(data)
                await requests.drain()
        except OSError:
            return
        finally:
            back.cancel()
            requests.close()
            writer.close()

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


@pytest.mark.parametrize("which", ["the record", "the answer"])
async def test_a_commit_whose_answer_was_lost_is_looked_for(
    world: World, migrated_url: str, which: str
) -> None:
    """It is there: the job goes on, is sent once and has one line in its timeline; nobody is told to try again."""
    async with Cut(migrated_url) as cut:
        world.environ |= {"RECEIVER_DATABASE_URL": cut.url, "RECEIVER_SPOOL": str(world.folder / "held")}
        receiver = Receiver(Settings.load(world.environ))
        await receiver.start(worker=False)
        try:
            wanted = b"INSERT INTO submission" if which == "the record" else b"INSERT INTO attempt"
            seen: list[bool] = []

            def lose(sent: bytes) -> bool:
                if wanted in sent and not seen:
                    seen.append(True)
                if seen == [True] and b"COMMIT" in sent:
                    seen.append(False)
                    return True
                return False

            cut.lose = lose
            job = await receiver.submit("perplexity", REQUESTS["perplexity"], idempotency_key="a key")
            assert cut.lost == 1
            assert job.remote_id == world.simulator.jobs("perplexity")[0].id
            record = await receiver.running.store.record(job.id)
            assert [(one.step, one.outcome) for one in record.attempts] == [("submit", "accepted")]
            assert posts(world, "perplexity") == 1
            again = await receiver.submit("perplexity", REQUESTS["perplexity"], idempotency_key="a key")
            assert (again.id, posts(world, "perplexity")) == (job.id, 1)
        finally:
            await receiver.stop()


async def an_answer(receiver: Receiver) -> SubmitSettled:
    """What is stored of a submission that was accepted."""
    held: list[SubmitSettled] = []
    store = receiver.running.store
    settle = store.settle_submit

    async def noted(item: SubmitSettled) -> Job:
        held.append(item)
        return await settle(item)

    store.settle_submit = noted  # type: ignore[method-assign]  # to get hold of one
    await receiver.submit("netnut", REQUESTS["netnut"])
    return held[0]


async def test_a_spool_keeps_out_of_the_way_of_others(tmp_path: Path, world: World) -> None:
    """What another process holds is left to it, what cannot be read is put aside, and no folder is no crash."""
    async with world.receiver() as receiver:
        held = await an_answer(receiver)
    first, second = answers(tmp_path / "spool"), answers(tmp_path / "spool")
    assert first.put(held)
    assert (first.take(), second.take()) == ([], [])
    first.close()
    assert second.take() == [held]
    second.drop(held.due.job_id)
    (tmp_path / "spool" / "job_x.answer").write_bytes(b"\xc1")
    assert answers(tmp_path / "spool").take() == []
    assert [one.name for one in (tmp_path / "spool").iterdir()] == ["job_x.refused"]
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    assert not answers(tmp_path / "file").put(held)


async def test_a_submission_that_came_to_nothing_is_a_warning(world: World) -> None:
    """It names the job and says what to do next; one that was accepted is none."""
    with structlog.testing.capture_logs() as told:
        async with world.receiver() as receiver:
            world.simulator.faults("netnut", {"name": "submit_4xx", "status": 400})
            refused = await receiver.submit("netnut", REQUESTS["netnut"])
            await receiver.submit("netnut", REQUESTS["netnut"])
    lines = {one["event"]: one for one in told if one["event"].startswith("submission_")}
    assert lines["submission_refused"]["log_level"] == "warning"
    assert lines["submission_refused"]["see"].endswith(f"receiver jobs show {refused.id}")
    assert lines["submission_accepted"]["log_level"] == "info"


@pytest.mark.parametrize("where", [None, "registered"])
async def test_an_answer_that_names_nothing_is_no_acceptance_like_others(
    world: World, where: str | None
) -> None:
    """Nobody could ever ask about the job: its outcome is unknown, it is not bought again, and a person can link it."""

    async def answer(asked: Asked) -> Reply:
        return replies({"state": "queued"} if asked.method == "POST" else {"id": "r1", "state": "running"})

    async with stub(answer) as provider:
        describe(world, provider, where=where)
        async with world.receiver() as receiver:
            job = await receiver.submit("made-up", {})
            record = await world.record(receiver, job)
            assert [(one.outcome, one.code) for one in record.attempts] == [("unknown", "id_missing")]
            assert (job.submission, len(provider.asked)) == ("unknown", 1)
            linked = Link(job_id=job.id, provider="made-up", remote_id="r1", now=job.created_at)
            assert (await receiver.running.store.link(linked)).remote_id == "r1"


@pytest.mark.parametrize("trouble", ["it is a file", "it was removed"])
async def test_a_spool_that_cannot_be_used_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """While the answer is held; at the end the log says where it is, or what a person can still do with it."""
    monkeypatch.setattr(answer, "_STORE_WAITS", (0.05,))
    impatient(monkeypatch)
    spool = world.folder / "spool"
    world.environ["RECEIVER_SPOOL"] = str(spool)
    lasts = trouble == "it is a file"
    if lasts:
        spool.write_text("no folder", encoding="utf-8")
    world.simulator.faults("netnut", {"name": "submit_slow", "seconds": 0.5})
    with structlog.testing.capture_logs() as told:
        async with world.receiver() as receiver:
            sending = asyncio.create_task(receiver.submit("netnut", REQUESTS["netnut"]))
            await until(lambda: posts(world, "netnut") == 1)
            with locked(world):
                with pytest.raises(OutcomeUnknownError):
                    await sending
                if not lasts:
                    shutil.rmtree(spool)
                    await until(lambda: spool.exists() and bool(list(spool.glob("*.answer"))))
                await receiver.running.submit.close()
    remote_id = world.simulator.jobs("netnut")[0].id
    (end,) = [one for one in told if one["event"] in {"answer_left_in_spool", "answer_lost"}]
    if lasts:
        assert end["see"] == f"receiver jobs link {end['job']} {remote_id}"
    else:
        assert (end["event"], end["remote_id"]) == ("answer_left_in_spool", remote_id)


async def test_an_answer_of_another_database_is_left_to_it(world: World, tmp_path: Path) -> None:
    """Two receivers may share a folder: each stores what it knows the job of, and passes over the rest."""
    world.environ["RECEIVER_SPOOL"] = str(tmp_path / "spool")
    theirs = answers(tmp_path / "spool")
    async with world.receiver() as receiver:
        held = await an_answer(receiver)
        due = msgspec.structs.replace(held.due, job_id=new_id(JOB, 1))
        assert theirs.put(msgspec.structs.replace(held, due=due))
        theirs.close()
        for _ in range(2):
            await receiver.running.submit.recover()
    assert [one.due.job_id for one in theirs.take()] == [due.job_id]
