"""Several whole receivers on one PostgreSQL: whoever hears a callback, the work is done once, by whoever is there."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import psycopg
import pytest

from receiver import Job, JobState, Receiver, Settings
from receiver.clock import DatabaseClock, read_clock, read_steady
from receiver.core.model import SECOND, Step
from receiver.storage.queries import Page
from receiver.wire.server import server
from receiver.worker import turns, worker
from tests.postgres import PostgresServer
from tests.serving import served

from .described import describe, replies
from .stub import Asked, Reply, stub
from .world import REQUESTS, World, ended, until

RESULTS = "perplexity-webhook"  # posts its results, signed
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %%' AND datname = %s"
SLEEPS = """
import os, time
from pathlib import Path
from receiver import Receiver
receiver = Receiver()

@receiver.on(name="h", first_wait=0.1)
def sleep(job):
    with Path(os.environ["RUNS"]).open("a") as runs:
        runs.write(job.id + "\\n")
    time.sleep(30)
"""


@pytest.fixture
def world(world: World, migrated_url: str) -> World:
    """The simulator, and a PostgreSQL with nothing in it."""
    world.environ["RECEIVER_DATABASE_URL"] = migrated_url
    return world


@asynccontextmanager
async def node(
    world: World,
    prepare: Callable[[Receiver], object] | None = None,
    *,
    port: int | None = None,
    worker: bool = True,
    **settings: str,
) -> AsyncIterator[Receiver]:
    """A receiver in this process; with a port, the world's own, it is the one that hears callbacks."""
    receiver = Receiver(Settings.load(world.environ | settings))
    if prepare is not None:
        prepare(receiver)
    await receiver.start(worker=worker)
    if port is None:
        try:
            yield receiver
        finally:
            await receiver.stop()
        return
    serving = server(receiver.asgi, host="127.0.0.1", port=port, receive_timeout=5)
    async with served(serving):
        yield receiver


def noting(seen: list[tuple[str, str]], name: str = "h") -> Callable[[Receiver], object]:
    """Register a handler that notes its node and its job."""

    def prepare(receiver: Receiver) -> None:
        @receiver.on(name=name)
        async def note(job: Job) -> None:
            seen.append((receiver.running.node.name, job.id))
            await asyncio.sleep(0.02)

    return prepare


