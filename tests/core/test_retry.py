"""When to try again, and when to stop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.model import HOUR
from receiver.core.retry import Backoff, GiveUp, RetryAt, after_failure, parse_retry_after
from tests.core.making import NOW


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_waits_stay_within_their_bounds(failures: int, jitter: float) -> None:
    """However many failures, a wait lies between half the first and the longest, and takes no time to compute."""
    backoff = Backoff(first=1_000, longest=60_000)
    assert 500 <= backoff.wait(failures, jitter=jitter) <= 60_000


def test_waits_double() -> None:
    """Without jitter each wait is twice the one before, up to the longest."""
    backoff = Backoff(first=1_000, longest=10_000)
    assert [backoff.wait(n, jitter=0) for n in range(1, 7)] == [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]


def test_the_last_attempt_is_the_last() -> None:
    """The attempts are counted, whatever wait was asked for."""
    backoff = Backoff(first=1_000, longest=60_000, attempts=3)
    assert after_failure(2, backoff=backoff, jitter=0, now=NOW) == RetryAt(when=NOW + 2_000)
    assert after_failure(2, backoff=backoff, jitter=0, now=NOW, at_least=7) == RetryAt(when=NOW + 7)
    assert after_failure(3, backoff=backoff, jitter=0, now=NOW, at_least=7) == GiveUp()
    assert after_failure(9, backoff=backoff, jitter=0, now=NOW) == GiveUp()


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        ("0", 0),
        ("120", 120_000),
        (" 5 ", 5_000),
        ("99999999999999999999999999", HOUR),
        ("-1", None),
        ("1.5", None),
        ("\uff15", None),
        ("", None),
        ("soon", None),
        ("Wed, 18 Nov 2026 09:07:10 GMT", 30_000),
        ("Wed, 18 Nov 2026 09:06:00 GMT", 0),
        ("Wed, 18 Nov 2099 09:06:00 GMT", HOUR),
        ("Wed, 99 Nov 2026 99:06:00 GMT", None),
        ("\ud800", None),
    ],
    ids=ascii,
)
def test_retry_after_is_read_in_both_forms_and_bounded(value: str | None, wait: int | None) -> None:
    """Seconds and HTTP dates are obeyed up to the longest wait; anything else says nothing."""
    now = 1_794_992_800_000  # Wed, 18 Nov 2026 09:06:40 GMT
    assert parse_retry_after(value, now=now, longest=HOUR) == wait
