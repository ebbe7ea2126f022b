"""The connection that listens: this node hears of the work of others at once, not at its next look.

It is the one thing here that needs a session of its own, so it may be left out (RECEIVER_LISTEN=0, behind a
transaction-mode pooler): workers look every second anyway.
"""

import threading
from collections.abc import Callable
from typing import Any, Final

import psycopg
import structlog

log = structlog.get_logger(__name__)

CHANNEL: Final = "receiver_work"
#: Seconds for which the server is listened to before the thread looks whether it is to stop.
_TURN: Final = 0.5
#: Seconds after which a connection that failed is made anew.
_PAUSE: Final = 1.0


class Listener(threading.Thread):
    """Listens until it is stopped, on a new connection whenever the last one broke."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], heard: Callable[[], None]) -> None:
        super().__init__(name="receiver-listener", daemon=True)
        self._connect = connect
        self._heard = heard
        self._stop_asked = threading.Event()

    def stop(self) -> None:
        """Stop listening, and wait until that is done."""
        self._stop_asked.set()
        self.join()

    def run(self) -> None:
        """Listen."""
        while not self._stop_asked.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001  (whatever it is: workers look every second meanwhile)
                log.warning("listening_failed", reason=str(error).strip())
                self._stop_asked.wait(_PAUSE)

    def _listen(self) -> None:
        with self._connect() as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            # What was announced before this moment was not heard.
            self._heard()
            while not self._stop_asked.is_set():
                for _ in connection.notifies(timeout=_TURN, stop_after=1):
                    self._heard()
