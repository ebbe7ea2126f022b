"""How much of a flood of rejected callbacks is kept."""

from receiver.steps.flood import WINDOW, Flood
from receiver.storage.arrivals import Quota

NOW = 1_790_000_000_000
QUOTA = Quota(entries=3, size=1000)


def taken(flood: Flood, count: int, *, provider: str = "acme", named: bool = True, now: int = NOW) -> int:
    """How many of *count* small ones are kept."""
    return sum(keeps(flood, 10, provider=provider, named=named, now=now) for _ in range(count))


def keeps(flood: Flood, size: int, *, provider: str = "acme", named: bool = True, now: int = NOW) -> bool:
    """Whether one is kept."""
    if flood.is_full(provider, named=named, now=now):
        return False
    flood.add(provider, named=named, size=size, now=now)
    return True


def test_as_many_are_kept_as_quarantine_holds_and_in_the_next_window_as_many_again() -> None:
    """The rest would have been deleted a moment later."""
    flood = Flood(QUOTA)
    assert taken(flood, 10) == 3
    assert taken(flood, 10, now=NOW + WINDOW - 1) == 0
    assert taken(flood, 10, now=NOW + WINDOW) == 3


def test_classes_do_not_crowd_each_other_out() -> None:
    """Those without a token, which anybody can send, leave room for those with one, and for other providers."""
    flood = Flood(QUOTA)
    assert taken(flood, 10, named=False) == 3
    assert taken(flood, 10) == 3
    assert taken(flood, 10, provider="other") == 3


def test_large_ones_fill_it_too() -> None:
    """Quarantine is bounded in bytes as well; what begins below the bound is kept whole."""
    flood = Flood(QUOTA)
    assert [keeps(flood, 600) for _ in range(3)] == [True, True, False]


def test_what_is_not_kept_takes_no_room() -> None:
    """A retired token hears 404 and nothing is stored: as many as may come, they leave room for others."""
    flood = Flood(QUOTA)
    assert not any(flood.is_full("acme", named=True, now=NOW) for _ in range(10))
    assert taken(flood, 10) == 3


def test_a_clock_that_is_set_back_begins_anew() -> None:
    """Else nothing would be kept until it is where it was."""
    flood = Flood(QUOTA)
    assert taken(flood, 3) == 3
    assert taken(flood, 1, now=NOW - 3_600_000) == 1
