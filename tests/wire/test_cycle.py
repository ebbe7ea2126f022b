"""One request and its answer, over real sockets: what ASGI promises an application, and HTTP its sender."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
from starlette.types import Receive, Scope, Send

from .test_server import connected

_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
_EMPTY = _HEAD + b"Content-Length: 0\r\n\r\n"
_LARGE = 1024 * 1024
Answering = Callable[[Scope, Receive, Send], Awaitable[None]]


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """The head of an answer."""
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    """A part of its body."""
    return {"type": "http.response.body", "body": data, "more_body": more}


def answering(*messages: dict[str, Any]) -> Answering:
    """An application that says just this, whatever it is asked."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for message in messages:
                await send(message)

    return app


async def told(app: Answering, request: bytes = _EMPTY) -> tuple[bytes, bytes]:
    """What *app* has a sender hear until the connection ends: head and body."""
    async with connected(app=app) as (reader, writer):
        writer.write(request.replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n"))
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        return head, rest


async def test_an_answer_of_known_length_is_sent_as_it_is() -> None:
    """Status line, date, the application's headers, and the body."""
    head, rest = await told(answering(start(202, (b"Content-Length", b"4"), (b"X-Y", b"z")), body(b"here")))
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 202 Accepted"
    assert lines[1].startswith(b"date: ")
    assert lines[2:] == [b"content-length: 4", b"x-y: z", b"connection: close"]
    assert rest == b"here"


async def test_an_answer_of_unknown_length_is_sent_in_chunks() -> None:
    """One for each part that holds something, and then the end."""
    head, rest = await told(answering(start(), body(b"one", more=True), body(more=True), body(b"four" * 4)))
    assert b"transfer-encoding: chunked" in head
    assert rest == b"3\r\none\r\n10\r\nfourfourfourfour\r\n0\r\n\r\n"


async def test_to_http_1_0_the_end_of_the_connection_is_the_end_of_the_body() -> None:
    """It knows no chunks."""
    head, rest = await told(
        answering(start(), body(b"one", more=True), body(b"two")), b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"
    )
    assert b"transfer-encoding" not in head
    assert rest == b"onetwo"


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", (start(200, (b"content-length", b"4")), body(b"here"))),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", (start(), body(b"he", more=True), body(b"re"))),
        (_EMPTY, (start(204), body())),
        (_EMPTY, (start(304), body())),
    ],
)
async def test_an_answer_that_has_no_body_has_none(
    request_: bytes, answer: tuple[dict[str, Any], ...]
) -> None:
    """To HEAD, and with 204 and 304: no body and no chunks, and the next answer is found behind it."""
    async with connected(app=answering(*answer)) as (reader, writer):
        for _ in range(2):
            writer.write(request_)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % answer[0]["status"])
            assert b"transfer-encoding" not in head


@pytest.mark.parametrize(
    "messages",
    [
        [body(b"first")],
        [start(), start()],
        [start(200, (b"content-length", b"2")), body(b"three")],
        [start(200, (b"content-length", b"9")), body(b"three")],
        [start(204), body(b"none")],
        [start(200, (b"x", b"a\r\nset-cookie: b"))],
        [start(200, (b"x: y\r\nz", b"a"))],
        [start(200, (b"content-length", b"-1"))],
        [start(200, (b"content-length", b"1"), (b"Content-Length", b"2"))],
        [start(101), body()],
        [start(99), body()],
        [],
        [start()],
    ],
)
async def test_what_is_no_answer_becomes_500(messages: list[dict[str, Any]]) -> None:
    """Out of order, of another length than it says, a header that is two, or none at all: nothing of it is sent."""
    head, rest = await told(answering(*messages))
    assert head.startswith(b"HTTP/1.1 500 ")
    assert rest == b"Internal Server Error"


@pytest.mark.parametrize("second", [body(b"and far too much"), body(b"a"), start()])
async def test_what_goes_wrong_within_an_answer_cuts_it(second: dict[str, Any]) -> None:
    """Its reader sees that it is not whole: the connection ends before it does."""
    _, rest = await told(answering(start(200, (b"content-length", b"9")), body(b"begun", more=True), second))
    assert rest == b"begun"


