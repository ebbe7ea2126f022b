"""Connections to providers: read no further than is stored, used again while they live, ended when we end."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from receiver.core.asking.exchange import HttpResponse
from receiver.core.errors import NoAnswerError
from receiver.outbound.client import Outbound
from receiver.storage.results import CHUNK
from tests.certificates import certificate

from .stub import Asked, Reply, stub
from .test_outbound import described, get, outbound

_SIZE = 24 * 1024 * 1024
_LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
Loop = Callable[[], asyncio.AbstractEventLoop]


@contextlib.contextmanager
def pouring(context: ssl.SSLContext | None) -> Iterator[str]:
    """A provider that sends one large result as fast as it is taken, from a thread; where it is."""
    listener = socket.create_server(("127.0.0.1", 0))
    piece = memoryview(bytes(CHUNK))

    def pour() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as plain:
            to = plain if context is None else context.wrap_socket(plain, server_side=True)
            with to:
                to.recv(65536)
                to.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % _SIZE)
                for _ in range(_SIZE // CHUNK):
                    to.sendall(piece)

    thread = threading.Thread(target=pour)
    thread.start()
    try:
        port = listener.getsockname()[1]
        yield f"http://127.0.0.1:{port}" if context is None else f"https://localhost:{port}"
    finally:
        listener.close()
        thread.join()


@_LOOPS
@pytest.mark.parametrize("tls", [False, True])
def test_a_result_is_read_no_further_than_it_is_stored(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tls: bool
) -> None:
    """However fast a provider sends and however slow commits are, of one result about a megabyte is in memory."""
    trusted, context = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    most = 0

    async def sink(_part: int, number: int, _content: bytes) -> None:
        nonlocal most
        if number == 0:
            # From here on: what is loaded once does not count.
            tracemalloc.start()
        await asyncio.sleep(0.005)
        most = max(most, tracemalloc.get_traced_memory()[1])

    async def fetch(url: str) -> HttpResponse:
        provider = described("https://api.example.com").at(url)
        # Memory that is traced makes it slow.
        client = outbound(provider, max_result=_SIZE, patience=60)
        try:
            return await client.send(provider, get(f"{url}/x"), sink=sink)
        finally:
            await client.close()

    try:
        with pouring(context if tls else None) as url, asyncio.Runner(loop_factory=loop) as runner:
            held = runner.run(fetch(url)).held
    finally:
        tracemalloc.stop()
    assert held is not None
    assert held.size == _SIZE
    assert most < 5 * CHUNK


@contextlib.asynccontextmanager
async def served(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[Outbound, Callable[[], Awaitable[bytes]]]]:
    """A provider that treats each connection so; a client, and what asks with it for an answer's body."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    provider = described("https://api.example.com").at(url)
    client = outbound(provider)

    async def ask() -> bytes:
        return (await client.send(provider, get(f"{url}/x"))).body

    async with server:
        yield client, ask


async def test_a_connection_is_used_again() -> None:
    """Questions that follow one another go over one connection, as long as both sides keep it open."""
    begun, ended = [], asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with served(serve) as (client, ask):
        assert [await ask() for _ in range(3)] == [b"ok"] * 3
        await client.close()
        async with asyncio.timeout(40):
            await ended.wait()
    assert len(begun) == 1


@pytest.mark.parametrize("last", [b"", b"HTTP/1.1 408 Too Slow\r\ncontent-length: 0\r\n\r\n"])
async def test_a_connection_that_ended_meanwhile_is_not_used_again(last: bytes) -> None:
    """Closed by the provider between two questions, with or without a last word: the next one goes over another."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await asyncio.sleep(0.05)
        writer.write(last)
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with served(serve) as (client, ask):
        for _ in range(3):
            ended.clear()
            assert await ask() == b"ok"
            await ended.wait()
            await asyncio.sleep(0.05)
        await client.close()


@_LOOPS
def test_closing_ends_what_is_still_asked(loop: Loop) -> None:
    """Whoever waits for an answer when every connection is closed hears at once that none came."""

    async def ask() -> float:
        asked = asyncio.Event()

        async def silent(_asked: Asked) -> Reply:
            asked.set()
            await asyncio.sleep(30)
            return Reply()

        async with stub(silent) as target:
            provider = described("https://api.example.com").at(target.url)
            client = outbound(provider)
            waiting = asyncio.ensure_future(client.send(provider, get(f"{target.url}/x")))
            await asked.wait()
            began = time.monotonic()
            await client.close()
            with pytest.raises(NoAnswerError):
                await waiting
            return time.monotonic() - began

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(ask()) < 20
