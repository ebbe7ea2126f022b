"""Somebody opens a stream of the feed and never reads it: over real sockets, under our server and under another's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Literal

import pytest
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from receiver.simulator.embedded import listen
from receiver.wire import stream
from receiver.wire.server import server
from tests.path.world import until

from .conftest import TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .conftest import Site

#: What the kernel is to hold of what was not read; by itself it takes megabytes.
KERNEL = 4096
#: Seconds that a reader may take nothing, in these tests.
PATIENCE = 2.0
JOBS = 20
#: Bytes of metadata that each completion carries.
EACH = 30_000


class Counted:
    """The application in the midst of a host of its own, and how much of its answers the host was given."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.given = 0
        #: Requests that are being answered.
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; who starts and stops the receiver is another server."""
        if scope["type"] == "lifespan":
            for name in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{name}.complete"})
            return

        async def counting(message: Message) -> None:
            await send(message)
            self.given += len(message.get("body", b""))

        self.open += 1
        try:
            await self._app(scope, receive, counting)
        finally:
            self.open -= 1


@contextlib.asynccontextmanager
async def hosted(
    app: ASGIApp, host: Literal["serve", "httptools", "h11"]
) -> AsyncIterator[tuple[uvicorn.Server, int, str]]:
    """Serve *app* as ``receiver serve`` does, or mounted in an application under plain uvicorn."""
    listener = listen("127.0.0.1", 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)
    if host == "serve":
        serving, root = server(app, host="127.0.0.1", port=0, receive_timeout=10), ""
    else:
        mounted = Starlette(routes=[Mount("/hooks", app=app)])
        config = uvicorn.Config(
            mounted, http=host, lifespan="off", log_config=None, timeout_graceful_shutdown=1
        )
        serving, root = uvicorn.Server(config), "/hooks"
    running = asyncio.create_task(serving.serve(sockets=[listener]))
    try:
        while not serving.started and not running.done():  # noqa: ASYNC110  (uvicorn tells nobody)
            await asyncio.sleep(0.005)
        yield serving, listener.getsockname()[1], root
    finally:
        serving.should_exit = True
        await running


async def opened(port: int, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream, asked for by somebody who has not read anything yet."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL)
    peer.setblocking(False)
    await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", port))
    # A limit of one byte has the reader stop the transport as soon as anything is there.
    reader, writer = await asyncio.open_connection(sock=peer, limit=1)
    asked = f"GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\naccept: text/event-stream\r\n\r\n"
    writer.write(asked.encode())
    return reader, writer


@pytest.fixture
async def told(site: Site) -> Site:
    """A receiver whose feed is longer than all buffers together."""
    jobs = [await site.submit("perplexity-webhook", metadata={"text": "x" * EACH}) for _ in range(JOBS)]
    for job in jobs:
        site.sim.release(job["remote_id"])
    for job in jobs:
        await site.until(f"/v1/jobs/{job['id']}", lambda found: found["ended_at"])
    return site


@pytest.mark.parametrize("host", ["serve", "httptools", "h11"])
async def test_who_never_reads_a_stream_is_hung_up_on(
    told: Site, host: Literal["serve", "httptools", "h11"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends in bounded time, little was held for it meanwhile, and who reads is served on."""
    monkeypatch.setattr(stream, "PATIENCE", PATIENCE)
    app = Counted(told.receiver.asgi)
    async with hosted(app, host) as (serving, port, root), asyncio.timeout(60):
        with structlog.testing.capture_logs() as lines:
            silent, writer = await opened(port, f"{root}/v1/completions")
            await until(lambda: app.given > 0)
            await until(lambda: not (app.open or serving.server_state.connections))
        assert [one["event"] for one in lines if one["log_level"] != "debug"] == ["stream_not_read"]
        assert app.given < JOBS * EACH / 2
        with contextlib.suppress(ConnectionError):
            while piece := await silent.read(65536):
                assert b"completion" in piece or b"x" in piece
        writer.close()
        app.given = 0
        reader, writer = await opened(port, f"{root}/v1/completions")
        heard = 0
        while heard < JOBS * EACH:
            piece = await reader.read(65536)
            assert piece, f"hung up on after {heard} bytes"
            heard += len(piece)
        # It has nothing to read for longer than one may read nothing, which is another matter.
        await asyncio.sleep(2 * PATIENCE)
        assert app.open == 1
        writer.close()


async def test_who_reads_slowly_and_steadily_hears_all_of_a_large_event() -> None:
    """All of it takes longer than one may read nothing; each piece of it does not."""
    size = 800_000

    async def events() -> AsyncIterator[bytes]:
        yield b"data: %b\n\n" % (b"x" * size)
        # That there is room for this one is known only once the large one has been taken.
        yield b"data: !\n\n"
        await asyncio.Event().wait()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await stream.Stream(events(), headers={}, patience=2.5)(scope, receive, send)

    async with hosted(Counted(app), "serve") as (_, port, root), asyncio.timeout(60):
        reader, writer = await opened(port, f"{root}/")
        heard, last = 0, False
        while not last:
            piece = await reader.read(8192)
            assert piece, f"hung up on after {heard} bytes"
            heard += piece.count(b"x")
            last = b"!" in piece
            await asyncio.sleep(0.03)
        assert heard >= size
        writer.close()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_stream_says_once_how_its_connection_ends(site: Site, version: str, method: str) -> None:
    """To HTTP/1.0 its end is the end of the connection, and nothing else is said; HEAD opens no stream."""
    async with hosted(Counted(site.receiver.asgi), "serve") as (_, port, root), asyncio.timeout(40):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        asked = (
            f"{method} {root}/v1/completions HTTP/{version}\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\n"
        )
        writer.write(f"{asked}accept: text/event-stream\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b"content-type: text/event-stream" in head
        assert b"connection: keep-alive" not in head
        framed = b"transfer-encoding: chunked" in head
        assert framed == ((version, method) == ("1.1", "GET"))
        if version == "1.0":
            assert head.count(b"connection: close") == 1
        if method == "GET":
            told = await reader.readuntil(b"retry: 2000\n\n")
            assert told == (b"d\r\n" if framed else b"") + b"retry: 2000\n\n"
        elif version == "1.0":
            assert await reader.read() == b""
        writer.close()
