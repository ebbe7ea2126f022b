"""A connection: what a sender sends, taken apart into requests, with bounds on all that the sender decides.

uvicorn makes these connections instead of its own. Tried on uvicorn 0.54, with its own: a silent connection, or one
that trickles its headers, stays open for ever, headers of a megabyte are taken, and so are requests with no Host, two
Hosts or a stacked Transfer-Encoding. What may reach the application is decided here; how long a body may take, where it
is read (``web.Bodies``).
"""

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from receiver.timers import Deadlines
from receiver.wire import head
from receiver.wire.cycle import AT_ONCE, Cycle, Headers, plain_answer
from receiver.wire.farewell import Farewell
from receiver.wire.first_line import parser_of, rewritten
from receiver.wire.outlet import Outlet, Turn
from receiver.wire.strangers import PROVED, Strangers

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn.server import ServerState

#: Requests of one connection that may wait for the answer to the one before them.
_MOST_AT_ONCE: Final = 100
#: Seconds that a connection may be silent after an answer.
_KEEP_ALIVE: Final = 15


class Refused(Protocol):
    """Hears of what was sent and is no request."""

    def __call__(self, status: int, reason: str, scope: dict[str, Any] | None = None) -> None:
        """Hear of a refusal with *status*; *reason* repeats nothing that was sent, *scope* says who sent what."""


