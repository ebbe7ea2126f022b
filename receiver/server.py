"""The HTTP server: uvicorn, with the limits that it does not have itself.

Tried on uvicorn 0.54: a silent connection, or one that trickles its headers, stays open for ever, headers of a
megabyte are taken, and so are requests with no Host, two Hosts or a stacked Transfer-Encoding. What may reach
the application is decided here; how long a body may take, where it is read (``web.Bodies``).
"""

import gc
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver.deadlines import Deadlines

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp

_LARGEST_HEAD: Final = 64 * 1024
_MOST_HEADERS: Final = 128
#: Requests of one connection that may wait for the answer to the one before them.
_MOST_AT_ONCE: Final = 100
#: Seconds for requests that are in flight when the process is told to stop.
_FARE_WELL: Final = 4
#: Seconds that a connection may be silent after an answer.
_KEEP_ALIVE: Final = 15
#: Bytes that a connection gathers at most before they are written.
_MOST_GATHERED: Final = 64 * 1024


class _Answers:
    """Sends what connections write: all of one turn of the event loop together, once the turn is over.

    uvicorn writes the head of an answer, and then its body: two system calls, two packets, and a sender that is woken
    twice. And to send one answer after the other costs less than to go back and forth between that and other work.
    """

    def __init__(self) -> None:
        self._waiting: list[_Gathering] = []

    def wait(self, one: "_Gathering", loop: "asyncio.AbstractEventLoop") -> None:
        """Send what *one* has gathered when this turn is over."""
        if not self._waiting:
            loop.call_soon(self._send)
        self._waiting.append(one)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.flush()


class _Gathering:
    """A transport, as much of one as uvicorn uses, that gathers what is written to it."""

    __slots__ = (
        "_answers",
        "_loop",
        "_pieces",
        "_size",
        "_transport",
        "get_extra_info",
        "is_closing",
        "pause_reading",
        "resume_reading",
    )

    def __init__(
        self, transport: "asyncio.Transport", answers: _Answers, loop: "asyncio.AbstractEventLoop"
    ) -> None:
        self._transport = transport
        self._answers = answers
        self._loop = loop
        self._pieces: list[bytes] = []
        self._size = 0
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Write *data* when this turn of the loop is over, and at once where much has been gathered."""
        if not data:
            return
        if not self._pieces:
            self._answers.wait(self, self._loop)
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _MOST_GATHERED:
            # Or the transport could not tell whoever streams that the sender does not read.
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered."""
        pieces, self._pieces, self._size = self._pieces, [], 0
        if pieces:
            try:
                self._transport.write(b"".join(pieces))
            except RuntimeError:
                # The peer has gone, and uvloop knows it before anybody is told.
                return

    def close(self) -> None:
        """Close the connection once all is written."""
        self.flush()
        self._transport.close()


