"""Kafka, tried against the mock cluster in librdkafka: three brokers that speak its protocol."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, Producer

from receiver.sinks.sink import SinkAwayError, SinkRefusedError
from tests.ports import free_port
from tests.sinks.making import event, opened

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cluster() -> Iterator[str]:
    """Three brokers; gone with the client that holds them."""
    holder = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 3})
    brokers = holder.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{one.host}:{one.port}" for one in brokers)
    del holder


def consumed(servers: str, topic: str, count: int | None) -> list[tuple[Any, dict[str, str], Any]]:
    """What is in a topic: keys, headers and values; without a *count* whatever has not been consumed yet."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found: list[tuple[Any, dict[str, str], Any]] = []
    while count is None or len(found) < count:
        message = consumer.poll(20 if count is not None or not found else 2)
        if message is None and count is None:
            break
        assert message is not None, found
        assert message.error() is None, message.error()
        headers: Any = message.headers()
        found.append((message.key(), {name: value.decode() for name, value in headers}, message.value()))
    consumer.close()
    return found


async def test_an_event_is_acknowledged_and_keyed_by_job(cluster: str) -> None:
    """An event is in the topic with its job as key and its attributes as headers, in CloudEvents' binary mode."""
    sink = opened(f"kafka://{cluster}/jobs.{{provider}}")
    said = await sink.send(event())
    await sink.close()
    [(key, headers, value)] = await asyncio.to_thread(consumed, cluster, "jobs.acme", 1)
    assert said.startswith("jobs.acme, partition ")
    assert key == event().subject.encode()
    assert headers["ce_id"] == event().id
    assert headers["content-type"] == "application/json"
    assert json.loads(value)["result"] == {"answer": 42}


async def test_events_under_way_together_all_arrive(cluster: str) -> None:
    """A hundred events at once are a hundred messages."""
    sink = opened(f"kafka://{cluster}/jobs")
    await asyncio.gather(*(sink.send(event(number=number)) for number in range(100)))
    await sink.close()
    found = await asyncio.to_thread(consumed, cluster, "jobs", 100)
    assert {headers["ce_id"] for _, headers, _ in found} == {event(number=n).id for n in range(100)}


async def test_an_event_that_no_topic_takes_is_refused(cluster: str) -> None:
    """What is larger than any message may be is refused, not tried again."""
    sink = opened(f"kafka://{cluster}/jobs")
    big = event(b'{"x": "%s"}' % (b"x" * 17 * 1024 * 1024), largest=1 << 30)
    with pytest.raises(SinkRefusedError):
        await sink.send(big)
    await sink.close()


async def test_servers_that_nobody_runs_are_away() -> None:
    """Where nobody answers the sink says that it is away."""
    sink = opened(f"kafka://127.0.0.1:{free_port()}/jobs")
    with pytest.raises(SinkAwayError):
        await sink.send(event())
    await sink.close()