class Connection(Outlet):
    """One connection.

    It is closed at ``due``: so long after it was made, or the last head began, as a head may take; not while a whole
    request is answered (its body has its own time, in ``web.Bodies``); then once it has been silent too long.

    Args:
        app: What answers its requests.
        state: The server's.
        lifespan: What the application's lifespan has left for its requests.
        patience: Seconds in which the head of a request must be here.
        deadlines: Who looks after ``due``.
        turn: When it is written.
        strangers: Where it rests as long as it has proved nothing.
        refused: Who is told what is no request.
    """

    def __init__(
        self,
        app: "ASGIApp",
        state: "ServerState",
        *,
        lifespan: dict[str, Any],
        patience: float,
        deadlines: Deadlines,
        turn: Turn,
        strangers: Strangers,
        refused: Refused,
    ) -> None:
        super().__init__(turn)
        self._app = app
        self._state = state
        self._lifespan = lifespan
        self._patience = patience
        self._deadlines = deadlines
        self._strangers = strangers
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._parser = parser_of(self)
        #: What was read since the last whole request, without the piece that is read now; ``None`` where that is
        #: nothing, or too much to be read again.
        self._read: bytearray | None = None
        #: The method of the request whose head is being read, where the parser was given another first line.
        self._method: bytes | None = None
        #: The request that is being answered, the last one, and those that wait for the answer to one before them.
        self._answering: Cycle | None = None
        self._last: Cycle | None = None
        self._waiting: deque[Cycle] = deque()
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        #: How many requests began here, whether the last one's head is under way, and whether it is all here.
        self._begun, self._in_head, self._whole = 0, False, True
        #: How often a request made progress: it began, its head was complete, or another part of its body came.
        self._steps = 0
        #: Bytes in a row by which no request made progress.
        self._stray = 0
        #: Whether what is read now is too small to hold a head that is too large.
        self._small = False
        #: The part of a head that says how long its body is, where the sender would rather speak something else.
        self._framing: bytes | None = None
        #: Whether the connection has proved nothing yet, what came after it was refused, and whether nothing comes any
        #: more.
        self._strange, self._spoilt, self._ended = True, False, False
        #: By the loop's clock.
        self.due = self._loop.time() + patience

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # see Outlet
        """Begin."""
        super().connection_made(transport)
        # An IPv6 address has four parts; only the first two are wanted.
        client, server = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._client, self._server = client and client[:2], server and server[:2]
        self._state.connections.add(self)  # type: ignore[arg-type]  # as much of one of uvicorn's as it uses
        self._deadlines.watch(self, self._loop)
        self._strangers.rest(self, answered=False)

    def eof_received(self) -> bool:
        """Hear that nothing more comes; whoever has asked something, or broke off in its midst, may still listen."""
        cycle = self._last
        if cycle is None or cycle.complete:
            self.flush()
            return False
        self._ended, cycle.lasts = True, False
        if cycle.whole:
            for one in (self._answering, *self._waiting):
                if one is not None:
                    one.part()
        else:
            cycle.cut()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (why makes no difference)
        """Tell whoever is answering that there is nobody any more."""
        self._leave()

    def _leave(self) -> None:
        self._deadlines.forget(self)
        self._strangers.forget(self)
        self._state.connections.discard(self)
        for cycle in (self._answering, self._last):
            if cycle is not None:
                cycle.leave()
        self.resume_writing()
        # The connection and its cycle hold each other.
        self._answering = self._last = None
        self._waiting.clear()
        del self._parser

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        begun, before, rest = self._begun, None if self._whole else self._steps, b""
        if before is None and self._read is not None:
            self._read = None
        self._small = before is None and len(data) <= head.LARGEST
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The request was taken as any other: a server may pass over the offer (RFC 9110, 7.8). What follows is its
            # body, and then the next one: nothing else was agreed on.
            rest, data = data[upgrade.args[0] :], b""
            if self._framing is not None:
                self._wait(before, b"")
                self._pass_over(self._framing)
        except httptools.HttpParserError as error:
            # The parser's own text never repeats what came; an exception of another kind might, and paths are secrets.
            ours = isinstance(error.__context__, head.MalformedError)
            if ours or not self._rewrite(before, data):
                self._refuse(str(error.__context__ if ours else error))
            return
        if rest:
            self.data_received(rest)
        elif self._begun == begun or not self._whole:
            self._wait(before, data)

    def _wait(self, before: int | None, data: bytes) -> None:
        """Wait for what makes a request whole, unless it has grown too large."""
        if self._whole:
            if before is None and self.due < math.inf:
                # A stray line, and no answer is under way.
                self.due = min(self.due, self._loop.time() + self._patience)
            return
        self._keep(before, data)
        if self._steps == before:
            self._stray += len(data)
        else:
            # This piece may hold other things too; what comes in one piece is measured once it is whole.
            self._stray = 0
            if self._in_head:
                self.due = self._loop.time() + self._patience
        if self._stray > head.LARGEST or len(self._headers) > head.MOST_HEADERS:
            self._refuse("the head is too large")

    def _refuse(self, reason: str) -> None:
        """Say why what was sent is no request, and close; once what was sent whole before it has been answered."""
        if self._transport.is_closing() or self._spoilt:
            return
        self._spoilt = True
        self._refused(400, reason, self._known())
        if self._waiting and not self._waiting[-1].whole:
            self._waiting.pop()
        last = self._waiting[-1] if self._waiting else self._answering
        if last is not None and last.whole:
            last.lasts = False
            self._flow.pause_reading()
            return
        if last is None or not last.began:
            self.write(plain_answer(400, f"Invalid HTTP request: {reason}.", self.defaults))
        self.close()

    def _known(self) -> dict[str, Any] | None:
        """What is known of a request whose head is not good, or not here; ``None`` where it was, or nothing is."""
        if not self._in_head or not self._url:
            return None
        path = unquote(self._url.partition(b"?")[0].decode("latin-1"))
        return {"path": path, "headers": self._headers[: head.MOST_HEADERS], "client": self._client}

    def _keep(self, before: int | None, data: bytes) -> None:
        """Keep what was read of a request that is not whole, as long as it is small."""
        if before is None:
            self._read = bytearray()
        if self._read is not None and len(self._read) + len(data) <= head.LARGEST:
            self._read += data
        else:
            self._read = None

    def _rewrite(self, before: int | None, data: bytes) -> bool:
        """Have a request whose first line stopped the parser read again with another one; whether that helped."""
        if not self._in_head or self._headers or self._method is not None:
            return False
        if before is not None and self._read is None:
            return False
        found = rewritten(data if self._read is None else bytes(self._read) + data)
        if found is None:
            return False
        if found.request is None:
            # The parser stops again at what comes next.
            self._wait(before, data)
            return True
        self._begun -= 1
        self._parser, self._method, self._read = parser_of(self), found.method, bytearray()
        self.data_received(found.request)
        return True

    def _pass_over(self, framing: bytes) -> None:
        """Have the body read of a request that offered another protocol (``Upgrade``).

        This parser takes the body for that protocol. Another parser is told only how long the body is.
        """
        self._parser = parser_of(self)
        told = b"POST / HTTP/1.1\r\n%b\r\n" % framing
        self._parser.feed_data(told)
        self._read, self._framing, self._headers = bytearray(told), None, []

    # What the parser calls. What is raised there is the context of the HttpParserError that data_received gets.

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._framing is not None:
            return
        self._begun += 1
        self._steps += 1
        self._in_head, self._whole = True, False
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """Take a part of what is asked for."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        # The parser takes the space away that stands before a value; that after it is no part of it either (RFC 9112,
        # 5.1).
        self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Have the request answered, as soon as those before it are."""
        if self._framing is not None:
            return
        parser, headers = self._parser, self._headers
        last = dict(headers)
        if self._waiting and len(self._waiting) >= _MOST_AT_ONCE:
            raise head.MalformedError("too many requests at once")
        version = parser.get_http_version()
        head.check(self._url, headers, last, version=version, small=self._small)
        if parser.should_upgrade():
            self._framing = head.framing_of(last)
        scope = head.scope_of(self._method or parser.get_method(), self._url, version, headers)
        self._method = None
        scope["client"], scope["server"] = self._client, self._server
        scope["state"] = self._lifespan.copy()
        cycle = Cycle(
            self,
            scope,
            lasts=version != "1.0" and parser.should_keep_alive(),
            continues=b"expect" in last and last[b"expect"].lower() == b"100-continue",
        )
        scope["state"][AT_ONCE] = cycle.at_once
        # What follows the body is no header of this request.
        self._headers = []
        self._in_head = False
        self._steps += 1
        self.due = math.inf
        before, self._last = self._last, cycle
        if before is None or before.complete:
            self._start(cycle)
        else:
            self._flow.pause_reading()
            self._waiting.append(cycle)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._steps += 1
        if (cycle := self._last) is not None and not cycle.complete:
            cycle.take(body)
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self._flow.pause_reading()

    def on_message_complete(self) -> None:
        """All of the request is here."""
        if self._framing is not None:
            return  # only its head is here, and the parser took that for the whole request
        if len(self._headers) > head.MOST_HEADERS:
            raise head.MalformedError("too many trailers")
        self._whole = True
        if self._last is not None:
            self._last.end()

    def _start(self, cycle: Cycle) -> None:
        self._answering = cycle
        if self._strange:
            self._strangers.forget(self)
        tasks = self._state.tasks
        task = self._loop.create_task(cycle.run(self._app))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    # What a cycle calls.

    @property
    def defaults(self) -> Headers:
        """Headers that every answer gets."""
        return tuple(self._state.default_headers)

    def read_on(self) -> None:
        """Read what comes next: more of the body, or that the peer has left; unless enough requests wait already."""
        if not self._waiting:
            self._flow.resume_reading()

    def close(self) -> None:
        """Close once all is sent; and, where more may be on its way, once that has been read."""
        self.flush()
        transport = self._transport
        if transport.is_closing():
            return
        if self._ended or not (self._spoilt or self._flow.read_paused or not self._whole):
            transport.close()
            return
        self._leave()
        self._flow.resume_reading()
        Farewell(transport, self._state, deadlines=self._deadlines, strangers=self._strangers)

    def answered(self) -> None:
        """Begin with the next request, or wait for one."""
        self._state.total_requests += 1
        answered, self._answering = self._answering, None
        if self._strange and answered is not None:
            self._strange = PROVED not in answered.scope["state"]
        if self._last is None or self._transport.is_closing():
            return
        if self._waiting:
            self._start(self._waiting.popleft())
            return
        self._flow.resume_reading()
        if self._strange:
            self._strangers.rest(self, answered=True)
        if self._whole:
            self.due = self._loop.time() + _KEEP_ALIVE

    # What looks after it calls.

    def expire(self) -> None:
        """Close: it was silent, or slow, for too long."""
        if self._in_head:
            self._refused(408, "the head took too long", self._known())
        self.dismiss()

    def dismiss(self) -> None:
        """Close: nothing is being answered."""
        self.flush()
        self._transport.close()

    def shutdown(self) -> None:
        """Close once what has been asked is answered: the server is being stopped."""
        if self._last is None or self._last.complete:
            self.dismiss()
        else:
            self._last.lasts = False
