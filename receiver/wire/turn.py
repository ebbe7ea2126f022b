"""A turn of the event loop, and what is written in it."""

import asyncio
from typing import Protocol


class Writer(Protocol):
    """Gathers what it has to send."""

    def flush(self) -> None:
        """Send it."""


class Turn:
    """A turn of the event loop: what connections write in it is sent when it is over, all of it together.

    To send one answer after the other costs less than to go back and forth between that and other work; and an answer
    that is written in pieces is one packet.
    """

    def __init__(self) -> None:
        self._writing: list[Writer] = []

    def send_soon(self, one: Writer) -> None:
        """Have *one* flush when this turn is over."""
        if not self._writing:
            asyncio.get_running_loop().call_soon(self._send)
        self._writing.append(one)

    def _send(self) -> None:
        writing, self._writing = self._writing, []
        for one in writing:
            one.flush()