async def test_the_node_that_works_hears_at_once_of_what_another_took(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback reaches the one, an idle worker at the other begins its handler without having looked for it.

    So does one whose clock is behind by less than the nodes' may be apart: it looks once more in a moment.
    """
    # By looking alone, it would be an hour.
    monkeypatch.setattr(turns, "_LONGEST_NAP", 3600.0)
    monkeypatch.setattr(worker, "_CLOCKS_APART", 0.2)
    seen: list[tuple[str, str]] = []
    async with (
        node(world, noting(seen), port=world.port, worker=False) as hears,
        node(world, noting(seen)) as works,
    ):
        clocks = [one.running.clock for one in (hears, works)]
        for behind, clock in zip((0, 100), clocks, strict=True):
            assert isinstance(clock, DatabaseClock)
            # Set once and for all: what a busy database answers is half of its delay off.
            monkeypatch.setattr(clock, "adjust", lambda *_, **__: None)
            clock._ahead = read_clock() - read_steady() - behind
        for _ in range(7):
            await ended(hears, await hears.submit(RESULTS, REQUESTS[RESULTS]))
        assert {name for name, _ in seen} == {works.running.node.name}
        assert len(seen) == len({job for _, job in seen}) == 7
        roles = [one.role for one in await hears.running.store.nodes()]
        assert sorted(roles) == ["ingest", "serve"]
    # Both have left.
    async with node(world) as other:
        assert [one.name for one in await other.running.store.nodes()] == [other.running.node.name]


async def test_who_waits_at_one_node_hears_what_another_settled(world: World) -> None:
    """``run`` and ``wait`` end with the job, with its result, where another node took its callback."""
    async with (
        node(world, port=world.port),
        node(world, worker=False) as asks,
        node(world, worker=False) as third,
    ):
        submitted = await asks.submit(RESULTS, REQUESTS[RESULTS])
        waiting = asyncio.create_task(third.wait(submitted.id, timeout=30))
        job = await asks.run(RESULTS, REQUESTS[RESULTS], timeout=30)
        for one in (job, await waiting):
            assert one.state == "succeeded"
            assert one.result is not None
            assert one.result.json()


@pytest.mark.parametrize("listens", [False, True])
async def test_work_is_found_although_nobody_announces_it(
    world: World,
    migrated_url: str,
    listens: bool,  # noqa: FBT001  (a parameter)
) -> None:
    """A node that does not listen, or whose connection for it was cut, looks by itself every second."""
    seen: list[tuple[str, str]] = []
    setting = "1" if listens else "0"
    async with (
        node(world, noting(seen), port=world.port, worker=False) as hears,
        node(world, noting(seen), RECEIVER_LISTEN=setting),
    ):
        with psycopg.connect(migrated_url, autocommit=True) as connection:

            def cut() -> bool:
                return bool(connection.execute(END, (connection.info.dbname,)).fetchall())

            if listens:
                # It listens from a thread of its own, a moment after the start.
                await until(cut)
            else:
                assert not cut()
        await ended(hears, await hears.submit(RESULTS, REQUESTS[RESULTS]))
    assert len(seen) == 1


async def test_nodes_share_the_work_and_do_it_once(world: World) -> None:
    """Jobs submitted at three nodes, by callback and by poll: each handler runs once for each, on whichever node."""
    seen: list[tuple[str, str]] = []
    async with AsyncExitStack() as stack:
        ports = [world.port, None, None]
        nodes = [await stack.enter_async_context(node(world, noting(seen), port=port)) for port in ports]
        jobs = await asyncio.gather(
            *(
                nodes[n % 3].submit(provider, REQUESTS[provider])
                for n in range(8)
                for provider in (RESULTS, "netnut", "yandex")
            )
        )
        done = [await ended(nodes[0], job) for job in jobs]
        assert {job.state for job in done} == {JobState.SUCCEEDED}
        assert sorted(job for _, job in seen) == sorted(job.id for job in jobs)
        assert len({name for name, _ in seen}) > 1
        assert sum(len(world.simulator.jobs(name)) for name in (RESULTS, "netnut", "yandex")) == 24


async def test_one_key_at_two_nodes_is_submitted_once(world: World) -> None:
    """Whoever repeats an order at another node, at the same moment, gets the one job that there is."""
    async with node(world, port=world.port) as first, node(world) as second:
        for number in range(5):
            jobs = await asyncio.gather(
                *(
                    one.submit(RESULTS, REQUESTS[RESULTS], idempotency_key=f"k{number}")
                    for one in (first, second) * 3
                )
            )
            assert len({job.id for job in jobs}) == 1
        assert len(world.simulator.jobs(RESULTS)) == 5


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_work_of_a_node_that_vanished_is_taken_over(world: World, how: signal.Signals) -> None:
    """Killed or frozen within a handler: its lease lapses, another node runs it, and it is settled once."""
    world.environ["RECEIVER_LEASE"] = "4"
    seen: list[tuple[str, str]] = []
    async with world.process(SLEEPS) as process:
        answer = await process.request(
            "POST", "/v1/jobs", json={"provider": RESULTS, "request": REQUESTS[RESULTS]}
        )
        job_id = answer.json()["id"]
        await until(lambda: world.runs.exists() and world.runs.read_text() == f"{job_id}\n")
        async with node(world, noting(seen)) as other:
            await asyncio.sleep(4.5)
            assert seen == []  # it gives signs of life
            assert process.running is not None
            process.running.send_signal(how)
            await ended(other, await other.job(job_id))
            if how is signal.SIGSTOP:
                process.running.send_signal(signal.SIGCONT)
            runs = [
                one for one in (await other.running.store.record(job_id)).attempts if one.step == "dispatch"
            ]
    assert [job for _, job in seen] == [job_id]
    assert [(one.number, one.outcome) for one in runs] == [(1, "interrupted"), (2, "succeeded")]


@pytest.mark.parametrize("recognised", [False, True], ids=["knows no repetition", "takes a key"])
async def test_a_submission_of_a_node_that_vanished_is_bought_once(
    world: World, migrated_url: str, *, recognised: bool
) -> None:
    """Killed between request and answer: another node repeats it where that is safe, and else knows that it cannot."""
    keys: list[str | None] = []

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            keys.append(asked.header("idempotency-key"))
            if len(keys) == 1:
                await asyncio.sleep(60)
            return replies({"id": "r1", "state": "running"})
        return replies({"id": "r1", "state": "done", "result": 1})

    async with stub(answer) as provider:
        describe(world, provider, where="body", every="1s", expected="1s", idempotent=recognised)
        async with world.process(SLEEPS) as process, node(world) as other:
            order = {"provider": "made-up", "request": {}}
            sending = asyncio.create_task(process.request("POST", "/v1/jobs", json=order))
            await until(lambda: len(keys) == 1)
            process.kill()
            await asyncio.wait({sending})
            sending.exception()
            (job,) = await other.running.store.jobs(Page())
            assert job.submission == "sending"
            # The lease outlives every request; it is over here at once.
            with psycopg.connect(migrated_url) as database:
                database.execute("UPDATE due SET run_at = created_at FROM job WHERE job.id = job_id")
            other.running.notify()

            async def known() -> bool:
                one = await other.job(job.id)
                return one.state is JobState.SUCCEEDED if recognised else one.submission == "unknown"

            await until(known)
            if recognised:
                assert keys == [job.id] * 2
                return
            (due,) = (await other.running.store.record(job.id)).due
            assert (due.step, due.run_at) == (Step.LOOK, job.deadline_at)
            assert len(keys) == 1


async def test_a_node_that_leaves_gives_its_work_back(world: World) -> None:
    """Its handler is cut short, and another node begins with it at once, not when a lease would have lapsed."""
    seen: list[tuple[str, str]] = []
    began = asyncio.Event()

    def stuck(receiver: Receiver) -> None:
        @receiver.on(name="h")
        async def wait(job: Job) -> None:
            began.set()
            await asyncio.sleep(60)

    async with AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(node(world, stuck, port=world.port))
        job = await leaving.submit(RESULTS, REQUESTS[RESULTS])
        await until(began.is_set)
        async with node(world, noting(seen)) as staying:
            await stack.aclose()
            await ended(staying, job)
    assert [one for _, one in seen] == [job.id]


async def test_a_database_that_is_gone_is_waited_for(world: World, postgres_server: PostgresServer) -> None:
    """Senders hear 503 at once, readiness says why, and when it is back both nodes go on without being restarted."""
    url = postgres_server.create()
    world.environ["RECEIVER_DATABASE_URL"] = url
    seen: list[tuple[str, str]] = []
    async with node(world, noting(seen), port=world.port) as first, node(world, noting(seen)) as second:
        world.simulator.faults(RESULTS, "lost")
        job = await first.submit(RESULTS, REQUESTS[RESULTS])
        await asyncio.to_thread(postgres_server.stop)
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(world.callback_url(RESULTS), content=b"{}")
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
            ready = await client.get(f"{world.url}/readyz")
            assert (ready.status_code, ready.json()["ready"]) == (503, False)
            assert (await client.get(f"{world.url}/livez")).status_code == 200
        await asyncio.to_thread(postgres_server.start)
        for one in (first, second):
            await ended(one, await one.submit(RESULTS, REQUESTS[RESULTS]))
        assert (await second.job(job.id)).state is JobState.SUBMITTED
    assert len(seen) == 2
    postgres_server.drop(url)


async def test_health_and_metrics_know_the_database(world: World) -> None:
    """A machine whose clock is off is not ready, by which way and how far; every table has its size and dead rows."""
    async with (
        node(world, port=world.port) as receiver,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        assert (await client.get(f"{world.url}/readyz")).status_code == 200
        clock = receiver.running.clock
        assert isinstance(clock, DatabaseClock)
        assert abs(receiver.running.drift()) < SECOND
        assert clock._ahead is not None
        for off, words in ((40, "behind"), (-40, "ahead of")):
            right = clock._ahead
            clock._ahead += off * SECOND
            told = (await client.get(f"{world.url}/readyz")).json()
            assert not told["ready"]
            assert any(f"s {words} the database's" in reason for reason in told["reasons"])
            clock._ahead = right
        metrics = (await client.get(f"{world.url}/metrics")).text
        assert 'receiver_table_bytes{table="job"}' in metrics
        assert 'receiver_table_dead_rows{table="due"}' in metrics


async def test_what_a_handler_raises_is_recorded_whatever_it_quotes(world: World) -> None:
    """Its attempt failed or its completion is discarded; odd characters do not make it unsettled for ever."""
    odd = "a file called \udcff, and \0 nothing"

    def prepare(receiver: Receiver) -> None:
        @receiver.on(name="fails", attempts=1)
        async def fail(job: Job) -> None:
            raise ValueError(odd)

    async with node(world, prepare, port=world.port) as receiver:
        job = await receiver.submit(RESULTS, REQUESTS[RESULTS])
        await ended(receiver, job)
        (dead,) = await receiver.running.store.dispatches(Page(state="dead"))
        assert dead.error is not None
        assert (dead.attempt, dead.error.code) == (1, "ValueError")
        assert "a file called ?, and \N{REPLACEMENT CHARACTER} nothing" in dead.error.text
