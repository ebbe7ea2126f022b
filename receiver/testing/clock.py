"""A clock that goes on by itself and can be put forward: what a receiver in a test tells the time by."""

from datetime import UTC, datetime, timedelta

from receiver.clock import read_clock


class Clock:
    """Tells the time in milliseconds since the Unix epoch; it never goes back, as no receiver expects that."""

    def __init__(self) -> None:
        self._ahead = 0

    def __call__(self) -> int:
        """The time."""
        return read_clock() + self._ahead

    @property
    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self() / 1000, UTC)

    def advance(self, **span: float) -> None:
        """Put it forward by what ``timedelta`` takes: ``advance(hours=2)``.

        What is due then is done while the test awaits something; ``await receiver.idle()`` waits for all of it.

        Raises:
            ValueError: the span is negative.
            TypeError: it is no span.
        """
        try:
            ahead = timedelta(**span) // timedelta(milliseconds=1)
        except TypeError as error:
            raise TypeError(
                f"A clock is put forward by days, hours, minutes or seconds=…: {error}."
            ) from None
        if ahead < 0:
            raise ValueError("A clock is put forward, never back.")
        self._ahead += ahead

    def reach(self, moment: int) -> None:
        """Put it forward to *moment*, in milliseconds, if that is still to come."""
        self._ahead += max(moment - self(), 0)
