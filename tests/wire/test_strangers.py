"""Connections that never proved anything, and the share that they may rest in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from starlette.types import Receive, Scope, Send

from receiver.wire import server, strangers
from receiver.wire.strangers import Strangers, prove

from .test_server import serving

#: Seconds until what is waited for will not come any more; a busy machine needs many.
PATIENCE = 40.0
_ASK = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
_OPEN: list[asyncio.StreamWriter] = []
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def door(scope: Scope, _receive: Receive, send: Send) -> None:
    """Know one path, which proves something; another is answered after a while, all others are unknown."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/known":
        prove(scope)
    if scope["path"] == "/slow":
        await asyncio.sleep(3)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share of four, and no grace but a tenth of a second."""
    monkeypatch.setattr(server, "Strangers", lambda: Strangers(4))
    monkeypatch.setattr(strangers, "_GRACE", 0.1)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where the door is."""
    async with serving(door) as (_, port):
        yield port
        for writer in _OPEN:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        _OPEN.clear()


async def connect(port: int) -> Streams:
    """A connection, closed at the end of the test."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    _OPEN.append(writer)
    return reader, writer


async def asked(port: int, path: bytes) -> Streams:
    """A connection that has asked for *path*, and rests."""
    reader, writer = await connect(port)
    writer.write(_ASK % path)
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def open_still(streams: list[Streams]) -> list[bool]:
    """Which of them are answered once more."""
    still = []
    for reader, writer in streams:
        try:
            writer.write(_ASK % b"/known")
            still.append((await reader.read(9)) == b"HTTP/1.1 ")
        except ConnectionError:
            still.append(False)
    return still


async def test_those_who_proved_nothing_have_a_share(port: int) -> None:
    """Ten have asked for what is unknown: the four that came last rest on."""
    streams = [await asked(port, b"/unknown") for _ in range(10)]
    assert await open_still(streams) == [False] * 6 + [True] * 4


async def test_those_who_never_said_a_word_are_among_them(port: int) -> None:
    """Silence from the beginning, or half a head, takes room like a question without an answer."""
    streams = []
    for number in range(8):
        reader, writer = await connect(port)
        if number % 2:
            writer.write(b"POST /known HTTP/1.1\r\n")
        streams.append((reader, writer))
        await asyncio.sleep(0.12)
    gone = [await asyncio.wait_for(reader.read(), PATIENCE) for reader, _ in streams[:4]]
    assert gone == [b""] * 4


async def test_those_who_are_silent_leave_though_nobody_comes_after_them(port: int) -> None:
    """There may be no room left in which somebody could come: once they have had their time, it is looked again."""
    streams = [await connect(port) for _ in range(12)]
    gone = [await asyncio.wait_for(reader.read(), PATIENCE) for reader, _ in streams[:8]]
    assert gone == [b""] * 8


async def test_whoever_proved_something_rests_as_long_as_ever(port: int) -> None:
    """However many strangers come and go."""
    known = [await asked(port, b"/known") for _ in range(8)]
    for _ in range(8):
        await asked(port, b"/unknown")
        await asyncio.sleep(0.12)
    assert await open_still(known) == [True] * 8


async def test_whoever_is_being_answered_is_not_sent_away(port: int) -> None:
    """A request that is under way ends before its connection does."""
    slow = []
    for _ in range(6):
        reader, writer = await connect(port)
        writer.write(_ASK % b"/slow")
        slow.append((reader, writer))
    for _ in range(8):
        await asked(port, b"/unknown")
        await asyncio.sleep(0.12)
    for reader, _ in slow:
        assert (await reader.read(12)) == b"HTTP/1.1 200"


async def test_many_at_once_are_let_in(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm of senders is no crowd of strangers: each has time to say who it is."""
    monkeypatch.setattr(strangers, "_GRACE", PATIENCE)
    streams = await asyncio.gather(*(asked(port, b"/known") for _ in range(100)))
    assert await open_still(list(streams)) == [True] * 100
