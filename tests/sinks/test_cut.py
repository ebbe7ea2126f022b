"""What a sink says where its connection is cut: at each piece of what its client sends, one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from receiver.sinks.sink import SinkAwayError, SinkFailedError
from tests.sinks import servers, sides
from tests.sinks.killed import Killed, Queued, Side
from tests.sinks.making import event, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

#: More pieces than any client sends for one event, from its first word on.
MOST = 16


@contextlib.contextmanager
def side_of(kind: str, folder: Path) -> Iterator[Killed]:
    """The other side of *kind*, running."""
    folder.mkdir()
    with servers.nats(folder) if kind == "nats" else servers.valkey(folder) as server:
        match kind:
            case "nats":
                yield Side(sides.Nats(server))
            case "redis":
                yield Side(sides.Redis(server))
            case _:
                yield Queued(server, kind, folder)


@contextlib.asynccontextmanager
async def cutting(port: int, *, at: int) -> AsyncIterator[int]:
    """The port of a way to *port* that carries fewer than *at* pieces there, and hangs up at the one after them."""
    carried = 0
    carrying: set[asyncio.Task[None]] = set()

    async def back(there: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        while piece := await there.read(65536):
            near.write(piece)

    async def carry(reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        nonlocal carried
        there, far = await asyncio.open_connection("127.0.0.1", port)
        answering = asyncio.create_task(back(there, near))
        try:
            while piece := await reader.read(65536):
                carried += 1
                if carried == at:
                    break
                far.write(piece)
        finally:
            answering.cancel()
            near.transport.abort()
            far.transport.abort()

    def carry_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying.add(asyncio.create_task(carry(reader, writer)))

    async with await asyncio.start_server(carry_on, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]
        # Some clients keep a connection for as long as their process lives.
        for one in carrying:
            one.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)


@pytest.mark.parametrize("kind", ["nats", "redis", "celery", "dramatiq", "arq"])
async def test_what_is_told_as_sent_is_there(tmp_path: Path, kind: str) -> None:
    """A connection that is cut at any word of the client costs an attempt, and never the event."""
    told, refused = set[str](), set[str]()
    with side_of(kind, tmp_path / "side") as side:
        assert side.server is not None
        await side.prepare()
        for at in range(1, MOST + 1):
            name = f"cut at {at}"
            async with cutting(side.server.port, at=at) as port:
                sink = opened(side.to.replace(f":{side.server.port}/", f":{port}/"))
                try:
                    content = json.dumps({"name": name}).encode()
                    await asyncio.wait_for(sink.send(event(content, number=at)), 40)
                except (SinkAwayError, SinkFailedError):
                    refused.add(name)
                else:
                    told.add(name)
                finally:
                    await sink.close()
        there = set(await side.names())
    assert told
    assert refused
    assert told - there == set()
