"""Allowances: how many requests a provider may still be sent, so many at once and so many a second."""

from receiver.core.model import SECOND


class Allowance:
    """What one provider may still be sent, at *rate* requests a second."""

    def __init__(self, rate: float, now: int) -> None:
        self._rate = rate
        self._tokens = max(rate, 1.0)
        self._at = now

    def take(self, wanted: int, now: int) -> int:
        """Take up to *wanted* requests; return how many may be sent."""
        self._tokens = min(max(self._rate, 1.0), self._tokens + max(now - self._at, 0) * self._rate / SECOND)
        self._at = now
        taken = min(wanted, int(self._tokens))
        self._tokens -= taken
        return taken

    def give_back(self, unused: int) -> None:
        """Give requests back that were not sent."""
        self._tokens += unused
