"""The other side of each kind of sink: where to send to, and what arrived there."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from aio_pika.abc import AbstractChannel, AbstractConnection

    from tests.sinks.servers import Server


class Side(ABC):
    """One other side. ``received`` tells (event id, data) of all that is there, in the order of arrival."""

    #: Whether it keeps only one of two events with one id.
    dedupes = False
    server: Server | None = None

    def __init__(self, to: str) -> None:
        self.to = to

    async def prepare(self) -> None:  # noqa: B027  (most need nothing)
        """Make what the sink expects to be there."""

    @abstractmethod
    async def received(self) -> list[tuple[str, Any]]:
        """What arrived: ids and data, parsed if it is JSON, else its content type and its bytes."""


def _of_document(text: bytes | str) -> tuple[str, Any]:
    document = json.loads(text)
    if "data_base64" in document:
        return document["id"], (document["datacontenttype"], base64.b64decode(document["data_base64"]))
    return document["id"], document["data"]


def _of_message(name: str, content_type: str | None, data: bytes) -> tuple[str, Any]:
    return name, json.loads(data) if content_type == "application/json" else (content_type, data)


class File(Side):
    """Lines of a file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"file://{folder}/jobs-{{provider}}.jsonl")
        self._file = folder / "jobs-acme.jsonl"

    async def received(self) -> list[tuple[str, Any]]:
        """What arrived."""
        return (
            [_of_document(line) for line in self._file.read_bytes().splitlines()]
            if self._file.exists()
            else []
        )


class Command(Side):
    """A program that keeps what it is given in files of their own, by number."""

    def __init__(self, folder: Path) -> None:
        self._seen = folder / "seen"
        self._seen.mkdir()
        program = folder / "program"
        program.write_text(
            f'#!/bin/sh\n[ -n "$CE_ID" ] || exit 1\ncat > $(mktemp -p {self._seen})\necho thanks\n'
        )
        program.chmod(0o755)
        super().__init__(f"command:{program}")

    async def received(self) -> list[tuple[str, Any]]:
        """What arrived."""
        return [_of_document(one.read_bytes()) for one in self._seen.iterdir()]


class Http(Side):
    """A server of ours that answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        side = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                side.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
                status, headers = side.answers.pop(0) if side.answers else (202, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "4")
                self.end_headers()
                self.wfile.write(b"said")

            def log_message(self, *_: object) -> None:
                pass

        class Waiting(ThreadingHTTPServer):
            request_queue_size = 128

        self._http = Waiting(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        super().__init__(f"http://127.0.0.1:{self._http.server_port}/hook/{{provider}}")

    def close(self) -> None:
        """Stop it."""
        self._http.shutdown()
        self._http.server_close()

    async def received(self) -> list[tuple[str, Any]]:
        """What arrived."""
        return [
            _of_message(headers["ce-id"], headers["content-type"], body) for headers, body in self.requests
        ]


class Nats(Side):
    """A stream of JetStream."""

    dedupes = True

    def __init__(self, server: Server, *, provider: str = "acme") -> None:
        super().__init__(f"nats://127.0.0.1:{server.port}/jobs.{{provider}}.{{state}}")
        self.server = server
        self.at = f"nats://127.0.0.1:{server.port}"
        self._provider = provider

    async def prepare(self) -> None:
        """Make the stream, or the exchange and its queue."""
        import nats  # noqa: PLC0415

        client = await nats.connect(self.at)
        await client.jetstream().add_stream(name="jobs", subjects=[f"jobs.{self._provider}.>"])
        await client.close()

    async def received(self) -> list[tuple[str, Any]]:
        """What arrived."""
        import nats  # noqa: PLC0415

        client = await nats.connect(self.at)
        stream = client.jetstream()
        count = (await stream.stream_info("jobs")).state.messages
        found = [await stream.get_msg("jobs", number) for number in range(1, count + 1)]
        await client.close()
        heads = [one.headers or {} for one in found]
        return [
            _of_message(head["ce-id"], head["content-type"], one.data or b"")
            for head, one in zip(heads, found, strict=True)
        ]


class Redis(Side):
    """A stream of Valkey."""

    def __init__(self, server: Server, *, provider: str = "acme") -> None:
        super().__init__(f"redis://127.0.0.1:{server.port}/0?stream=jobs.{{provider}}&maxlen=100000")
        self.server = server
        self._stream = f"jobs.{provider}"

    async def received(self) -> list[tuple[str, Any]]:
        """What arrived."""
        import redis.asyncio  # noqa: PLC0415

        client = redis.asyncio.Redis(port=self.server.port)  # type: ignore[union-attr]
        entries = await client.xrange(self._stream)
        await client.aclose()
        return [
            _of_message(fields[b"ce_id"].decode(), fields[b"content-type"].decode(), fields[b"data"])
            for _, fields in entries
        ]


class Rabbit(Side):
    """A queue of RabbitMQ behind an exchange."""

    def __init__(self, server: Server) -> None:
        super().__init__(
            f"amqp://guest:guest@127.0.0.1:{server.port}/?exchange=jobs&routing_key=jobs.{{provider}}"
        )
        self.server = server

    async def connected(self) -> tuple[AbstractConnection, AbstractChannel]:
        """A connection and a channel."""
        import aio_pika  # noqa: PLC0415

        connection = await aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{self.server.port}/")  # type: ignore[union-attr]
        return connection, await connection.channel()

    async def prepare(self) -> None:
        """Make the stream, or the exchange and its queue."""
        connection, channel = await self.connected()
        await channel.queue_delete("jobs")
        exchange = await channel.declare_exchange("jobs", "topic", durable=True)
        queue = await channel.declare_queue("jobs", durable=True)
        await queue.bind(exchange, "jobs.#")
        await connection.close()

    async def received(self) -> list[tuple[str, Any]]:
        """What arrived."""
        connection, channel = await self.connected()
        queue = await channel.declare_queue("jobs", durable=True)
        found = []
        while (message := await queue.get(fail=False)) is not None:
            found.append(_of_message(str(message.headers["ce-id"]), message.content_type, message.body))
        # Nothing is acknowledged, so that all of it is there for whoever looks again.
        await connection.close()
        await asyncio.sleep(0)
        return found