async def test_what_is_not_answered_is_logged() -> None:
    """And so is what went wrong."""
    with structlog.testing.capture_logs() as lines:
        await told(answering())
        await told(answering(body(b"first")))
    assert [line["event"] for line in lines] == ["request_not_answered", "request_failed"]


async def test_after_the_end_nothing_more_is_sent() -> None:
    """An application that goes on is told so, and the next answer is not touched."""
    refused: list[str] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send(start(200, (b"content-length", b"2")))
            await send(body(b"ok"))
            try:
                await send(body(b"more"))
            except RuntimeError as error:
                refused.append(str(error))

    async with connected(app=app) as (reader, writer):
        for _ in range(2):
            writer.write(_EMPTY)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(2) == b"ok"
    assert refused == ["'http.response.body' is out of place in this answer."] * 2


async def test_a_sender_that_waits_to_go_on_is_told_to() -> None:
    """``Expect: 100-continue`` is answered once somebody wants the body, and only then."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            taken = b"" if scope["path"] == "/no" else (await receive())["body"]
            await send(start(200, (b"content-length", b"%d" % len(taken))))
            await send(body(taken))

    expecting = b"POST %b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    async with connected(app=app) as (reader, writer):
        writer.write(expecting % b"/yes")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"here")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(4) == b"here"
        writer.write(expecting % b"/no")
        head = await reader.read()
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in head


async def test_whoever_answers_hears_that_the_sender_has_left() -> None:
    """Each of those who ask, however often; and what is sent then goes nowhere, without an error."""
    heard: list[str] = []
    asked = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            assert (await receive())["body"] == b"body"
            asked.set()
            async with asyncio.TaskGroup() as group:
                both = [group.create_task(_kind(receive)) for _ in range(2)]
            heard.extend(one.result() for one in both)
            heard.append((await receive())["type"])
            await send(start())
            await send(body(b"nobody is there"))

    async with connected(app=app) as (_, writer):
        writer.write(_HEAD + b"Content-Length: 4\r\n\r\nbody")
        await asked.wait()
        writer.close()
        while len(heard) < 3:  # noqa: ASYNC110  (it is on this very loop)
            await asyncio.sleep(0.01)
    assert heard == ["http.disconnect"] * 3


async def test_what_was_sent_whole_is_heard_though_its_sender_has_left() -> None:
    """It may never be sent again. Of what was not sent whole only the end is heard."""
    heard: list[Any] = []
    asked, go = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, _send: Send) -> None:
        if scope["type"] == "http":
            asked.set()
            await go.wait()
            heard.extend([await receive(), await receive()])

    for sent, parts in (b"body", 1), (b"bod", 0):
        async with connected(app=app) as (_, writer):
            writer.write(_HEAD + b"Content-Length: 4\r\n\r\n" + sent)
            await asked.wait()
            writer.close()
            await asyncio.sleep(0.05)
            go.set()
            while not heard:  # noqa: ASYNC110  (it is on this very loop)
                await asyncio.sleep(0.01)
        whole = {"type": "http.request", "body": sent, "more_body": False}
        assert heard == ([whole] * parts + [{"type": "http.disconnect"}] * 2)[:2]
        heard.clear()
        asked.clear()
        go.clear()


async def test_a_sender_that_leaves_after_a_large_body_is_missed() -> None:
    """Reading was held up by its size, and goes on for whoever waits to hear of the end."""
    heard: list[Any] = []

    async def app(scope: Scope, receive: Receive, _send: Send) -> None:
        if scope["type"] == "http":
            while (await receive()).get("more_body"):
                pass
            asked.set()
            heard.append(await _kind(receive))

    for size in (70_000, _LARGE):
        asked = asyncio.Event()
        async with connected(app=app) as (_, writer):
            writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % size + bytes(size))
            await asked.wait()
            writer.close()
            while not heard:  # noqa: ASYNC110  (it is on this very loop)
                await asyncio.sleep(0.01)
        assert heard.pop() == "http.disconnect"


async def test_an_answer_has_one_end() -> None:
    """Two who wait to be the one who ends it: one does, the other is told, and the next answer is not touched."""
    ended: list[BaseException | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await receive()
        await send(start())
        if scope["path"] == "/long":
            for _ in range(128):
                piece = asyncio.ensure_future(send(body(bytes(_LARGE // 4), more=True)))
                await asyncio.wait([piece], timeout=0.2)
                if not piece.done():
                    break
            ended.extend(
                await asyncio.gather(*(send(body(b"end")) for _ in range(2)), return_exceptions=True)
            )
            await piece
        else:
            await send(body(b"next"))

    async with connected(app=app) as (reader, writer):
        writer.write(_EMPTY.replace(b" / ", b" /long ") + _EMPTY)
        await asyncio.sleep(1)
        heard = b""
        while not heard.endswith(b"next\r\n0\r\n\r\n"):
            piece = await reader.read(100_000)
            assert piece, heard[-200:]
            heard = heard[-200_000:] + piece
        _, _, following = heard.partition(b"3\r\nend\r\n0\r\n\r\n")
        assert following.startswith(b"HTTP/1.1 200 ")
        assert following.endswith(b"\r\n\r\n4\r\nnext\r\n0\r\n\r\n")
    assert sorted(map(type, ended), key=str) == [type(None), RuntimeError]


async def _kind(receive: Receive) -> Any:  # noqa: ANN401
    return (await receive())["type"]


async def test_a_body_that_nobody_asks_for_is_not_read() -> None:
    """Not further than a little: it waits at its sender's, not in memory."""
    ask = asyncio.Event()
    sizes: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await ask.wait()
            more = True
            while more:
                message = await receive()
                sizes.append(len(message["body"]))
                more = message["more_body"]
            await send(start(204))
            await send(body())

    async with connected(app=app) as (reader, writer):
        writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % (16 * _LARGE) + bytes(16 * _LARGE))
        await asyncio.sleep(0.3)
        ask.set()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
    assert sum(sizes) == 16 * _LARGE
    assert sizes[0] < _LARGE


