"""A broker that refuses an event says so in its own words, and what is under way beside it arrives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from receiver.sinks.sink import SinkFailedError, SinkRefusedError
from tests.path.conftest import world
from tests.path.world import REQUESTS, World, ended, until
from tests.sinks import servers, sides
from tests.sinks.making import event, opened
from tests.sinks.test_circuits import SIGNED, configured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sinks.servers import Server

__all__ = ["world"]

#: Bytes of one message, headers and all, that this server takes.
MOST = 4096
RULES = f"""
max_payload: {MOST}
authorization {{
  users = [
    {{ user: "all", password: "a" }}
    {{ user: "some", password: "s", permissions: {{ publish: {{ deny: "jobs.acme.secret" }} }} }}
  ]
}}
"""


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Server]:
    """A NATS server that does not let everybody do everything."""
    with servers.nats(tmp_path, rules=RULES) as server:
        yield server


async def stream(server: Server) -> None:
    """Make a stream for what is sent there."""
    import nats  # noqa: PLC0415

    client = await nats.connect(f"nats://all:a@127.0.0.1:{server.port}")
    await client.jetstream().add_stream(name="jobs", subjects=["jobs.acme.>"])
    await client.close()


async def test_nats_denies_a_subject_and_takes_others(strict: Server) -> None:
    """The server says it beside its answers: the event is refused at once in its words, and no other is."""
    await stream(strict)
    at = f"nats://some:s@127.0.0.1:{strict.port}/jobs.acme."
    sink = opened(at + "{metadata.customer}", timeout=60.0)
    one, other = [event(number=number, customer=where) for number, where in [(1, "secret"), (2, "open")]]
    async with asyncio.timeout(40):  # less than the sink's own patience
        refused, taken = await asyncio.gather(sink.send(one), sink.send(other), return_exceptions=True)
    await sink.close()
    assert isinstance(refused, SinkRefusedError)
    assert 'permissions violation for publish to "jobs.acme.secret"' in str(refused).lower()
    assert taken == "stream jobs, sequence 1"


async def test_nats_does_not_let_us_in(strict: Server) -> None:
    """A wrong password is no outage: the sentence says what it is."""
    sink = opened(f"nats://some:wrong@127.0.0.1:{strict.port}/jobs.acme.x")
    with pytest.raises(SinkFailedError, match="refuses our token or credentials"):
        await sink.send(event())
    await sink.close()


@pytest.mark.parametrize("more", [-600, -200, 10])
async def test_an_event_over_the_limit_of_nats_harms_no_other(strict: Server, more: int) -> None:
    """Headers count, and the server hangs up on what is too large, so it is never sent; what is just below is."""
    await stream(strict)
    sink = opened(f"nats://some:s@127.0.0.1:{strict.port}/jobs.acme.x")
    await sink.send(event(number=1))
    frame = len(event(b'{"x": ""}', number=2).data)
    large = event(b'{"x": "%s"}' % (b"x" * (MOST - frame + more)), number=2)
    answers = await asyncio.gather(
        *(sink.send(one) for one in (event(number=3), large, event(number=4))), return_exceptions=True
    )
    await sink.close()
    assert [type(one) for one in answers] == [str, str if more == -600 else SinkRefusedError, str]


async def test_redis_denies_a_stream_and_takes_others(tmp_path: Path) -> None:
    """What a user may not add to is refused at once in the server's words; so is a key that is no stream."""
    import redis.asyncio  # noqa: PLC0415

    with servers.valkey(tmp_path) as server:
        client = redis.asyncio.Redis(port=server.port)
        await client.acl_setuser(
            "some", enabled=True, passwords=["+s"], keys=["open", "text"], commands=["+xadd"]
        )
        await client.set("text", "no stream")
        await client.aclose()
        sink = opened(f"redis://some:s@127.0.0.1:{server.port}/0?stream={{metadata.customer}}")
        events = [
            event(number=number, customer=name) for number, name in enumerate(("secret", "open", "text"))
        ]
        denied, taken, odd = await asyncio.gather(*map(sink.send, events), return_exceptions=True)
        await sink.close()
    assert isinstance(denied, SinkRefusedError)
    assert "No permissions" in str(denied)
    assert "entry " in str(taken)
    assert isinstance(odd, SinkRefusedError)
    assert "WRONGTYPE" in str(odd)


async def test_rabbitmq_gives_back_what_no_queue_takes(rabbit_server: Server) -> None:
    """Messages are mandatory: one without a queue fails in words, as does one without an exchange; others are taken."""
    side = sides.Rabbit(rabbit_server)
    await side.prepare()
    at = side.to.partition("?")[0]
    sink = opened(f"{at}?exchange=jobs&routing_key={{metadata.customer}}")
    lost, taken = await asyncio.gather(
        sink.send(event(number=1, customer="nowhere")),
        sink.send(event(number=2, customer="jobs")),
        return_exceptions=True,
    )
    await sink.close()
    assert isinstance(lost, SinkFailedError)
    assert "no queue takes 'nowhere' from 'jobs'" in str(lost)
    assert taken == "confirmed, jobs, jobs"
    assert [key for key, _ in await side.received()] == [event(number=2).id]
    sink = opened(f"{at}?exchange=none&routing_key=jobs")
    with pytest.raises(SinkFailedError, match="no exchange 'none'"):
        await sink.send(event())
    await sink.close()