def protocol(receive_timeout: float) -> type[HttpToolsProtocol]:  # noqa: C901  (one class, many short methods)
    """The connection class: a request's head must arrive whole, small and unambiguous in *receive_timeout*."""
    deadlines = Deadlines(step=min(receive_timeout / 10, 1.0))
    answers = _Answers()

    class BoundedProtocol(HttpToolsProtocol):
        """One connection.

        It is closed at ``due``: so long after it was made, or the last head began, as a head may take; not while a
        whole request is answered (its body has its own time, in ``web.Bodies``); then once it has been silent too long.
        """

        transport: _Gathering  # type: ignore[assignment]
        #: By the loop's clock.
        due: float

        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(_Gathering(transport, answers, self.loop))  # type: ignore[arg-type]  # as much of one as is used
            self.headers: list[tuple[bytes, bytes]] = []
            #: How many requests began here, whether the last one's head is under way, and whether it is all here.
            self._begun, self._in_head, self._whole = 0, False, True
            #: Whether the connection outlives the request that is under way.
            self._lasts = True
            #: Whether what is read now is too small to hold a head that is too large.
            self._small = False
            #: Bytes in a row, in pieces of their own, that neither ended a head nor brought a part of a body.
            self._gathered = 0
            self.due = self.loop.time() + receive_timeout
            deadlines.watch(self, self.loop)

        def data_received(self, data: bytes) -> None:
            begun, before = self._begun, None if self._whole else self._place()
            self._small = before is None and len(data) <= _LARGEST_HEAD
            super().data_received(data)
            if self._begun == begun or not self._whole:
                self._wait(before, len(data))

        def _wait(self, before: tuple[int, bool, int] | None, size: int) -> None:
            """Wait for what makes a request whole, unless it has grown too large."""
            if self.transport.is_closing():
                return
            if self._whole:
                if before is None and self.due < math.inf:
                    # A stray line, and no answer is under way.
                    self.due = min(self.due, self.loop.time() + receive_timeout)
                return
            if self._place() == before:
                self._gathered += size
            else:
                # This piece may hold other things too; what comes in one piece is measured once it is whole.
                self._gathered = 0
                if self._in_head:
                    self.due = self.loop.time() + receive_timeout
            if self._gathered > _LARGEST_HEAD or len(self.headers) > _MOST_HEADERS:
                self.send_400_response("The head is too large.")

        def _place(self) -> tuple[int, bool, int]:
            """How far the request that is under way has come."""
            return self._begun, self._in_head, 0 if self._in_head else len(self.cycle.body)

        def on_message_begin(self) -> None:
            self._begun += 1
            self._in_head, self._whole = True, False
            super().on_message_begin()

        def on_header(self, name: bytes, value: bytes) -> None:
            self.headers.append((name.lower(), value))

        def on_headers_complete(self) -> None:
            last = dict(self.headers)
            if len(self.pipeline) >= _MOST_AT_ONCE:
                raise ValueError("too many requests at once")
            if self.parser.should_upgrade() and (
                b"transfer-encoding" in last or last.get(b"content-length", b"0") != b"0"
            ):
                # The parser would take its body for what is spoken after the upgrade.
                raise ValueError("a body, and the wish to speak something else")
            _check_head(self.url, self.headers, last, small=self._small)
            self.expect_100_continue = last.get(b"expect", b"").lower() == b"100-continue"
            super().on_headers_complete()
            # Until its body is here: whoever is answered before is told that this connection ends with the answer,
            # because nobody will read the rest of it.
            self._lasts, self.cycle.keep_alive = self.cycle.keep_alive, False
            # What follows the body is no header of this request; uvicorn would put it among them.
            self.headers = []
            self._in_head = False
            self.due = math.inf

        def on_message_complete(self) -> None:
            if len(self.headers) > _MOST_HEADERS:
                raise ValueError("too many trailers")
            self._whole = True
            if not self.cycle.response_started:
                self.cycle.keep_alive = self._lasts
            super().on_message_complete()

        def on_response_complete(self) -> None:
            if self.pipeline or self.transport.is_closing():
                super().on_response_complete()
                return
            # As uvicorn does it, but without a timer for each answer.
            self.server_state.total_requests += 1
            self.flow.resume_reading()
            if self._whole:
                self.due = self.loop.time() + _KEEP_ALIVE

        def connection_lost(self, exc: Exception | None) -> None:
            deadlines.forget(self)
            super().connection_lost(exc)

        def expire(self) -> None:
            self.transport.close()

    return BoundedProtocol


def _check_head(
    url: bytes, headers: Sequence[tuple[bytes, bytes]], last: Mapping[bytes, bytes], *, small: bool
) -> None:
    """Raise ValueError where a head is too large, or two readers could disagree about what it says.

    Args:
        url: What is asked for.
        headers: As they came.
        last: The last one of each name.
        small: Whether all of it is known to be no larger than is allowed.
    """
    if len(headers) > _MOST_HEADERS or not (
        small or len(url) + sum(map(len, chain.from_iterable(headers))) <= _LARGEST_HEAD
    ):
        raise ValueError("the head is too large")
    if b"host" not in last:
        raise ValueError("no host")
    if len(last) != len(headers):
        names = [name for name, _ in headers]
        if names.count(b"host") > 1 or names.count(b"content-length") > 1:
            raise ValueError("more than one host, or length")
    if b"transfer-encoding" in last:
        if b"content-length" in last:
            raise ValueError("two lengths")
        if any(
            name == b"transfer-encoding" and value.strip().lower() != b"chunked" for name, value in headers
        ):
            raise ValueError("a transfer encoding other than chunked")


def calm_collector() -> None:
    """Have the garbage collector rest more: for a process that serves, once it has started.

    What is there by then stays, so it is not looked through again; and what a callback makes is gone, by its reference
    counts, as soon as it is answered. By Python's own numbers a twentieth of the time goes into looking.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def server(
    app: "ASGIApp", *, host: str, port: int, receive_timeout: float, backlog: int = 2048
) -> uvicorn.Server:
    """A uvicorn server for *app* with our limits, no access log (paths are secrets) and no banner."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol(receive_timeout),
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        backlog=backlog,
        timeout_graceful_shutdown=_FARE_WELL,
    )
    return uvicorn.Server(config)
