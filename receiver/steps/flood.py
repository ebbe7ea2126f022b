"""Floods of rejected callbacks: no more of them is written than quarantine keeps, the rest is answered and counted.

What quarantine would delete again a moment later is not worth a commit: forged callbacks must not keep the disk from
genuine ones. The record is not asked during a flood, so a callback with a retired token is answered 401 too, as with
any other token of ours.
"""

from typing import Final

import structlog

from receiver.core.model import SECOND
from receiver.storage.arrivals import Quota

log = structlog.get_logger(__name__)

#: In so many milliseconds as many are written as quarantine keeps.
WINDOW: Final = 10 * SECOND


class _Window:
    """What was written of one class since ``began``."""

    __slots__ = ("began", "entries", "size", "told")

    def __init__(self, began: int) -> None:
        self.began = began
        self.entries = self.size = 0
        self.told = False


class Flood:
    """Says which rejected callbacks are worth keeping."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._windows: dict[tuple[str, bool], _Window] = {}

    def is_full(self, provider: str, *, named: bool, now: int) -> bool:
        """Whether no more rejected callbacks are kept for now; *named*: of those with a token of ours."""
        window = self._window(provider, named, now)
        if window.entries < self._quota.entries and window.size < self._quota.size:
            return False
        if not window.told:
            window.told = True
            log.warning("rejected_not_kept", provider=provider, token=named, until=window.began + WINDOW)
        return True

    def add(self, provider: str, *, named: bool, size: int, now: int) -> None:
        """Count one of *size* bytes that was kept."""
        window = self._window(provider, named, now)
        window.entries += 1
        window.size += size

    def _window(self, provider: str, named: bool, now: int) -> _Window:  # noqa: FBT001
        window = self._windows.get((provider, named))
        # A clock that was set back begins anew as well.
        if window is None or not 0 <= now - window.began < WINDOW:
            window = self._windows[provider, named] = _Window(now)
        return window
