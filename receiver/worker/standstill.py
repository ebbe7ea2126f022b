"""Standstill: notices when the event loop, or the whole process, stops; logs where, and counts the seconds."""

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final

import structlog

from receiver.core.model import SECOND

log = structlog.get_logger(__name__)

#: Seconds after which an event loop that does not turn is told of; and again whenever that has doubled.
_PATIENCE: Final = 2.0
#: Seconds by which a thread may be late on a busy machine before the process must have been frozen.
_LATE: Final = 5.0


class Standstill:
    """Watches an event loop from another thread.

    Args:
        loop: Which; made in its own thread.
        steady: Milliseconds of a clock that nobody sets.
        stood: Told, in the loop's thread, what stood still (event_loop_blocked, process_frozen), for how many seconds.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        steady: Callable[[], int],
        stood: Callable[[str, float], None],
    ) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._steady = steady
        self._stood = stood
        #: When the loop was asked to turn, and has not yet.
        self._asked: int | None = None
        self._tell_after = _PATIENCE

    def look(self, *, late: float) -> bool:
        """Look once, from the other thread, which woke up so many seconds *late*; whether there is still a loop."""
        if late > _LATE:
            log.warning("process_frozen", seconds=round(late))
        now = self._steady()
        try:
            if late > _LATE:
                self._loop.call_soon_threadsafe(self._stood, "process_frozen", late)
                # The loop could not turn meanwhile, whatever it was doing.
                self._asked = now if self._asked is not None else None
            if self._asked is None:
                self._asked = now
                self._loop.call_soon_threadsafe(self._turned)
                return True
        except RuntimeError:
            return False
        seconds = (now - self._asked) / SECOND
        if seconds >= self._tell_after:
            self._tell_after = 2 * seconds
            log.warning("event_loop_blocked", seconds=round(seconds), where=self._where())
        return True

    def _turned(self) -> None:
        asked, told = self._asked, self._tell_after > _PATIENCE
        self._asked, self._tell_after = None, _PATIENCE
        if told and asked is not None:
            seconds = (self._steady() - asked) / SECOND
            log.warning("event_loop_turns", seconds=round(seconds, 1))
            self._stood("event_loop_blocked", seconds)

    def _where(self) -> str | None:
        """The line that the loop's thread is at."""
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001  (its one public name)
        if frame is None:
            return None
        last = traceback.extract_stack(frame, limit=1)[-1]
        return f"{last.filename}:{last.lineno} in {last.name}"
