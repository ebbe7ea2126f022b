"""NOTIFY in the database of the record: whoever listens hears of a completion exactly if it is committed."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from receiver.core.handler import HandlerSpec, Notice
from receiver.core.identity import JOB, new_id
from receiver.core.job.transition import Move
from receiver.core.model import Held, JobState, Source
from receiver.sinks.postgres import NotifySink
from receiver.storage import circuits, nodes
from receiver.storage.ledger import Ledger
from receiver.storage.nodes import Node
from receiver.storage.postgres.driver import Postgres
from tests.core.making import NOW, job
from tests.path.conftest import world
from tests.path.test_nodes import node
from tests.path.world import REQUESTS, World, ended, until
from tests.sinks.making import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from receiver import Receiver
    from receiver.core.model import Job
    from receiver.storage.driver import Transaction
    from receiver.storage.queries import Record

__all__ = ["world"]

SIGNED = "perplexity-webhook"
TOLD = HandlerSpec(
    name="sink:told",
    state="any",
    notice=Notice(channel="jobs", largest=10, public_url="https://hooks.example/"),
)


class Ear:
    """A session that listens to the channel ``jobs``."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def hear(self, count: int) -> list[Any]:
        """The next *count* events; fewer where nothing comes any more."""
        found = self._connection.notifies(timeout=20, stop_after=count)
        return [json.loads(one.payload) async for one in found]

    async def silent(self) -> bool:
        """Whether nothing has been told so far: what this session itself sends comes after all that."""
        await self._connection.execute("NOTIFY jobs, '{\"mark\": 1}'")
        return await self.hear(1) == [{"mark": 1}]


