"""The outlet: what is written to a connection, and the turn of the event loop after which it leaves."""

import asyncio
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

#: Bytes that a connection gathers at most before they are written.
_MOST_GATHERED: Final = 64 * 1024


class Turn:
    """A turn of the event loop: what connections write in it is sent when it is over, all of it together.

    Sending several answers one after the other costs less than switching between sending and other work. An answer that
    is written in pieces leaves as one packet.
    """

    def __init__(self) -> None:
        self._writing: list[Outlet] = []

    def send_soon(self, one: "Outlet") -> None:
        """Have *one* flush when this turn is over."""
        if not self._writing:
            asyncio.get_running_loop().call_soon(self._send)
        self._writing.append(one)

    def _send(self) -> None:
        writing, self._writing = self._writing, []
        for one in writing:
            one.flush()


class Outlet(asyncio.Protocol):
    """The side of a connection that writes."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        #: What has been written in this turn.
        self._pieces: list[bytes] = []
        self._size = 0
        #: Whether the peer does not take what has been written.
        self.full = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # streams have no other
        """Begin."""
        self._transport = transport
        self._flow = FlowControl(transport)

    def pause_writing(self) -> None:
        """Wait with what is written: the peer does not take it."""
        self._flow.pause_writing()
        self.full = True

    def resume_writing(self) -> None:
        """Go on."""
        self._flow.resume_writing()
        self.full = False

    async def drain(self) -> None:
        """Wait until it takes more."""
        await self._flow.drain()

    def write(self, data: bytes) -> None:
        """Send *data* when this turn of the loop is over, and at once where much has been gathered."""
        if not self._pieces:
            self._turn.send_soon(self)
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _MOST_GATHERED:
            # Otherwise the transport could not tell whoever streams that the peer does not read.
            self.flush()

    def flush(self) -> None:
        """Send what has been gathered."""
        pieces, self._pieces, self._size = self._pieces, [], 0
        if pieces:
            try:
                self._transport.write(b"".join(pieces))
            except RuntimeError:
                # The peer has gone, and uvloop knows it before anybody is told.
                return
