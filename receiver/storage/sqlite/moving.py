"""Moving a long log into the database beside the writer, so that no commit waits for it.

A log grows while somebody reads for long, and to move hundreds of megabytes takes seconds. Below SQLite 3.51.3 a
checkpoint beside a writer may damage the file if the log begins anew meanwhile (the WAL-reset bug of
sqlite.org/wal.html, known here from what others wrote of it), which is why the short ones hold the lock that writers
hold. A log does not begin anew while somebody reads what is in it: a reader holds one of its read marks, and who resets
the log must have them all (walRestartLog in https://sqlite.org/src/file/src/wal.c). So this one reads, from before it
begins until after it has ended, and stands in nobody's way.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import Final

import structlog

log = structlog.get_logger(__name__)

#: Seconds after which it is tried again: whoever reads for long still may.
_PAUSE: Final = 1.0
#: How often it is said that the log is long, in seconds.
_TELL_EVERY: Final = 60.0


class Moving:
    """Moves a long log, in a thread of its own.

    Args:
        connect: A new connection that may write.
        locked: What every writer holds while it writes.
        short: How many bytes are moved soon enough while writers wait.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], sqlite3.Connection],
        locked: Callable[[], AbstractContextManager[None]],
        short: int,
    ) -> None:
        self._connect = connect
        self._locked = locked
        self._short = short
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._not_before = self._told_at = 0.0
        #: Whether what is left is short enough for writers to wait for it.
        self.caught_up = False

    def begin(self, size: int) -> None:
        """Move a log of *size* bytes, unless that is under way or was tried just now; it is said how long it is."""
        now = time.monotonic()
        if now < self._not_before or (self._thread is not None and self._thread.is_alive()):
            return
        if now >= self._told_at:
            self._told_at = now + _TELL_EVERY
            log.warning("database_log_long", bytes=size)
        self._thread = threading.Thread(target=self._run, name="receiver-checkpoint", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what is not moved stays in the log."""
        connection, thread = self._connection, self._thread
        if thread is not None and thread.is_alive():
            if connection is not None:
                connection.interrupt()
            thread.join()

    def _run(self) -> None:
        try:
            with closing(self._connect()) as moving, closing(self._connect()) as reading:
                self._connection = moving
                with self._locked():
                    # Something is in the log for certain, and is read: until that ends the log does not begin anew.
                    moving.execute("BEGIN IMMEDIATE")
                    moving.execute("PRAGMA user_version = 0")
                    moving.execute("COMMIT")
                    reading.execute("BEGIN")
                    reading.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
                _, frames, moved = moving.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                (page,) = moving.execute("PRAGMA page_size").fetchone()
            self.caught_up = (frames - moved) * page < self._short
        except Exception as error:  # noqa: BLE001  (the next one tries again; commits are unharmed)
            log.warning("checkpoint_failed", error=str(error))
        finally:
            self._connection = None
            self._not_before = time.monotonic() + _PAUSE