async def test_rabbitmq_refuses_in_its_own_words(rabbit_server: Server) -> None:
    """What is too large, or goes where nobody may publish, is refused at once; a full queue takes it later."""
    side = sides.Rabbit(rabbit_server)
    await side.prepare()
    connection, channel = await side.connected()
    await channel.declare_exchange("inside", "topic", internal=True)
    full: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
    await channel.declare_queue("full", auto_delete=True, arguments=full)
    at = side.to.partition("?")[0]
    ways = [("jobs", "jobs"), ("inside", "jobs"), ("", "full")]
    sinks = [opened(f"{at}?exchange={name}&routing_key={key}") for name, key in ways]
    large = event(b'{"x": "%s"}' % (b"x" * servers.RABBIT_TAKES), largest=1 << 30)
    sent = zip(sinks, [large, event(), event()], strict=True)
    said = await asyncio.gather(*(one.send(what) for one, what in sent), return_exceptions=True)
    assert await sinks[0].send(event()) == "confirmed, jobs, jobs"
    for one in sinks:
        await one.close()
    await connection.close()
    assert [type(one) for one in said] == [SinkRefusedError, SinkRefusedError, SinkFailedError]
    words = [str(one) for one in said]
    assert "larger than" in words[0]
    assert "ACCESS_REFUSED" in words[1]
    assert "a queue that it goes to is full" in words[2]


async def test_what_ends_a_channel_of_rabbitmq_harms_no_other(rabbit_server: Server) -> None:
    """The broker ends the channel on which an exchange is not there; whatever else was under way on it arrives."""
    side = sides.Rabbit(rabbit_server)
    await side.prepare()
    at = side.to.partition("?")[0]
    sink = opened(f"{at}?exchange={{metadata.customer}}&routing_key=jobs")
    events = [event(number=number, customer="none" if number == 5 else "jobs") for number in range(20)]
    said = await asyncio.gather(*map(sink.send, events), return_exceptions=True)
    assert await sink.send(event(number=20, customer="jobs")) == "confirmed, jobs, jobs"
    await sink.close()
    failed = [(number, str(one)) for number, one in enumerate(said) if isinstance(one, BaseException)]
    assert failed == [(5, "There is no exchange 'none'.")]
    arrived = {key for key, _ in await side.received()}
    assert arrived == {event(number=number).id for number in range(21) if number != 5}


async def test_a_refused_event_is_a_dead_letter_in_the_brokers_words(world: World, strict: Server) -> None:
    """At once, with no other attempt; what ends before it and after it arrives, and the circuit stays closed."""
    await stream(strict)
    configured(
        world, f"nats://some:{{env:PW}}@127.0.0.1:{strict.port}/jobs.acme.{{metadata.where}}", circuit=1
    )
    world.environ["PW"] = "s"
    async with world.receiver() as receiver:
        jobs = [
            await receiver.submit(SIGNED, REQUESTS[SIGNED], metadata={"where": where})
            for where in ("open", "secret", "open")
        ]
        for job in jobs:
            await ended(receiver, job)

        async def settled() -> bool:
            found = [(await world.record(receiver, job)).dispatches for job in jobs]
            return [[one.state for one in each] for each in found] == [[], ["dead"], []]

        await until(settled)
        [dead] = (await world.record(receiver, jobs[1])).dispatches
        assert dead.error is not None
        assert dead.error.code == "sink_refused"
        assert "permissions violation for publish" in dead.error.text.lower()
        assert dead.attempt == 1


async def test_what_no_stream_takes_is_a_dead_letter_after_its_attempts(world: World, strict: Server) -> None:
    """With the broker's words; another event of the same sink arrives."""
    await stream(strict)
    at = f"nats://all:{{env:PW}}@127.0.0.1:{strict.port}/jobs.{{metadata.where}}.x"
    configured(world, at, attempts=2, first_wait=0.1, circuit=0)
    world.environ["PW"] = "a"
    async with world.receiver() as receiver:
        jobs = [
            await receiver.submit(SIGNED, REQUESTS[SIGNED], metadata={"where": where})
            for where in ("elsewhere", "acme")
        ]
        for job in jobs:
            await ended(receiver, job)

        async def settled() -> bool:
            found = [(await world.record(receiver, job)).dispatches for job in jobs]
            return [[one.state for one in each] for each in found] == [["dead"], []]

        await until(settled)
        [dead] = (await world.record(receiver, jobs[0])).dispatches
    assert dead.error is not None
    assert "No stream takes the subject jobs.elsewhere" in dead.error.text
    assert dead.attempt == 2


async def test_no_stream_takes_the_subject(strict: Server) -> None:
    """It may be made yet, so the event is tried again before it is a dead letter with these words."""
    await stream(strict)
    sink = opened(f"nats://all:a@127.0.0.1:{strict.port}/elsewhere.x")
    with pytest.raises(SinkFailedError, match="No stream takes the subject elsewhere"):
        await sink.send(event())
    await sink.close()
