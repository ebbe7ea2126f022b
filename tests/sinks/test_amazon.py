"""SQS and SNS, tried against moto's server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from receiver.settings import Settings
from receiver.sinks.configuration import load
from receiver.sinks.opening import open_sink
from receiver.sinks.sink import SinkAwayError, SinkFailedError, SinkRefusedError
from tests.core.making import NOW
from tests.ports import free_port
from tests.sinks.making import event, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNT = "123456789012"
REGION = "eu-west-1"


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An endpoint, and credentials in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


class Queue:
    """One queue, or several."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def client(self, service: str = "sqs") -> Any:  # noqa: ANN401  (botocore's clients have no types)
        """A client of Amazon's."""
        from aiobotocore.session import get_session

        return get_session().create_client(service, region_name=REGION, endpoint_url=self._endpoint)

    async def make(self, name: str) -> str:
        """Make a queue; its address."""
        attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        async with self.client() as client:
            made = await client.create_queue(QueueName=name, Attributes=attributes)
        return str(made["QueueUrl"])

    async def messages(self, url: str) -> list[dict[str, Any]]:
        """The bodies of what is in it, which is gone from there afterwards."""
        found: list[dict[str, Any]] = []
        async with self.client() as client:
            while more := (await client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)).get(
                "Messages"
            ):
                found += [json.loads(one["Body"]) for one in more]
                # What is received and stays there makes moto slower with each that is asked for.
                gone = [
                    {"Id": str(number), "ReceiptHandle": one["ReceiptHandle"]}
                    for number, one in enumerate(more)
                ]
                await client.delete_message_batch(QueueUrl=url, Entries=gone)
        return found


@pytest.mark.parametrize(("name", "kept"), [("jobs", 2), ("jobs.fifo", 1)])
async def test_an_event_is_in_the_queue(amazon: str, name: str, kept: int) -> None:
    """An event is one message; a FIFO queue keeps one of two with one id."""
    queue = Queue(amazon)
    url = await queue.make(name)
    sink = opened(f"sqs://{REGION}/{ACCOUNT}/{name}?endpoint={amazon}")
    for _ in range(2):
        assert (await sink.send(event())).startswith("message ")
    await sink.close()
    found = await queue.messages(url)
    assert [one["id"] for one in found] == [event().id] * kept
    assert found[0]["data"]["result"] == {"answer": 42}


@pytest.mark.parametrize(("name", "kept"), [("jobs", 2), ("jobs.fifo", 1)])
async def test_an_event_is_published_to_a_topic(amazon: str, name: str, kept: int) -> None:
    """An event at a topic reaches the queue that subscribed to it; in order, and once, where both keep that."""
    queue = Queue(amazon)
    url = await queue.make(name)
    async with queue.client("sns") as client:
        attributes = {"FifoTopic": "true"} if name.endswith(".fifo") else {}
        topic = (await client.create_topic(Name=name, Attributes=attributes))["TopicArn"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        await client.subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"}
        )
    sink = opened(f"sns://{REGION}/{ACCOUNT}/{name}?endpoint={amazon}")
    for _ in range(2):
        assert (await sink.send(event())).startswith("message ")
    await sink.close()
    assert [one["id"] for one in await queue.messages(url)] == [event().id] * kept


async def test_the_largest_result_that_travels_is_taken_by_a_topic(amazon: str) -> None:
    """Also one that is no JSON, which is a third longer there; one byte more, and it is linked."""
    async with Queue(amazon).client("sns") as client:
        await client.create_topic(Name="large")
    settings = Settings.load({"RECEIVER_SINK_A": f"sns://{REGION}/{ACCOUNT}/large?endpoint={amazon}"})
    [config] = load(settings)
    sink = open_sink(config, settings, clock=lambda: NOW)
    full = event(b"\xff" * config.largest, largest=config.largest)
    over = event(b"\xff" * (config.largest + 1), largest=config.largest)
    assert ("dataref" in full.attributes, "dataref" in over.attributes) == (False, True)
    for one in (full, over):
        assert (await sink.send(one)).startswith("message ")
    await sink.close()


async def test_whoever_may_not_send_is_refused_at_once(amazon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Amazon denies it whatever is sent: no attempt is worth another, and its words are told."""
    queue = Queue(amazon)
    await queue.make("jobs")
    async with queue.client("iam") as client:
        await client.create_user(UserName="nobody")
        key = (await client.create_access_key(UserName="nobody"))["AccessKey"]
    async with httpx.AsyncClient(timeout=60) as http:
        await http.post(f"{amazon}/moto-api/reset-auth", content=b"0")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        sink = opened(f"sqs://{REGION}/{ACCOUNT}/jobs?endpoint={amazon}")
        try:
            with pytest.raises(SinkRefusedError, match="is not authorized to perform"):
                await sink.send(event())
        finally:
            await sink.close()
            # What the server counts is the whole process's.
            await http.post(f"{amazon}/moto-api/reset-auth", content=b"inf")


async def test_a_queue_that_is_not_there_fails_in_amazons_words(amazon: str) -> None:
    """What Amazon answers stands in the failure."""
    sink = opened(f"sqs://{REGION}/{ACCOUNT}/nowhere?endpoint={amazon}")
    with pytest.raises(SinkFailedError, match="NonExistentQueue"):
        await sink.send(event())
    await sink.close()


async def test_what_is_too_large_is_refused(amazon: str) -> None:
    """A message over Amazon's limit is refused, not tried again."""
    queue = Queue(amazon)
    await queue.make("jobs")
    sink = opened(f"sqs://{REGION}/{ACCOUNT}/jobs?endpoint={amazon}")
    with pytest.raises(SinkRefusedError):
        await sink.send(event(b'{"x": "%s"}' % (b"x" * 2 * 1024 * 1024), largest=1 << 30))
    await sink.close()


async def test_an_endpoint_that_nobody_serves_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody answers the sink says that it is away."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    sink = opened(f"sqs://{REGION}/{ACCOUNT}/jobs?endpoint=http://127.0.0.1:{free_port()}")
    with pytest.raises(SinkAwayError):
        await sink.send(event())
    await sink.close()
