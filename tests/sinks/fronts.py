"""Servers with TLS in front of those without: what a broker of a company looks like, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    Spoken = Callable[
        [asyncio.StreamReader, asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamWriter],
        Awaitable[object],
    ]

#: Kinds of Kafka's requests (https://kafka.apache.org/protocol#protocol_api_keys), and its code for a wrong password.
_HANDSHAKE, _VERSIONS, _AUTHENTICATE = 17, 18, 36
_UNWANTED = 58
_HOST = b"127.0.0.1"
#: As long as the host, so that it can stand in its place.
_NAME = b"localhost"


@contextlib.asynccontextmanager
async def front(
    port: int, context: ssl.SSLContext, spoken: Callable[[int], Spoken] | None = None
) -> AsyncIterator[int]:
    """Take TLS connections, and hand what they say on to *port*, as bytes or as *spoken*; the port to connect to."""
    serving = set[asyncio.Task[object]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        behind, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                if spoken is None:
                    await asyncio.gather(_piped(reader, back), _piped(behind, writer))
                else:
                    await spoken(taken)(reader, writer, behind, back)
        finally:
            for one in (back, writer):
                one.transport.abort()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    server = await asyncio.start_server(serve, ["127.0.0.1"], 0, ssl=context)
    taken: int = server.sockets[0].getsockname()[1]
    try:
        yield taken
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.close()


def kafka(port: int, *, user: str, password: str) -> Callable[[int], Spoken]:
    """Kafka's words between a client and the mock broker at *port*, which knows neither TLS nor SASL.

    The broker's name for itself is replaced by ours, and the sign-in is answered here.
    """
    wanted = f"\0{user}\0{password}".encode()

    def spoken(taken: int) -> Spoken:
        theirs, ours = _HOST + struct.pack(">i", port), _NAME + struct.pack(">i", taken)

        async def talk(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            behind: asyncio.StreamReader,
            back: asyncio.StreamWriter,
        ) -> None:
            kinds: dict[bytes, int] = {}

            async def answers() -> None:
                while True:
                    frame = (await _frame(behind)).replace(theirs, ours)
                    if kinds.pop(frame[:4], None) == _VERSIONS:
                        frame = _signing_in(frame)
                    _say(writer, frame)

            answering = asyncio.create_task(answers())
            try:
                while True:
                    frame = await _frame(reader)
                    kind, number = struct.unpack(">h", frame[:2])[0], frame[4:8]
                    if kind == _HANDSHAKE:
                        _say(writer, number + struct.pack(">hih", 0, 1, 5) + b"PLAIN")
                    elif kind == _AUTHENTICATE:
                        code = 0 if wanted in frame else _UNWANTED
                        _say(writer, number + struct.pack(">hhiq", code, -1, 0, 0))
                    else:
                        kinds[number] = kind
                        _say(back, frame)
            finally:
                answering.cancel()

        return talk

    return spoken


def _signing_in(frame: bytes) -> bytes:
    """An answer that lists what is understood (version 0), with the two kinds of requests that sign in."""
    number, code, count = frame[:4], frame[4:6], struct.unpack(">i", frame[6:10])[0]
    more = struct.pack(">hhh", _HANDSHAKE, 1, 1) + struct.pack(">hhh", _AUTHENTICATE, 1, 1)
    return number + code + struct.pack(">i", count + 2) + frame[10:] + more


async def _frame(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])


def _say(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)