async def test_what_follows_an_upgrade_that_is_not_ours_is_the_next_request() -> None:
    """Also where it came in the same packet."""
    upgrade = b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send(start(200, (b"content-length", b"2")))
            await send(body(scope["path"].encode()))

    async with connected(app=app) as (reader, writer):
        writer.write(upgrade + upgrade.replace(b" /1 ", b" /2 ") + _EMPTY.replace(b" / ", b" /3 "))
        for number in (b"/1", b"/2", b"/3"):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(2) == number


async def test_each_answer_of_a_row_says_what_it_is_the_answer_to() -> None:
    """Requests that came together are answered one after the other, in their order."""
    many = 50

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(0.01 if scope["path"].endswith("0") else 0)
            await send(start(200, (b"content-length", b"3")))
            await send(body(scope["path"].encode()))

    async with connected(app=app) as (reader, writer):
        writer.write(b"".join(b"GET /%02d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(many)))
        for number in range(many):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(3) == b"/%02d" % number


async def test_a_request_says_where_it_came_from_and_what_it_asks() -> None:
    """The path is decoded, as it came beside that; names of headers are in lower case, their values are not touched."""
    seen: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            seen.append(scope)
            await send(start(204))
            await send(body())

    async with connected(app=app) as (reader, writer):
        writer.write(
            b"PUT http://b/a%20b/%C3%A9?q=%20 HTTP/1.1\r\nHost: A\r\nX-Y:  Z  z\r\nX-y: 2\r\nContent-Length: 0\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        scope = seen[0]
        assert (scope["method"], scope["path"], scope["raw_path"]) == ("PUT", "/a b/é", b"/a%20b/%C3%A9")
        assert (scope["query_string"], scope["http_version"], scope["scheme"]) == (b"q=%20", "1.1", "http")
        assert scope["client"] == writer.get_extra_info("sockname")
        assert scope["server"] == writer.get_extra_info("peername")
        assert scope["headers"] == [
            (b"host", b"A"),
            (b"x-y", b"Z  z"),
            (b"x-y", b"2"),
            (b"content-length", b"0"),
        ]
