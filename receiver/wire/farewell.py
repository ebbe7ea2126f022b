"""A farewell: what follows an answer that was given before its request was all here.

A socket that is closed with something unread resets the connection, and the reset overtakes the answer: of Python's and
Go's clients many never heard a 413. So our side ends first, and what is still sent is read and dropped, within bounds.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from receiver.timers import Deadlines
from receiver.wire.strangers import Strangers

if TYPE_CHECKING:
    from uvicorn.server import ServerState

#: Bytes that are read and dropped.
MOST: Final = 64 * 1024 * 1024
#: Seconds that it may take, and that the peer may be silent in it.
_LONGEST: Final = 10.0
_SILENCE: Final = 2.0
#: Seconds that are left of it once the server is being stopped.
_HURRY: Final = 1.0


class Farewell(asyncio.Protocol):
    """The last protocol of a connection: it ends when the peer does, and after so many bytes or seconds anyway.

    Args:
        transport: What it takes over.
        state: The server's.
        deadlines: Who looks after ``due``.
        strangers: Whose share it belongs to.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        state: "ServerState",
        *,
        deadlines: Deadlines,
        strangers: Strangers,
    ) -> None:
        self._transport = transport
        self._state = state
        self._deadlines = deadlines
        self._strangers = strangers
        self._loop = asyncio.get_running_loop()
        self._left = MOST
        self._end = self._loop.time() + _LONGEST
        #: By the loop's clock.
        self.due = self._loop.time() + _SILENCE
        state.connections.add(self)  # type: ignore[arg-type]  # as much of one of uvicorn's as it uses
        deadlines.watch(self, self._loop)
        strangers.rest(self, answered=True)
        transport.set_protocol(self)
        transport.write_eof()

    def data_received(self, data: bytes) -> None:
        """Drop it."""
        self._left -= len(data)
        if self._left < 0:
            self.expire()
        else:
            self.due = min(self._end, self._loop.time() + _SILENCE)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (why makes no difference)
        """It is over."""
        self._deadlines.forget(self)
        self._strangers.forget(self)
        self._state.connections.discard(self)

    def expire(self) -> None:
        """End it; who has not heard the answer by now does not listen."""
        self._transport.abort()

    dismiss = expire

    def shutdown(self) -> None:
        """Hurry: the server is being stopped."""
        self._end = min(self._end, self._loop.time() + _HURRY)
        self.due = min(self.due, self._end)
