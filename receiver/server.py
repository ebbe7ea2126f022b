"""The HTTP server: uvicorn, with the limits that it does not have itself.

Tried on uvicorn 0.54: a silent connection, or one that trickles its headers, stays open for ever, headers of a
megabyte are taken, and so are requests with no Host, two Hosts or a stacked Transfer-Encoding. What may reach
the application is decided here; how long a body may take, where it is read (``web.read_body``).
"""

from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp

_LARGEST_HEAD: Final = 64 * 1024
_MOST_HEADERS: Final = 128
#: Seconds for requests that are in flight when the process is told to stop.
_FARE_WELL: Final = 4


def protocol(receive_timeout: float) -> type[HttpToolsProtocol]:  # noqa: C901  (one class, many short methods)
    """The connection class: a request's head must arrive whole, small and unambiguous in *receive_timeout*."""

    class BoundedProtocol(HttpToolsProtocol):
        """One connection."""

        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(transport)
            self._head_size = 0
            self._head_complete = False
            self._body_complete = True
            self._names: list[bytes] = []
            self._late: asyncio.TimerHandle | None = None
            self._arm()

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
            self._disarm()
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
            self._disarm()
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
            if self._late is None:
                self._late = self.loop.call_later(receive_timeout, self._close_late)

        def _disarm(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _close_late(self) -> None:
            if not self.transport.is_closing():
                self.transport.close()

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
