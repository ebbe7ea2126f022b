"""Requests that offer to speak something else: the offer is passed over, and the request is taken with its body."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from .test_server import connected, serving

_OFFERS = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAA\r\n",
    b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: eA==\r\n",
    b"Upgrade: h2c, TLS/1.0\r\nConnection: upgrade\r\n",
)
_FRAMINGS = ("length", "chunks", "chunks and a trailer")


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the method, the number of headers and the body."""
    if scope["type"] != "http":
        return
    body, more, count = b"", True, len(scope["headers"])
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    said = b"%b %d %b" % (scope["method"].encode(), count, body)
    length = (b"content-length", b"%d" % len(said))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": said})


def request(offer: bytes, framing: str, body: bytes) -> bytes:
    """One with *offer*; its number of headers is that of the offer and two."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\n" + offer
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (body[:half], body[half:]) if one)
    trailer = b"X-Trailer: y\r\n" if "trailer" in framing else b""
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailer + b"\r\n"


def answers_to(requests: Sequence[bytes], cuts: Sequence[int]) -> list[bytes]:
    """What a server that echoes answers to *requests* in a row, sent in pieces that end where *cuts* say."""

    async def run() -> list[bytes]:
        async with serving(echo) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            sent, last = b"".join(requests), 0
            for cut in [*sorted(cuts), len(sent)]:
                writer.write(sent[last:cut])
                await writer.drain()
                await asyncio.sleep(0)
                last = max(last, cut)
            async with asyncio.timeout(60):
                answers = [await heard(reader) for _ in requests]
            writer.close()
            return answers

    return asyncio.run(run())


async def heard(reader: asyncio.StreamReader) -> bytes:
    """The body of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))


@pytest.mark.parametrize("offer", _OFFERS)
@pytest.mark.parametrize("framing", _FRAMINGS)
@pytest.mark.parametrize("size", [0, 1, 70_000])
async def test_the_request_is_taken_with_its_body(offer: bytes, framing: str, size: int) -> None:
    """And the next one on the same connection, with an offer and without, is read from where it begins."""
    body, count = b"x" * size, offer.count(b"\n") + 2
    async with connected(app=echo) as (reader, writer):
        plain = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
        writer.write(request(offer, framing, body) + plain + request(offer, framing, body))
        assert await heard(reader) == b"POST %d %b" % (count, body)
        assert await heard(reader) == b"PUT 2 {}"
        assert await heard(reader) == b"POST %d %b" % (count, body)


@pytest.mark.parametrize("framing", _FRAMINGS)
async def test_it_may_come_byte_by_byte(framing: str) -> None:
    """Wherever the head is cut, its end is found."""
    async with connected(app=echo) as (reader, writer):
        for one in request(_OFFERS[0], framing, b'{"id":"1"}'):
            writer.write(bytes((one,)))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await heard(reader)).endswith(b'{"id":"1"}')


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 2\r\nContent-Length: 2\r\n",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Content-Length: 2, 3\r\n",
        b"Content-Length: +2\r\n",
        b"Content-Length: -2\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
    ],
)
async def test_an_offer_makes_no_framing_good(framing: bytes) -> None:
    """What two readers could understand differently is refused as without one."""
    async with connected(app=echo) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\n" + _OFFERS[0] + framing + b"\r\n{}")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(
        st.tuples(st.sampled_from((b"", *_OFFERS)), st.sampled_from(_FRAMINGS), st.binary(max_size=40)),
        min_size=1,
        max_size=6,
    ),
    cuts=st.lists(st.integers(0, 2000), max_size=5),
)
def test_a_row_of_requests_is_read_the_same_wherever_it_is_cut(
    requests: list[tuple[bytes, str, bytes]], cuts: list[int]
) -> None:
    """With offers among them or not: each body is its own, and none becomes a request."""
    expected = [b"POST %d %b" % (offer.count(b"\n") + 2, body) for offer, _, body in requests]
    assert answers_to([request(*one) for one in requests], cuts) == expected