@contextlib.asynccontextmanager
async def listening(url: str) -> AsyncIterator[Ear]:
    """A session that listens."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("LISTEN jobs")
        yield Ear(connection)


def complete(tx: Transaction, one: Job) -> None:
    """Record *one* as a job that has just succeeded with a result of eleven bytes."""
    ledger = Ledger(tx)
    ledger.add(one)
    held = Held(size=11, sha256="00" * 32)
    done = job(id=one.id, state=JobState.SUCCEEDED, ended_at=NOW, settled_by=Source.CALLBACK, held=held)
    ledger.carry_out(Move(job=done, completed=True), now=NOW)
    ledger.flush()


@pytest.fixture
def driver(migrated_url: str) -> Postgres:
    """A database in which a sink is registered that is told in the commit."""
    made = Postgres(migrated_url)
    with made.write() as tx:
        nodes.join(tx, [(Node(name="node", role="serve", handlers=(TOLD,)), False, NOW)])
    return made


def waiting(driver: Postgres) -> list[tuple[Any, ...]]:
    """The dispatches that there are."""
    with driver.read() as tx:
        return tx.run("SELECT job_id, handler, state FROM dispatch ORDER BY job_id")


async def test_it_is_heard_with_the_commit_and_never_without(driver: Postgres, migrated_url: str) -> None:
    """While the transaction is open nothing is heard, nor after it was undone; after the commit it is, at once."""
    first, second = (job(id=new_id(JOB, NOW), state=JobState.RUNNING) for _ in range(2))
    async with listening(migrated_url) as ear:
        with contextlib.suppress(ZeroDivisionError), driver.write() as tx:
            complete(tx, first)
            raise ZeroDivisionError
        with driver.write() as tx:
            complete(tx, second)
            assert await ear.silent()
        (heard,) = await ear.hear(1)
    assert heard == {
        "specversion": "1.0",
        "id": second.id,
        "source": "/providers/acme",
        "type": "receiver.job.succeeded.v1",
        "subject": second.id,
        "time": heard["time"],
        "dataref": f"https://hooks.example/v1/jobs/{second.id}/result",
    }
    assert waiting(driver) == []
    assert driver.notified == {"sink:told": 1}
    driver.close()


async def test_what_a_listener_hears_of_is_there_already(driver: Postgres, migrated_url: str) -> None:
    """Whoever hears of a job finds it ended, with the attempt in its timeline."""
    one = job(id=new_id(JOB, NOW), state=JobState.RUNNING)
    async with listening(migrated_url) as ear:
        with driver.write() as tx:
            complete(tx, one)
        (heard,) = await ear.hear(1)
        async with await psycopg.AsyncConnection.connect(migrated_url) as asking:
            found = await asking.execute(
                "SELECT job.state, handler, number, outcome FROM job JOIN attempt ON job_id = job.id WHERE job.id = %s",
                (heard["subject"],),
            )
            assert await found.fetchall() == [("succeeded", "sink:told", 1, "succeeded")]
    driver.close()


@pytest.mark.parametrize("state", ["open", "paused"])
async def test_a_circuit_that_is_not_closed_leaves_a_dispatch(
    driver: Postgres, migrated_url: str, state: str
) -> None:
    """Nobody is told by a sink that was paused, or is left alone: what ends meanwhile waits."""
    one = job(id=new_id(JOB, NOW), state=JobState.RUNNING)
    with driver.write() as tx:
        circuits.pause(tx, [("sink:told", "ann", NOW)])
        tx.run("UPDATE circuit SET state = :state", {"state": state})
    async with listening(migrated_url) as ear:
        with driver.write() as tx:
            complete(tx, one)
        assert await ear.silent()
    assert waiting(driver) == [(one.id, "sink:told", "ready")]
    driver.close()


async def test_a_payload_that_is_too_long_is_left_to_a_dispatch(driver: Postgres, migrated_url: str) -> None:
    """It would make the commit of a callback fail; the sink says that it is refused, in words."""
    async with listening(migrated_url) as ear:
        with driver.write() as tx:
            assert not tx.notify("jobs", "é" * 4000, handler="sink:told")
            assert tx.notify("jobs", '"' + "a" * 7_997 + '"', handler="sink:told")
        assert await ear.hear(1) == ["a" * 7_997]
    driver.close()


def told_of(record: Record) -> list[tuple[str | None, str, int, str]]:
    """The attempts of handlers in the timeline of a job."""
    return [
        (one.handler, one.replay_id, one.number, one.outcome)
        for one in record.attempts
        if one.step == "dispatch"
    ]


async def heard_of(ear: Ear, receiver: Receiver, *, metadata: dict[str, str] | None = None) -> str:
    """Have a job succeed; the event that is heard next must be its own."""
    given = await receiver.submit(SIGNED, REQUESTS[SIGNED], metadata=metadata or {})
    (heard,) = await ear.hear(1)
    assert heard["id"] == given.id
    return given.id


async def test_a_whole_receiver_tells_replays_and_waits(world: World, migrated_url: str) -> None:
    """The timeline, the figures, a replay, a filter and a pause are those of every sink."""
    sinks = world.folder / "sinks.toml"
    sinks.write_text('[sinks.told]\nto = "notify://jobs"\nmetadata = { customer = "a" }\n', encoding="utf-8")
    world.environ |= {"RECEIVER_DATABASE_URL": migrated_url, "RECEIVER_SINKS": str(sinks)}
    async with listening(migrated_url) as ear, world.receiver() as receiver:
        store = receiver.running.store
        other = await receiver.submit(SIGNED, REQUESTS[SIGNED], metadata={"customer": "b"})
        await ended(receiver, other)
        job_id = await heard_of(ear, receiver, metadata={"customer": "a"})
        assert told_of(await store.record(job_id)) == [("sink:told", "", 1, "succeeded")]
        replayed = await receiver.replay(job_id)
        assert replayed.handlers == ["sink:told"]
        (again,) = await ear.hear(1)
        assert again["id"] == f"{job_id}:{replayed.replay_id}"
        await until(lambda: store.driver.notified == {"sink:told": 2})
        counted = {
            sample.labels["handler"]: sample.value
            for family in await receiver.running.gathering()
            for sample in family.samples
            if sample.name == "receiver_dispatches_total"
        }
        assert counted == {"sink:told": 2.0}
        await store.write(circuits.pause, ("sink:told", "ann", NOW))
        held = await receiver.submit(SIGNED, REQUESTS[SIGNED], metadata={"customer": "a"})

        async def waits() -> bool:
            return [one.state for one in (await store.record(held.id)).dispatches] == ["ready"]

        await until(waits)
        assert await ear.silent()
        await store.write(circuits.resume, "sink:told")
        receiver.running.notify()
        (late,) = await ear.hear(1)
        assert late["id"] == held.id
        await ended(receiver, held)
        assert told_of(await store.record(held.id)) == [("sink:told", "", 1, "succeeded")]


async def test_a_node_that_only_hears_callbacks_tells_too(world: World, migrated_url: str) -> None:
    """The sink is registered in the record, so a node without it, and without a worker, tells of what it commits."""
    world.environ["RECEIVER_DATABASE_URL"] = migrated_url
    async with (
        listening(migrated_url) as ear,
        node(world, RECEIVER_SINK_TOLD="notify://jobs"),
        node(world, port=world.port, worker=False) as hears,
    ):
        await heard_of(ear, hears)
        # It is counted after the commit, which is heard of at once.
        await until(lambda: hears.running.store.driver.notified == {"sink:told": 1})


@pytest.mark.parametrize(
    ("to", "own"),
    [
        ("notify://jobs", True),
        ("{url}?channel=jobs", True),
        ("{other}?channel=jobs", False),
    ],
)
def test_which_database_is_the_records_own(to: str, own: bool) -> None:  # noqa: FBT001
    """The same server, port and name are one database, whoever signs in; another name is another."""
    url = "postgresql://app:secret@db.example:5433/jobs"
    there = {
        "url": "postgresql://listener@db.example:5433/jobs",
        "other": "postgresql://app@db.example:5433/b",
    }
    sink = opened(to.format(**there), database_url=url)
    assert isinstance(sink, NotifySink)
    assert (sink.own_channel is not None) is own


async def test_ordered_or_slowed_down_it_waits_its_turn(world: World, migrated_url: str) -> None:
    """What may have to wait for others goes by dispatch, so its order and its rate hold."""
    sinks = world.folder / "sinks.toml"
    sinks.write_text(
        '[sinks.a]\nto = "notify://a"\nordered_by = "provider"\n[sinks.b]\nto = "notify://b"\nrate = 5\n'
        '[sinks.c]\nto = "notify://c"\n',
        encoding="utf-8",
    )
    world.environ |= {"RECEIVER_DATABASE_URL": migrated_url, "RECEIVER_SINKS": str(sinks)}
    async with world.receiver() as receiver:
        given = await receiver.submit(SIGNED, REQUESTS[SIGNED])
        await ended(receiver, given)
        assert receiver.running.store.driver.notified == {"sink:c": 1}
        told = {one[0] for one in told_of(await receiver.running.store.record(given.id))}
        assert told == {"sink:a", "sink:b", "sink:c"}
