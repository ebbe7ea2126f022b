"""The server's bounds, with the least application: what a connection may keep open, and for how long."""

import asyncio
import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.wire import connection, server

_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
_PIECE = 16 * 1024
_LONG = 64 * 1024 * 1024
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


async def count(request: Request) -> PlainTextResponse:
    """Answer with the length of the body, after a while."""
    body = await request.body()
    await asyncio.sleep(0.2)
    return PlainTextResponse(f"{len(body)} bytes")


class Flowing:
    """An application with a long answer, which it never lets go of the loop to send; it counts what it has sent."""

    sent = 0

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(_LONG // _PIECE):
                await send({"type": "http.response.body", "body": bytes(_PIECE), "more_body": True})
                self.sent += _PIECE
            await send({"type": "http.response.body"})


@asynccontextmanager
async def connected(
    *, receive_timeout: float = 60, app: ASGIApp | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that counts, or to *app*."""
    app = app or Starlette(routes=[Route("/", count, methods=["POST"])])
    async with serving(app, receive_timeout=receive_timeout) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(60):
                yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def serving(app: ASGIApp, *, receive_timeout: float = 60) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """A server of *app*, and its port."""
    one = server.server(app, host="127.0.0.1", port=0, receive_timeout=receive_timeout)
    task = asyncio.create_task(one.serve())
    while not one.started:  # noqa: ASYNC110  (uvicorn tells nobody)
        await asyncio.sleep(0.01)
    try:
        yield one, one.servers[0].sockets[0].getsockname()[1]
    finally:
        one.should_exit = True
        await task


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The body of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    return await reader.readexactly(length)


async def test_requests_in_a_row_wait_in_bounded_numbers() -> None:
    """One read may hold ten thousand requests: of so many without an answer no more than a hundred wait for theirs."""
    async with connected(app=at_once) as (reader, writer):
        writer.write((_HEAD + b"Content-Length: 0\r\n\r\n") * 500)
        heard = await reader.read()
        assert heard.count(b"HTTP/1.1 200 ") == heard.count(b"HTTP/1.1 ") == 101
        assert heard.count(b"connection: close") == 1


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("requests", [1, 3, 40])
async def test_who_closes_its_side_is_answered(requests: int, *, waits: bool) -> None:
    """All that was asked before, however long that takes: what closes after its last word may be listening still."""
    async with connected(app=None if waits else at_once) as (reader, writer):
        writer.write((_HEAD + b"Content-Length: 2\r\n\r\n{}") * requests)
        writer.write_eof()
        heard = await reader.read()
        assert heard.count(b"HTTP/1.1 200 ") == heard.count(b"HTTP/1.1 ") == requests


async def test_an_upgrade_that_is_not_ours_is_passed_over() -> None:
    """Without a body nothing can be mistaken: the request is answered as any other."""
    async with connected() as (reader, writer):
        writer.write(_HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n")
        assert await answer(reader) == b"0 bytes"


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
    async with connected(receive_timeout=4) as (reader, writer):
        writer.write(_HEAD + b"Content-Length: 1\r\n\r\n1" + _HEAD)
        assert await answer(reader) == b"1 bytes"
        writer.write(b"Content-Length: 2\r\n\r\n22")
        assert await answer(reader) == b"2 bytes"
        writer.write(_HEAD)
        began = asyncio.get_running_loop().time()
        assert await reader.read() == b""
        assert asyncio.get_running_loop().time() - began > 3.9


async def test_a_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an answer it may rest a while, and no longer; a request that takes longer is none of it."""
    monkeypatch.setattr(connection, "_KEEP_ALIVE", 0.1)
    async with connected() as (reader, writer):
        # Together: whoever is slow may come too late with the second.
        writer.write((_HEAD + b"Content-Length: 0\r\n\r\n") * 2)
        for _ in range(2):
            assert await answer(reader) == b"0 bytes"
        assert await reader.read() == b""


async def test_an_answer_is_one_packet() -> None:
    """Its head and its body leave together, and wake whoever waits for them once."""
    async with connected() as (reader, writer):
        for number in range(1, 4):
            writer.write(_HEAD + b"Content-Length: 0\r\n\r\n")
            assert await answer(reader) == b"0 bytes"
            # tcpi_data_segs_in, linux/tcp.h
            info = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
            assert struct.unpack_from("=I", info, 152) == (number,)


async def test_whoever_does_not_read_is_not_sent_more() -> None:
    """What is sent to a connection is gathered only so far: a long answer waits for its reader, not in memory."""
    app = Flowing()
    async with connected(app=app) as (reader, writer):
        writer.write(_HEAD + b"Content-Length: 0\r\n\r\n")
        before = -1
        while app.sent != before:
            before = app.sent
            await asyncio.sleep(0.3)
        # As much as the buffers of two sockets hold, and ours.
        assert 0 < app.sent < _LONG // 2
        received = 0
        while received < _LONG:
            piece = await reader.read(1 << 20)
            assert piece, f"hung up on after {received} bytes"
            received += len(piece)
        assert app.sent == _LONG


class Together:
    """An application that answers all requests in the same turn of the loop, once it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] == "http":
            self.asked += 1
            await self.go.wait()
            await PlainTextResponse("here")(scope, _receive, send)


async def _with_one_reset(delay: int) -> int:
    """Six connections wait for their answers, one is reset; how many of the others hear theirs, and another one."""
    app = Together()
    async with connected(app=app) as (_, writer):
        address = writer.get_extra_info("peername")
        others = [await asyncio.open_connection(*address) for _ in range(6)]
        for _, other in others:
            other.write(_HEAD + b"Content-Length: 0\r\n\r\n")
        while app.asked < len(others):  # noqa: ASYNC110  (it is asked on this very loop)
            await asyncio.sleep(0.01)
        _, gone = others.pop(0)
        copy = gone.get_extra_info("socket").dup()
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.transport.abort()
        await asyncio.sleep(0.05)
        copy.close()
        for _ in range(delay):
            await asyncio.sleep(0)
        app.go.set()
        heard = 0
        for reader, other in others:
            for _ in range(2):
                with suppress(TimeoutError):
                    async with asyncio.timeout(20):
                        heard += await answer(reader) == b"here"
                other.write(_HEAD + b"Content-Length: 0\r\n\r\n")
        for other in (gone, *(other for _, other in others)):
            other.close()
            await other.wait_closed()
        return heard


@pytest.mark.parametrize("delay", range(3))
def test_a_connection_that_is_reset_takes_no_answer_of_another_along(delay: int) -> None:
    """Answers leave together; that one of their connections is gone by then concerns the others in nothing."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(_with_one_reset(delay)) == 10


async def at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without a look at the body."""
    if scope["type"] == "http":
        await PlainTextResponse("no")(scope, receive, send)


async def test_who_is_answered_before_the_body_is_told_that_the_connection_ends() -> None:
    """Or the next request would be sent on a connection that is being closed, and be lost."""
    async with connected(app=at_once) as (reader, writer):
        writer.write(_HEAD + b"Content-Length: 2\r\n\r\n{}")
        assert b"connection: close" not in await reader.readuntil(b"no")
        writer.write(_HEAD + b"Content-Length: 2\r\n\r\n")
        assert b"\r\nconnection: close\r\n" in await reader.read()


async def test_what_was_answered_in_the_turn_of_the_end_is_heard() -> None:
    """A server that is stopped closes its connections; what it has said by then is sent before."""
    stopped: list[uvicorn.Server] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await PlainTextResponse("here")(scope, receive, send)
            for connection in list(stopped[0].server_state.connections):
                connection.shutdown()

    async with serving(app) as (one, port):
        stopped.append(one)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_HEAD + b"Content-Length: 0\r\n\r\n")
        assert await answer(reader) == b"here"
        assert await reader.read() == b""
        writer.close()


async def test_whoever_is_being_answered_hears_that_though_what_follows_is_no_request() -> None:
    """A 400 would be taken for the answer to the callback that was stored, and it would be given up."""
    async with connected() as (reader, writer):
        two = b"".join(_HEAD + b"Content-Length: %d\r\n\r\n" % size + bytes(size) for size in (1, 2))
        writer.write(two + b"no request\r\n\r\n" * 3)
        assert await answer(reader) == b"1 bytes"
        last = await reader.read()
        assert last.startswith(b"HTTP/1.1 200 ")
        assert last.endswith(b"2 bytes")
        assert b"\r\nconnection: close\r\n" in last


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"no host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"more than one host, or length"),
        (b"GET http://[a HTTP/1.1\r\nHost: a\r\n\r\n", b"no address"),
        (_HEAD + b"Transfer-Encoding: chunked\r\n\r\nno chunk", b"Invalid character in chunk size"),
    ],
)
async def test_a_sender_hears_why_it_is_not_understood(sent: bytes, reason: bytes) -> None:
    """In words, and then the connection ends."""
    async with connected() as (reader, writer):
        writer.write(sent)
        head, _, text = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert text == b"Invalid HTTP request: " + reason + b"."


async def test_http_1_0_has_no_host() -> None:
    """It came with 1.1 (RFC 9112, 3.2): a request of 1.0 is taken without, and two of them are refused as ever."""
    async with connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        assert (await reader.read()).endswith(b"\r\n\r\n2 bytes")
    async with connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("space", [" ", "\t", " \t "])
async def test_the_space_around_a_value_is_no_part_of_it(space: str) -> None:
    """On either side (RFC 9112, 5.1): a signature that a proxy wrote so is the one that was sent."""

    async def repeat(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"[{request.headers['x-signature']}]")

    async with connected(app=Starlette(routes=[Route("/", repeat, methods=["POST"])])) as (reader, writer):
        writer.write(_HEAD + f"X-Signature:{space}v1=a b{space}\r\nContent-Length: 0\r\n\r\n".encode())
        assert await answer(reader) == b"[v1=a b]"


async def test_a_body_that_nobody_reads_is_not_kept() -> None:
    """A connection that rests after an answer holds nothing of what it was sent, however small the pieces were."""
    many, size = 20, 30_000
    async with serving(at_once) as (_, port):
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(many):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(_CHUNKED + b"2\r\nxx\r\n" * (size // 2) + b"0\r\n\r\n")
                await reader.readuntil(b"no")
                writer.close()
            assert tracemalloc.get_traced_memory()[0] - before < many * size / 2
        finally:
            tracemalloc.stop()
