"""The connection that listens: this node hears of the work of others at once, not at its next look.

It is the one thing here that needs a session of its own, so it may be left out (RECEIVER_LISTEN=0, behind a
transaction-mode pooler): workers look every second anyway.
"""

import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

import psycopg
import structlog

log = structlog.get_logger(__name__)

CHANNEL: Final = "receiver_work"
#: Seconds after which the thread looks for itself, whatever it has been told.
_TURN: Final = 0.5
#: Seconds after which a connection that failed is made anew.
_PAUSE: Final = 1.0


class Listener(threading.Thread):
    """Listens until it is stopped, on a new connection whenever the last one broke."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], heard: Callable[[], object]) -> None:
        super().__init__(name="receiver-listener", daemon=True)
        self._connect = connect
        self._heard = heard
        self._stop_asked = threading.Event()
        # The thread waits at two sockets; at its own there is something to read as soon as the other is closed.
        self._told, self._teller = socket.socketpair()

    def stop(self) -> None:
        """Stop listening, and wait until that is done, which is at once."""
        self._stop_asked.set()
        self._teller.close()
        self.join()
        self._told.close()

    def run(self) -> None:
        """Listen."""
        while not self._stop_asked.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001  (whatever it is: workers look every second meanwhile)
                log.warning("listening_failed", reason=str(error).strip())
                self._stop_asked.wait(_PAUSE)

    def _listen(self) -> None:
        with self._connect() as connection, selectors.DefaultSelector() as sockets:
            connection.execute(f"LISTEN {CHANNEL}")
            # What was announced before this moment was not heard.
            self._heard()
            sockets.register(connection, selectors.EVENT_READ)
            sockets.register(self._told, selectors.EVENT_READ)
            while not self._stop_asked.is_set():
                sockets.select(_TURN)
                for _ in connection.notifies(timeout=0):
                    self._heard()
