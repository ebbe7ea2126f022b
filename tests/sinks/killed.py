"""The other side of each kind of sink, as a process that can be killed or frozen, and what is kept there.

What keeps nothing when it is killed (the mock cluster in librdkafka, moto) is frozen instead: it takes connections and
answers nothing, until it goes on.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.ports import free_port
from tests.postgres import PostgresServer
from tests.sinks import servers, sides
from tests.sinks.servers import Server
from tests.sinks.test_amazon import ACCOUNT, REGION, Queue
from tests.sinks.test_kafka import consumed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROVIDER = "standard-webhooks"
#: A server that stores what it is sent before it answers.
HTTP = """
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

kept = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        os.write(kept, self.rfile.read(int(self.headers["content-length"])) + b"\\n")
        os.fsync(kept)
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

class Waiting(ThreadingHTTPServer):
    request_queue_size = 128

Waiting(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
#: A program that stores what it is given before it ends.
PROGRAM = """#!/bin/sh
f=$(mktemp -p {folder}) && cat > "$f" && mv "$f" "{folder}/done.${{f##*.}}"
"""
#: Three brokers that speak Kafka's protocol, for as long as this runs; where they listen is written to a file.
KAFKA = """
import pathlib, socket, sys, time
from confluent_kafka import Producer

holder = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 3})
brokers = holder.list_topics(timeout=30).brokers.values()
pathlib.Path(sys.argv[2]).write_text(",".join(f"{one.host}:{one.port}" for one in brokers))
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    while True:
        time.sleep(60)
"""


#: Where a team makes its broker of taskiq. (Those in packages want another client of Redis than arq does.)
TASKIQ = """
from redis.asyncio import Redis
from taskiq import AsyncBroker

class Broker(AsyncBroker):
    async def startup(self):
        await super().startup()
        self.redis = Redis(port={port})

    async def kick(self, message):
        await self.redis.lpush("jobs", message.message)

    async def listen(self):
        while True:
            yield (await self.redis.brpop(["jobs"]))[1]

broker = Broker()
"""


class Killed(ABC):
    """One other side."""

    #: Whether it holds one of two events with one id.
    dedupes = False
    #: Whether what was confirmed is there after it was killed; else it is frozen.
    durable = True
    server: Server | None = None
    environ: dict[str, str] = {}
    to: str

    async def prepare(self) -> None:  # noqa: B027  (most need nothing)
        """Make what the sink expects to be there."""

    @abstractmethod
    async def names(self) -> list[str]:
        """The names in the results of the events that arrived."""

    def strike(self) -> None:
        """Kill it, or freeze it."""
        if self.server is not None:
            self.server.kill() if self.durable else self.server.freeze()

    def mend(self) -> None:
        """Start it again, or let it go on."""
        if self.server is not None:
            self.server.start() if self.durable else self.server.thaw()


def _name(event: dict[str, Any]) -> str:
    return str(event["data"]["result"]["name"])


class Side(Killed):
    """One that the contract's tests know."""

    def __init__(self, side: sides.Side) -> None:
        self._side = side
        self.to, self.dedupes, self.server = side.to, side.dedupes, side.server

    async def prepare(self) -> None:
        """Make it."""
        await self._side.prepare()

    async def names(self) -> list[str]:
        """The names of what arrived."""
        return [data["result"]["name"] for _, data in await self._side.received()]


class Rabbit(Side):
    """A queue of RabbitMQ; its password stands in no file."""

    environ = {"RABBIT_PASSWORD": "guest"}

    def __init__(self, side: sides.Rabbit) -> None:
        super().__init__(side)
        self.to = side.to.replace("guest:guest@", "guest:{env:RABBIT_PASSWORD}@")


class Http(Killed):
    """A server that stores what it is sent."""

    def __init__(self, server: Server, port: int, kept: Path) -> None:
        self.server, self._kept = server, kept
        self.to = f"http://127.0.0.1:{port}/hook"

    async def names(self) -> list[str]:
        """The names of what arrived."""
        lines = self._kept.read_bytes().splitlines() if self._kept.exists() else []
        return [json.loads(one)["result"]["name"] for one in lines]


class Files(Killed):
    """A file of lines, or a program that makes a file of each event: nobody but us is there to be killed."""

    def __init__(self, to: str, folder: Path, pattern: str) -> None:
        self.to, self._folder, self._pattern = to, folder, pattern

    async def names(self) -> list[str]:
        """The names of what arrived."""
        texts = [one.read_bytes() for one in self._folder.glob(self._pattern)]
        # What was killed in the middle of a line left half of one, which was not confirmed.
        return [_name(found) for text in texts for line in text.splitlines() if (found := _whole(line))]


def _whole(line: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        found: dict[str, Any] = json.loads(line)
        return found
    return None


class Queued(Killed):
    """A task queue on Valkey: what waits there for its workers."""

    def __init__(self, server: Server, kind: str, folder: Path) -> None:
        self.server, self._kind = server, kind
        self.dedupes = kind == "arq"
        queue = "" if kind == "arq" else "&queue=jobs"
        self.to = f"{kind}+redis://127.0.0.1:{server.port}/0?task=on_job{queue}"
        if kind == "taskiq":
            (folder / "team_broker.py").write_text(TASKIQ.format(port=server.port))
            self.environ = {"PYTHONPATH": str(folder)}
            self.to = "taskiq:team_broker:broker?task=on_job"

    async def names(self) -> list[str]:
        """The names of what arrived."""
        import redis.asyncio  # noqa: PLC0415

        assert self.server is not None
        client = redis.asyncio.Redis(port=self.server.port)
        try:
            return [_name(one) for one in await self._events(client)]
        finally:
            await client.aclose()

    async def _events(self, client: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        match self._kind:
            case "celery":
                waiting = [json.loads(one) for one in await client.lrange("jobs", 0, -1)]
                return [json.loads(base64.b64decode(one["body"]))[0][0] for one in waiting]
            case "dramatiq":
                return [json.loads(one)["args"][0] for one in await client.hvals("dramatiq:jobs.msgs")]
            case "taskiq":
                return [json.loads(one)["args"][0] for one in await client.lrange("jobs", 0, -1)]
        from arq.jobs import deserialize_job  # noqa: PLC0415

        keys = [one async for one in client.scan_iter("arq:job:*", count=1000)]
        found = [deserialize_job(one) for one in (await client.mget(keys) if keys else [])]
        return [one.args[0] for one in found]


class Kafka(Killed):
    """A topic of a mock cluster."""

    durable = False

    def __init__(self, server: Server, brokers: str) -> None:
        self.server, self._brokers = server, brokers
        self.to = f"kafka://{brokers}/jobs"
        self._seen: list[str] = []

    async def names(self) -> list[str]:
        """The names of what arrived."""
        self._seen += await asyncio.to_thread(self._more)
        return self._seen

    def _more(self) -> list[str]:
        return [json.loads(value)["result"]["name"] for _, _, value in consumed(self._brokers, "jobs", None)]


class Amazon(Killed):
    """A queue of moto's, or a topic that it subscribes to."""

    durable = False
    environ = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_MAX_ATTEMPTS": "1"}

    def __init__(self, server: Server, kind: str) -> None:
        self.server, self._kind = server, kind
        self._endpoint = f"http://127.0.0.1:{server.port}"
        self._queue = Queue(self._endpoint)
        self._url = ""
        self._seen: list[str] = []
        self.to = f"{kind}://{REGION}/{ACCOUNT}/jobs?endpoint={self._endpoint}"

    async def prepare(self) -> None:
        """Make it."""
        self._url = await self._queue.make("jobs")
        if self._kind == "sns":
            async with self._queue.client("sns") as client:
                topic = (await client.create_topic(Name="jobs"))["TopicArn"]
                await client.subscribe(
                    TopicArn=topic,
                    Protocol="sqs",
                    Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:jobs",
                    Attributes={"RawMessageDelivery": "true"},
                )

    async def names(self) -> list[str]:
        """The names of what arrived."""
        self._seen += [_name(one) for one in await self._queue.messages(self._url)]
        return self._seen


class Procrastinate(Killed):
    """A queue in a PostgreSQL of its own."""

    dedupes = True

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres
        self._url = postgres.create()
        self.to = f"procrastinate+{self._url}?task=on_job&queue=jobs"

    async def prepare(self) -> None:
        """Make its tables."""
        from procrastinate import App, PsycopgConnector  # noqa: PLC0415

        async with App(connector=PsycopgConnector(conninfo=self._url)).open_async() as app:
            await app.schema_manager.apply_schema_async()

    async def names(self) -> list[str]:
        """The names of what waits."""
        async with await psycopg.AsyncConnection.connect(self._url) as connection:
            found = await (await connection.execute("SELECT args FROM procrastinate_jobs")).fetchall()
        return [_name(row[0]["event"]) for row in found]

    def strike(self) -> None:
        """End it as a power cut would."""
        self._postgres.stop("immediate")

    def mend(self) -> None:
        """Start it again."""
        self._postgres.start()


KINDS = (
    "nats", "redis", "rabbit", "http", "file", "command", "kafka", "sqs", "sns", "celery", "dramatiq", "arq",
    "taskiq", "procrastinate",
)  # fmt: skip


@contextlib.contextmanager
def killed(kind: str, folder: Path) -> Iterator[Killed]:
    """The other side of *kind*, running."""
    folder.mkdir()
    match kind:
        case "file" | "command":
            yield _files(kind, folder)
        case "rabbit":
            if not servers.RABBIT.exists():
                pytest.skip("RabbitMQ is not installed: apt-get install rabbitmq-server")
            with servers.rabbit(folder) as rabbit:
                yield Rabbit(sides.Rabbit(rabbit))
        case "procrastinate":
            with PostgresServer(folder, durable=True) as postgres:
                yield Procrastinate(postgres)
        case _:
            with _server(kind, folder) as server:
                yield _side(kind, folder, server)


def _files(kind: str, folder: Path) -> Killed:
    if kind == "file":
        return Files(f"file://{folder}/jobs.jsonl", folder, "*.jsonl")
    program = folder / "program"
    program.write_text(PROGRAM.format(folder=folder))
    program.chmod(0o755)
    return Files(f"command:{program}", folder, "done.*")


def _side(kind: str, folder: Path, server: Server) -> Killed:
    match kind:
        case "nats":
            return Side(sides.Nats(server, provider=PROVIDER))
        case "redis":
            return Side(sides.Redis(server, provider=PROVIDER))
        case "http":
            return Http(server, server.port, folder / "kept")
        case "kafka":
            return Kafka(server, (folder / "brokers").read_text())
        case "sqs" | "sns":
            return Amazon(server, kind)
    return Queued(server, kind, folder)


def _server(kind: str, folder: Path) -> Server:
    port = free_port()
    match kind:
        case "nats":
            return servers.nats(folder)
        case "http":
            command = ["-c", HTTP, str(port), str(folder / "kept")]
        case "kafka":
            command = ["-c", KAFKA, str(port), str(folder / "brokers")]
        case "sqs" | "sns":
            command = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        case _:
            return servers.valkey(folder)
    return Server([sys.executable, *command], port=port, folder=folder)
