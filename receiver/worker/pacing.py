"""Pacing: a handler with a rate begins no more attempts a second than that, counted over all nodes."""

from collections.abc import Callable

from receiver.core.model import SECOND
from receiver.handlers import Handler


class Pacing:
    """Says how many attempts of a handler may begin now.

    Args:
        clock: The time in milliseconds.
        nodes: How many nodes run handlers, and so share what may begin.
    """

    def __init__(self, *, clock: Callable[[], int], nodes: Callable[[], int]) -> None:
        self._clock = clock
        self._nodes = nodes
        #: What is left for each handler, and when that was so.
        self._left: dict[str, tuple[float, int]] = {}

    def free(self, handler: Handler, most: int) -> int:
        """How many may begin now, of *most*."""
        if not handler.rate:
            return most
        name, now = handler.spec.name, self._clock()
        rate = handler.rate / self._nodes()
        # What was not used within a second is not made up for, or a quiet hour would end with a burst.
        room = max(rate, 1.0)
        left, at = self._left.get(name, (room, now))
        left = min(room, left + max(now - at, 0) * rate / SECOND)
        self._left[name] = left, now
        return min(most, int(left))

    def began(self, handler: Handler) -> None:
        """Note that one has begun."""
        if handler.rate and handler.spec.name in self._left:
            left, at = self._left[handler.spec.name]
            self._left[handler.spec.name] = left - 1, at
