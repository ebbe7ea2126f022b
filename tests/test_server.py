"""The server's bounds, with the least application: what a connection may keep open, and for how long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from receiver import server

_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


async def count(request: Request) -> PlainTextResponse:
    """Answer with the length of the body, after a while."""
    body = await request.body()
    await asyncio.sleep(0.2)
    return PlainTextResponse(f"{len(body)} bytes")


@asynccontextmanager
async def connected(
    *, receive_timeout: float = 5
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that counts."""
    app = Starlette(routes=[Route("/", count, methods=["POST"])])
    serving = server.server(app, host="127.0.0.1", port=0, receive_timeout=receive_timeout)
    task = asyncio.create_task(serving.serve())
    while not serving.started:  # noqa: ASYNC110  (uvicorn tells nobody)
        await asyncio.sleep(0.01)
    port = serving.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        serving.should_exit = True
        await task


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The body of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    return await reader.readexactly(length)


async def test_a_trailer_without_an_end_ends_the_connection() -> None:
    """One value of any length is not collected until the body's time is up."""
    async with connected(receive_timeout=60) as (reader, writer):
        # Whoever is still sending may hear of the end before the answer that came with it.
        with suppress(ConnectionError):
            writer.write(_CHUNKED + b"3\r\nabc\r\n0\r\nX: " + b"y" * 1_000_000)
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_a_body_in_many_pieces_is_no_trailer() -> None:
    """However many chunks, each in pieces of its own: what carries a body is not held against its sender."""
    async with connected() as (reader, writer):
        writer.write(_CHUNKED)
        for _ in range(300):
            for piece in (b"400\r\n", b"x" * 1024, b"\r\n"):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        writer.write(b"0\r\nX: y\r\n\r\n")
        assert await answer(reader) == b"307200 bytes"


async def test_the_end_of_one_request_leaves_the_next_its_time() -> None:
    """Two in a row, the second's body still on its way when the first is answered: both are answered."""
    async with connected() as (reader, writer):
        writer.write(_HEAD + b"Content-Length: 1\r\n\r\n1" + _HEAD + b"Content-Length: 4\r\n\r\n22")
        assert await answer(reader) == b"1 bytes"
        writer.write(b"22")
        assert await answer(reader) == b"4 bytes"
        writer.write(_HEAD + b"Content-Length: 3\r\n\r\n333")
        assert await answer(reader) == b"3 bytes"


async def test_a_head_that_began_with_the_last_request_has_its_time() -> None:
    """It counts from its first byte, and the answer to the request before it does not end it."""
    async with connected(receive_timeout=1) as (reader, writer):
        writer.write(_HEAD + b"Content-Length: 1\r\n\r\n1" + _HEAD)
        assert await answer(reader) == b"1 bytes"
        writer.write(b"Content-Length: 2\r\n\r\n22")
        assert await answer(reader) == b"2 bytes"
        writer.write(_HEAD)
        began = asyncio.get_running_loop().time()
        assert await reader.read() == b""
        assert 0.9 < asyncio.get_running_loop().time() - began < 2.5


async def test_a_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an answer it may rest a while, and no longer; a request that takes longer is none of it."""
    monkeypatch.setattr(server, "_KEEP_ALIVE", 0.1)
    async with connected(receive_timeout=1) as (reader, writer):
        for _ in range(2):
            writer.write(_HEAD + b"Content-Length: 0\r\n\r\n")
            assert await answer(reader) == b"0 bytes"
        assert await reader.read() == b""
