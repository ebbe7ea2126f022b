"""The HTTP server: uvicorn, with the limits that it does not have itself.

Tried on uvicorn 0.54: a silent connection, or one that trickles its headers, stays open for ever, headers of a
megabyte are taken, and so are requests with no Host, two Hosts or a stacked Transfer-Encoding. What may reach
the application is decided here; how long a body may take, where it is read (``web.read_body``).
"""

import gc
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp

_LARGEST_HEAD: Final = 64 * 1024
_MOST_HEADERS: Final = 128
#: Seconds for requests that are in flight when the process is told to stop.
_FARE_WELL: Final = 4


class _Impatience:
    """Closes connections on which nothing whole arrives in time.

    One timer looks after all of them: one for each request would be a tenth of what a small request costs.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._connections: set[_Waiting] = set()
        self._looking = False

    def watch(self, connection: "_Waiting") -> None:
        self._connections.add(connection)
        if not self._looking:
            self._looking = True
            self._again(connection.loop)

    def forget(self, connection: "_Waiting") -> None:
        self._connections.discard(connection)

    def _again(self, loop: "asyncio.AbstractEventLoop") -> None:
        loop.call_later(min(self._patience / 10, 1.0), self._look, loop)

    def _look(self, loop: "asyncio.AbstractEventLoop") -> None:
        before = loop.time() - self._patience
        for one in list(self._connections):
            if (
                one.waiting_since is not None
                and one.waiting_since < before
                and not one.transport.is_closing()
            ):
                one.transport.close()
        self._looking = bool(self._connections)
        if self._looking:
            self._again(loop)


class _Waiting(Protocol):
    """A connection that may be waiting for the rest of a head."""

    loop: "asyncio.AbstractEventLoop"
    transport: "asyncio.Transport"
    waiting_since: float | None


def protocol(receive_timeout: float) -> type[HttpToolsProtocol]:  # noqa: C901  (one class, many short methods)
    """The connection class: a request's head must arrive whole, small and unambiguous in *receive_timeout*."""
    impatience = _Impatience(receive_timeout)

    class BoundedProtocol(HttpToolsProtocol):
        """One connection."""

        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(transport)
            self._in_head = False
            self._heads = self._head_size = 0
            self._body_complete = True
            self.headers: list[tuple[bytes, bytes]] = []
            self.waiting_since: float | None = None
            self._arm()
            impatience.watch(self)

        def data_received(self, data: bytes) -> None:
            if self.cycle is None or self.cycle.response_complete:
                # Whatever this is the beginning of, uvicorn has just stopped its own clock for it.
                self._arm()
            begun = self._heads if self._in_head else 0
            super().data_received(data)
            if self._in_head and begun == self._heads:
                # All of this belongs to one head. (What comes in one piece is measured once it is whole.)
                self._head_size += len(data)
            large = self._head_size > _LARGEST_HEAD or len(self.headers) > _MOST_HEADERS
            if large and not self.transport.is_closing():
                self.send_400_response("The head is too large.")

        def on_message_begin(self) -> None:
            self._in_head, self._head_size = True, 0
            self._heads += 1
            self._arm()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self.waiting_since = None
            self._in_head = False
            self._body_complete = False
            _check_head(self.url, self.headers)
            super().on_headers_complete()
            # What follows the body is no header of this request; uvicorn would put it among them.
            self.headers = []

        def on_message_complete(self) -> None:
            self._body_complete = True
            super().on_message_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self._body_complete and not self.transport.is_closing():
                # Answered before the body was here: nobody will read the rest of it.
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            impatience.forget(self)
            super().connection_lost(exc)

        def _arm(self) -> None:
            if self.waiting_since is None:
                self.waiting_since = self.loop.time()

    return BoundedProtocol


def _check_head(url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise ValueError where a head is too large, or two readers could disagree about what it says."""
    names = [name for name, _ in headers]
    if len(names) > _MOST_HEADERS or len(url) + sum(map(len, chain.from_iterable(headers))) > _LARGEST_HEAD:
        raise ValueError("the head is too large")
    if names.count(b"host") != 1 or names.count(b"content-length") > 1:
        raise ValueError("no host, or more than one")
    if b"transfer-encoding" in names:
        if b"content-length" in names:
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
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_FARE_WELL,
    )
    return uvicorn.Server(config)
