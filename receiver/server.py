"""The HTTP server: uvicorn, with the limits that it does not have itself.

Tried on uvicorn 0.54: a silent connection, or one that trickles its headers, stays open for ever, headers of a
megabyte are taken, and so are requests with no Host, two Hosts or a stacked Transfer-Encoding. What may reach
the application is decided here; how long a body may take, where it is read (``web.read_body``).
"""

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
            self._head_size = 0
            self._head_complete = False
            self._body_complete = True
            self._names: list[bytes] = []
            self.waiting_since: float | None = None
            self._arm()
            impatience.watch(self)

        def data_received(self, data: bytes) -> None:
            if self.cycle is None or self.cycle.response_complete:
                # Whatever this is the beginning of, uvicorn has just stopped its own clock for it.
                self._arm()
            super().data_received(data)

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

        def on_message_begin(self) -> None:
            self._head_size, self._head_complete, self._names = 0, False, []
            self._arm()
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._grow(len(url))
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            if self._head_complete:
                return  # a trailer; uvicorn would put it among the headers
            self._grow(len(name) + len(value))
            self._names.append(name.lower())
            if len(self._names) > _MOST_HEADERS:
                raise ValueError("too many headers")
            if name.lower() == b"transfer-encoding" and value.strip().lower() != b"chunked":
                raise ValueError("a transfer encoding other than chunked")
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self.waiting_since = None
            self._head_complete = True
            self._body_complete = False
            if self._names.count(b"host") != 1 or self._names.count(b"content-length") > 1:
                raise ValueError("no host, or more than one")
            if b"transfer-encoding" in self._names and b"content-length" in self._names:
                raise ValueError("two lengths")
            super().on_headers_complete()

        def _grow(self, size: int) -> None:
            self._head_size += size
            if self._head_size > _LARGEST_HEAD:
                raise ValueError("the head is too large")

        def _arm(self) -> None:
            if self.waiting_since is None:
                self.waiting_since = self.loop.time()

    return BoundedProtocol


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
