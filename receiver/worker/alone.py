"""Dispatches whose process died run again one at a time, so that only the one that kills it is blamed."""

from collections.abc import Callable
from typing import Final

from receiver.core.model import SECOND, Dispatch
from receiver.core.retry import alone_for

#: Seconds from one look for what was interrupted to the next: mostly there is nothing.
_PAUSE: Final = 0.25


class Alone:
    """Says when a dispatch that was interrupted may be claimed.

    Args:
        clock: The event loop's clock, in seconds.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: The interrupted dispatches that run, by identity, and until when each runs alone.
        self._running: dict[int, float] = {}
        self._look_at = 0.0

    def may_take(self) -> bool:
        """Whether one may be claimed now; ask once for each claim."""
        now = self._clock()
        if now < self._look_at or any(now < until for until in self._running.values()):
            return False
        self._look_at = now + _PAUSE
        return True

    def took(self, dispatch: Dispatch) -> None:
        """Note that *dispatch* begins to run."""
        if dispatch.interruptions and not dispatch.lapsed:
            self._running[id(dispatch)] = self._clock() + alone_for(dispatch.interruptions) / SECOND

    def ended(self, dispatch: Dispatch) -> None:
        """Note that it has ended: the next one may follow at once."""
        if self._running.pop(id(dispatch), None) is not None:
            self._look_at = 0.0
