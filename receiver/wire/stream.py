"""A stream of server-sent events: an answer without end, to somebody who reads it.

Whoever takes nothing for a while is hung up on. A server closes a connection once all is sent, which is never where
the peer does not read, so the socket itself is shut down. An application is not given the socket of a request: it is
found among those of the process, by the addresses at its two ends.
"""

import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

import anyio
import anyio.lowlevel
import structlog
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.types import Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

#: Seconds of silence after which a stream says that it is alive, so that no proxy takes it for dead.
_PING: Final = 15
#: Seconds for which what was said may lie there unread.
PATIENCE: Final = 15.0
#: Bytes that are sent at a time: who reads slowly has patience for each piece, rather than for all of a large event.
_PIECE: Final = 16 * 1024
#: Seconds for a server to see that a connection is gone.
_FAREWELL: Final = 5.0
#: Where Linux, macOS and the BSDs list the descriptors of a process.
_DESCRIPTORS: Final = "/dev/fd"


class Stream(EventSourceResponse):
    """Tells *events*, each as bytes or as the fields of an event, until they end or nobody reads them any more."""

    def __init__(
        self,
        events: AsyncIterator[Any],
        *,
        headers: Mapping[str, str],
        patience: float | None = None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(events, headers=headers, ping=_PING)
        # Whether the connection outlives the answer is the server's to say; it would say both.
        del self.headers["connection"]
        self._patience = PATIENCE if patience is None else patience
        #: Told once it is over, also where nothing of it was ever told.
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell them."""
        try:
            await self._tell(scope, receive, send)
        finally:
            self._ended()

    async def _tell(self, scope: Scope, receive: Receive, send: Send) -> None:

        async def send_in_time(message: Message) -> None:
            for piece in _pieces(message):
                with anyio.move_on_after(self._patience) as waiting:
                    await send(piece)
                    # A turn of the loop, after which the server has written it, and knows whether it is taken.
                    await anyio.lowlevel.checkpoint()
                if waiting.cancelled_caught:
                    raise SendTimeoutError

        try:
            await super().__call__(scope, receive, send_in_time)
        except SendTimeoutError:
            if not hang_up(scope):
                raise
            log.info("stream_not_read", seconds=self._patience)
            with anyio.move_on_after(_FAREWELL):
                while (await receive())["type"] != "http.disconnect":
                    continue


def _pieces(message: Message) -> Iterator[Message]:
    """*message* as one that is small, or as several."""
    body = message.get("body", b"")
    while len(body) > _PIECE:
        yield {**message, "body": body[:_PIECE], "more_body": True}
        body = body[_PIECE:]
    yield {**message, "body": body} if "body" in message else message


def hang_up(scope: Scope) -> bool:
    """End the connection of a request at once, whatever is still to be sent on it; whether it was found."""
    ends = [scope.get(name) for name in ("client", "server")]
    if not all(ends):
        return False
    wanted = [tuple(one)[:2] for one in ends if one]
    try:
        numbers = [int(one) for one in os.listdir(_DESCRIPTORS)]  # noqa: PTH208  (their names alone)
    except OSError:  # where processes do not see their own descriptors
        return False
    return any(_shut(number, wanted) for number in numbers)


def _shut(number: int, wanted: list[tuple[Any, ...]]) -> bool:
    """Shut the descriptor with this *number* down if it is the socket between these two addresses."""
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return False
        # A copy, because closing the object closes what it was made of.
        with socket.socket(fileno=os.dup(number)) as found:
            if [found.getpeername()[:2], found.getsockname()[:2]] != wanted:
                return False
            found.shutdown(socket.SHUT_RDWR)
    except OSError:  # closed meanwhile, or connected to nobody
        return False
    return True
