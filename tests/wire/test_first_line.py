"""First lines: any token is a method, an address may have accents, and the request is taken with its body."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from receiver.wire.first_line import last_begin

from .test_offers import answers_to, echo, heard, request
from .test_server import connected

_METHODS = (
    b"BREW",
    b"post",
    b"Post",
    b"POSTED",
    b"P",
    b"PRI",
    b"SOURCE",
    b"DESCRIBE",
    b"PLAY",
    b"QUERY",
    b"TRACE",
    b"OPTIONS",
    b"CONNECT",
    b"X-Y_z.1!#$%&'*+^`|~",
    b"M" * 100,
)
_TOKENS = st.text("!#$%&'*+-.^_`|~0123456789ABCDEPOSTabcdepost", min_size=1, max_size=12)


def with_method(method: bytes, framing: str, body: bytes) -> bytes:
    """A request; its number of headers is two."""
    return method + request(b"", framing, body).removeprefix(b"POST")


@pytest.mark.parametrize("method", _METHODS)
@pytest.mark.parametrize("framing", ["length", "chunks and a trailer"])
async def test_any_token_is_a_method(method: bytes, framing: str) -> None:
    """What answers is told it as it was sent, and the body; the next request is read from where it begins."""
    async with connected(app=echo) as (reader, writer):
        writer.write(with_method(method, framing, b"{}") + with_method(b"PUT", framing, b"[]"))
        assert await heard(reader) == method + b" 2 {}"
        assert await heard(reader) == b"PUT 2 []"


@pytest.mark.parametrize("method", _METHODS)
async def test_it_may_come_byte_by_byte(method: bytes) -> None:
    """Wherever it is cut, and with the lines before it that HTTP passes over."""
    async with connected(app=echo) as (reader, writer):
        for one in b"\r\n" + with_method(method, "length", b"{}"):
            writer.write(bytes((one,)))
            await writer.drain()
            await asyncio.sleep(0)
        assert await heard(reader) == method + b" 2 {}"


@pytest.mark.parametrize("method", [b"POST", b"BREW"])
@pytest.mark.parametrize("pieces", [1, 1000])
async def test_an_address_may_have_accents_as_they_are(method: bytes, pieces: int) -> None:
    """In UTF-8 or any other charset: it is taken as if they were written with a per cent sign."""

    async def tell(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            said = b"|".join((scope["method"].encode(), scope["raw_path"], scope["query_string"]))
            length = (b"content-length", b"%d" % len(said))
            await send({"type": "http.response.start", "status": 200, "headers": [length]})
            await send({"type": "http.response.body", "body": said})

    sent = method + b" /a\xe9?city=S\xc3\xa3o%20Paulo&x=\xff HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    async with connected(app=tell) as (reader, writer):
        for start in range(0, len(sent), max(1, len(sent) // pieces)):
            writer.write(sent[start : start + max(1, len(sent) // pieces)])
            await writer.drain()
            await asyncio.sleep(0)
        assert await heard(reader) == method + b"|/a%E9|city=S%C3%A3o%20Paulo&x=%FF"


@pytest.mark.parametrize("method", [b"P@ST", b"P(OST)", b"\xe9", b'"POST"', b"", b"M" * 101, b"\x16\x03\x01"])
async def test_what_is_no_token_is_no_method(method: bytes) -> None:
    """400, and the connection ends."""
    async with connected(app=echo) as (reader, writer):
        writer.write(with_method(method, "length", b"{}"))
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"BREW / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"BREW  / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"BREW\r\nHost: a\r\n\r\n",
        b"BREW / BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHo st: a\r\n\r\n",
        b"POST /\xe9 \xe9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /\xe9\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_a_method_makes_no_head_good(sent: bytes) -> None:
    """What is refused with a method that the parser knows is refused with any."""
    async with connected(app=echo) as (reader, writer):
        writer.write(sent)
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_a_method_that_never_ends_ends_the_connection() -> None:
    """The time for a head holds for its first word."""
    async with connected(app=echo, receive_timeout=0.3) as (reader, writer):
        writer.write(b"BRE")
        assert await reader.read() == b""


async def test_many_in_one_piece_are_bounded() -> None:
    """A row of them waits as any other row does, and the one too many ends it."""
    async with connected(app=echo) as (reader, writer):
        writer.write(with_method(b"BREW", "length", b"") * 300)
        answers = await reader.read()
        assert answers.count(b"HTTP/1.1 200 ") == 101


@settings(max_examples=25, deadline=None)
@given(
    requests=st.lists(
        st.tuples(_TOKENS.map(str.encode), st.sampled_from(("length", "chunks")), st.binary(max_size=60)),
        min_size=1,
        max_size=6,
    ),
    cuts=st.lists(st.integers(0, 1000), max_size=6),
)
def test_a_row_of_requests_is_read_the_same_wherever_it_is_cut(
    requests: list[tuple[bytes, str, bytes]], cuts: list[int]
) -> None:
    """Each has its method and its body, and no body becomes a request."""
    answers = answers_to([with_method(*one) for one in requests], cuts)
    assert answers == [b"%b 2 %b" % (method, body) for method, _, body in requests]


@given(before=st.lists(st.binary(max_size=60), max_size=4), method=_TOKENS.map(str.encode))
def test_the_last_request_begins_where_those_before_it_end(before: list[bytes], method: bytes) -> None:
    """Whatever their bodies hold."""
    row = b"".join(with_method(b"POST", "length", body) for body in before)
    assert last_begin(row + with_method(method, "length", b"")) == len(row)
