"""SQS and SNS, tried against moto's server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiobotocore.session import get_session
from moto.server import ThreadedMotoServer

from receiver.sinks.sink import SinkAwayError, SinkFailedError, SinkRefusedError
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
        return get_session().create_client(service, region_name=REGION, endpoint_url=self._endpoint)

    async def make(self, name: str) -> str:
        """Make a queue; its address."""
        attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        async with self.client() as client:
            made = await client.create_queue(QueueName=name, Attributes=attributes)
        return str(made["QueueUrl"])

    async def messages(self, url: str) -> list[dict[str, Any]]:
        """The bodies of what is in it."""
        found: list[dict[str, Any]] = []
        async with self.client() as client:
            while more := (await client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)).get(
                "Messages"
            ):
                found += [json.loads(one["Body"]) for one in more]
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


async def test_an_event_is_published_to_a_topic(amazon: str) -> None:
    """An event at a topic reaches the queue that subscribed to it."""
    queue = Queue(amazon)
    url = await queue.make("jobs")
    async with queue.client("sns") as client:
        topic = (await client.create_topic(Name="jobs"))["TopicArn"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:jobs"
        await client.subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"}
        )
    sink = opened(f"sns://{REGION}/{ACCOUNT}/jobs?endpoint={amazon}")
    assert (await sink.send(event())).startswith("message ")
    await sink.close()
    assert [one["id"] for one in await queue.messages(url)] == [event().id]


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
