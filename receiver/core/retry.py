"""When to try again, and when to stop: functions that decide and do nothing."""

from typing import Final

from receiver.core.model import MINUTE, SECOND, Value

_DOUBLINGS: Final = 16


class Backoff(Value, frozen=True, kw_only=True):
    """Waits that double from *first* to *longest* milliseconds, for *attempts* attempts in all."""

    first: int = 5 * SECOND
    longest: int = 10 * MINUTE
    attempts: int = 8

    def wait(self, failures: int, *, jitter: float) -> int:
        """Milliseconds to wait after *failures* failures in a row.

        *jitter* is in [0, 1); it spreads the wait over its upper half, so that jobs which failed together
        do not come back together.
        """
        full = min(self.longest, self.first << min(max(failures - 1, 0), _DOUBLINGS))
        return full - int(full * jitter / 2)


class RetryAt(Value, frozen=True, kw_only=True):
    """Try again at ``when`` (milliseconds since the Unix epoch)."""

    when: int


class GiveUp(Value, frozen=True, kw_only=True):
    """No attempts left."""


def after_failure(
    attempt: int, *, backoff: Backoff, jitter: float, now: int, at_least: int | None = None
) -> RetryAt | GiveUp:
    """Decide after attempt number *attempt* failed.

    *at_least* is a wait in milliseconds that somebody asked for (``Retry-After``, a handler's ``Retry``);
    it replaces the backoff, not the count.
    """
    if attempt >= backoff.attempts:
        return GiveUp()
    wait = backoff.wait(attempt, jitter=jitter) if at_least is None else at_least
    return RetryAt(when=now + wait)


def alone_for(interruptions: int) -> int:
    """For how many milliseconds what was interrupted so often runs with nothing else beside it that was.

    It may be the one that ends its process: if that happens again meanwhile, no other is to blame. Growing fourfold, it
    soon is longer than whatever it takes until the end of the process, or of the handler.
    """
    return 10 * SECOND << 2 * min(max(interruptions, 1) - 1, _DOUBLINGS)


def parse_retry_after(value: str | None, *, now: int, longest: int) -> int | None:
    """Read a ``Retry-After`` header as milliseconds to wait, at most *longest*; ``None`` if it says nothing.

    Both forms of RFC 9110, section 10.2.3 (https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3, read
    2026-11-20) are understood: seconds, and an HTTP date.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:10]) * SECOND, longest)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  (dates are rare, the import is not cheap)

    try:
        when = int(parsedate_to_datetime(text).timestamp() * SECOND)
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(when - now, 0), longest)
