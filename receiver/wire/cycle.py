"""A cycle: one request and its answer, as an ASGI application sees them.

ASGI 2.3 (https://asgi.readthedocs.io/en/latest/specs/www.html, read 2026-11-21). The head of an answer is written with
the first part of its body, so that a short answer is one packet.
"""

import re
from asyncio import Event
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol

import structlog
from starlette.types import ASGIApp, Message, Scope

log = structlog.get_logger(__name__)

_HEADER_NAME: Final = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
#: Answers that never have a body (RFC 9110, 6.4.1).
_BODILESS: Final = frozenset({204, 304})
_STATUSES: Final = range(200, 600)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE: Final = b"connection: close\r\n"
_CHUNKED: Final = b"transfer-encoding: chunked\r\n"

Headers = tuple[tuple[bytes, bytes], ...]
#: Where in the state of a request whoever answers it finds ``Cycle.at_once``.
AT_ONCE: Final = "receiver.at_once"


class Wire(Protocol):
    """Where a cycle takes place."""

    @property
    def defaults(self) -> Headers:
        """Headers that every answer gets."""

    @property
    def full(self) -> bool:
        """Whether the peer does not take what has been written."""

    async def drain(self) -> None:
        """Wait until it is not full."""

    def read_on(self) -> None:
        """Have more of the body read."""

    def write(self, data: bytes) -> None:
        """Send *data*."""

    def close(self) -> None:
        """End it once all has been sent."""

    def answered(self) -> None:
        """Hear that a cycle is complete."""


class _Head(NamedTuple):
    """The headers of an answer: as they are written, and what they say."""

    lines: bytes
    length: int | None
    chunked: bool
    closes: bool


class Cycle:
    """One request, and what is answered to it.

    Args:
        wire: Where it came from.
        scope: What its head says.
        lasts: Whether the connection outlives it, as far as the sender is concerned.
        continues: Whether the sender waits to be told before it sends the body.
    """

    def __init__(self, wire: Wire, scope: Scope, *, lasts: bool, continues: bool) -> None:
        self.scope = scope
        self.lasts = lasts
        #: Whether the body is all here, and what of it nobody has asked for yet.
        self.whole = False
        self.body = bytearray()
        #: Whether all of the answer has been written, or the sender has left; or has closed its side and may listen.
        self.complete = self.gone = self._cut = self._parted = False
        self._wire = wire
        self._continues = continues
        #: Whether there is more of the body to hand over, and anything at all to tell.
        self._more, self._news = True, False
        self._event: Event | None = None
        self._head: _Head | None = None
        self._status = 0
        #: Whether the head has been written, how the body is, and how many bytes of it are still to come.
        self.began = self._chunked = False
        self._left: int | None = None

    def take(self, piece: bytes) -> None:
        """Take a part of the body."""
        self.body += piece
        self._tell()

    def end(self) -> None:
        """The body is all here."""
        self.whole = True
        self._tell()

    def cut(self) -> None:
        """The sender has broken off; what it is told it may still hear."""
        self._cut = True
        self._tell()

    def part(self) -> None:
        """The sender has closed its side, having sent all: it has left, or is waiting for what it is answered."""
        self._parted = True
        self._tell()

    def leave(self) -> None:
        """The sender has left."""
        self.gone = True
        self._tell()

    async def run(self, app: ASGIApp) -> None:
        """Have *app* answer; if it does not, the sender is answered 500."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            log.error("request_failed", exc_info=error)
            self._break_off()
            if not isinstance(error, Exception):
                raise
        else:
            if not (self.complete or self.gone):
                if not self._parted:
                    log.error("request_not_answered")
                self._break_off()

    def at_once(self) -> bytes | None:
        """The body, where all of it is here and none of it has been asked for; it is handed over once.

        What is here already need not be waited for, so nobody has to look after how long that takes.
        """
        if not (self.whole and self._more) or self.complete or self._cut or self._continues:
            return None
        self._more = self._news = False
        body, self.body = bytes(self.body), bytearray()
        return body

    async def receive(self) -> Message:
        """The next part of the body, or that there is nobody any more to be answered."""
        wire = self._wire
        if self._continues and not self.began:
            self._continues = False
            wire.write(_CONTINUE)
        left = self.gone or self._parted
        if not (self._news or self.complete or left or self._cut):
            wire.read_on()
            self._event = self._event or Event()
            self._event.clear()
            await self._event.wait()
        self._news = False
        # A sender that sends everything and leaves is served: if its request were dropped, it might never send it
        # again.
        left = self.gone or self._parted
        if self.complete or self._cut or (left and not (self.whole and self._more)):
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), bytearray()
        self._more = not self.whole
        return {"type": "http.request", "body": body, "more_body": self._more}

    async def send(self, message: Message) -> None:
        """Take the head of the answer, then its body.

        Raises:
            RuntimeError: the answer is not valid: out of order, with a header that is none, or not as long as it says.
        """
        wire, kind = self._wire, message["type"]
        if wire.full:
            await wire.drain()
        if kind == "http.response.start" and self._head is None:
            self._status = message["status"]
            self._head = _head_of(tuple(map(tuple, message.get("headers", ()))))
            return
        if kind != "http.response.body" or self._head is None or self.complete:
            raise RuntimeError(f"{kind!r} is out of place in this answer.")
        if self.gone:
            return
        more = message.get("more_body", False)
        begin = b"" if self.began else self._begin(self._head)
        body = self._framed(message.get("body", b""), more=more)
        wire.write(begin + body)
        self.began = True
        if not more:
            self.complete = True
            # Nobody will ask for what is left.
            self.body.clear()
            self._tell()
            if not self.lasts:
                wire.close()
            wire.answered()

    def _begin(self, head: _Head) -> bytes:
        """The head of the answer, once it is known whether the connection outlives it."""
        scope, status = self.scope, self._status
        self._chunked, self._left, framing = head.chunked, head.length, b""
        if status in _BODILESS or scope["method"] == "HEAD":
            self._chunked, self._left = False, 0
        elif head.length is None and not head.chunked:
            if scope["http_version"] == "1.0":
                # The end of the body is the end of the connection.
                self.lasts = False
            else:
                self._chunked, framing = True, _CHUNKED
        # Whoever is answered before the body is here is told that this connection ends with the answer, because nobody
        # will read the rest of it.
        self.lasts = self.lasts and self.whole and not head.closes
        closing = b"" if self.lasts or head.closes else _CLOSE
        defaults = _head_of(self._wire.defaults)
        return b"".join((_status_line(status), defaults.lines, head.lines, closing, framing, b"\r\n"))

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        """A part of the body, as it is written."""
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        if self.scope["method"] == "HEAD":
            return b""
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("The body is not as long as its content-length says.")
        return body

    def _break_off(self) -> None:
        """Answer 500, or if an answer has begun, let its reader see that it is not whole."""
        if not (self.complete or self.gone):
            if not self.began:
                self._wire.write(plain_answer(500, "Internal Server Error", self._wire.defaults))
            self.complete = True
            self._wire.close()

    def _tell(self) -> None:
        self._news = True
        if self._event is not None:
            self._event.set()


def plain_answer(status: int, text: str, defaults: Headers) -> bytes:
    """The last answer on a connection, in words."""
    body = text.encode()
    kind = (b"content-type", b"text/plain; charset=utf-8")
    head = _head_of((*defaults, kind, (b"content-length", b"%d" % len(body))))
    return b"".join((_status_line(status), head.lines, _CLOSE, b"\r\n", body))


@lru_cache(256)
def _status_line(status: int) -> bytes:
    """The first line of an answer; raises RuntimeError where *status* is none, or one that announces another."""
    if status not in _STATUSES:
        raise RuntimeError(f"{status!r} is no status of an answer.")
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


@lru_cache(256)
def _head_of(headers: Headers) -> _Head:
    """Headers as they are written; raises RuntimeError where one could be read as something else."""
    length, chunked, closes = None, False, False
    lines = []
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name) or _CONTROL.search(value):
            raise RuntimeError("The application sent a header whose name or value HTTP does not allow.")
        match name.lower():
            case b"content-length":
                if length is not None or not value.isdigit():
                    raise RuntimeError("The application sent two content-lengths, or one that is no number.")
                length = int(value)
            case b"transfer-encoding":
                chunked = chunked or value.lower() == b"chunked"
            case b"connection":
                closes = closes or b"close" in [word.strip().lower() for word in value.split(b",")]
        lines.append(b"%b: %b\r\n" % (name.lower(), value))
    return _Head(b"".join(lines), None if chunked else length, chunked, closes)
