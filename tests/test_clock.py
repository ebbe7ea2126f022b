"""Clocks: the database's, carried on by a steady one, and the watch over a clock that is set."""

import pytest

from receiver.clock import DatabaseClock, StepWatch, read_boot, read_clock, read_steady
from receiver.core.model import HOUR, SECOND

#: What a database might say.
THEN = 1_795_000_000_000


class Hand:
    """A clock that goes when it is told to."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self) -> int:
        """What it says."""
        return self.at


class Database:
    """A database's clock, which takes its time to answer: half of it on the way there, half on the way back."""

    def __init__(self, steady: Hand, *, ahead: int, takes: int = 0) -> None:
        self.steady = steady
        self.ahead: int | None = ahead
        self.takes = takes

    def __call__(self) -> int | None:
        """What it says when the question arrives."""
        self.steady.at += self.takes // 2
        told = None if self.ahead is None else self.steady.at + self.ahead
        self.steady.at += self.takes // 2
        return told


def test_the_databases_clock_is_carried_on() -> None:
    """Between two answers it goes on with the steady clock, whatever this machine's own clock says."""
    steady = Hand(5_000)
    clock = DatabaseClock(steady=steady)
    clock.adjust(Database(steady, ahead=THEN))
    assert clock() == THEN + 5_000
    steady.at += HOUR
    assert clock() == THEN + 5_000 + HOUR


def test_the_way_to_the_database_is_not_counted() -> None:
    """An answer is taken for what was right in the middle of its way."""
    steady = Hand(0)
    clock = DatabaseClock(steady=steady)
    clock.adjust(Database(steady, ahead=THEN, takes=800))
    assert clock() == THEN + 800


def test_a_clock_that_drifts_is_put_right() -> None:
    """Forward and back: what the database says last is the time."""
    steady = Hand(0)
    clock = DatabaseClock(steady=steady)
    for ahead in (THEN, THEN + 30 * SECOND, THEN - HOUR):
        clock.adjust(Database(steady, ahead=ahead, takes=10))
        assert clock() == steady.at + ahead


def test_a_slow_answer_is_of_use_only_if_there_is_no_better_one() -> None:
    """A question that was stuck for seconds says little about the time; at the start it is all there is."""
    steady = Hand(0)
    clock = DatabaseClock(steady=steady)
    clock.adjust(Database(steady, ahead=THEN, takes=60 * SECOND))
    assert clock() == steady.at + THEN
    clock.adjust(Database(steady, ahead=THEN + 9, takes=2 * SECOND))
    assert clock() == steady.at + THEN + 9
    clock.adjust(Database(steady, ahead=THEN + 99, takes=2 * SECOND + 2))
    assert clock() == steady.at + THEN + 9


def test_a_time_counts_once_it_is_accepted() -> None:
    """Whoever has to follow a step does so first; if that fails, the clock goes on as it was."""
    steady, told = Hand(0), list[int]()
    clock = DatabaseClock(steady=steady)
    database = Database(steady, ahead=THEN)
    clock.adjust(database)
    database.ahead = THEN + HOUR

    def refuse(ahead: int) -> None:
        told.append(ahead)
        assert clock.ahead == THEN
        raise RuntimeError

    with pytest.raises(RuntimeError):
        clock.adjust(database, accept=refuse)
    assert (told, clock()) == ([THEN + HOUR], THEN)


def test_the_run_of_a_machine_has_a_name() -> None:
    """The same for everybody on it, where the system says it at all."""
    assert read_boot() == read_boot()
    assert read_boot() != ""


def test_a_database_without_a_clock_changes_nothing() -> None:
    """The last answer holds."""
    steady = Hand(0)
    clock = DatabaseClock(steady=steady)
    database = Database(steady, ahead=THEN)
    clock.adjust(database)
    database.ahead = None
    clock.adjust(database)
    assert clock() == THEN


@pytest.mark.parametrize("step", [-HOUR, -6 * SECOND, 6 * SECOND, HOUR])
def test_a_clock_that_is_set_is_noticed_once(step: int) -> None:
    """With what it would say by itself, and what it says; the next look finds nothing."""
    clock, steady = Hand(THEN), Hand(7)
    watch = StepWatch(clock=clock, steady=steady)
    clock.at += 3_000 + step
    steady.at += 3_000
    assert watch.look() == (THEN + 3_000, THEN + 3_000 + step)
    assert watch.look() is None
    clock.at += HOUR
    steady.at += HOUR
    assert watch.look() is None


def test_a_clock_that_is_disciplined_is_not_noticed() -> None:
    """A little at a time it may go as far as it likes: nothing is compared with a clock from long ago."""
    clock, steady = Hand(THEN), Hand(0)
    watch = StepWatch(clock=clock, steady=steady)
    for _ in range(100):
        clock.at += HOUR + 5 * SECOND
        steady.at += HOUR
        assert watch.look() is None


def test_the_machines_clocks_go_in_milliseconds() -> None:
    """One since 1970, the other since whenever; both forward."""
    assert read_clock() > THEN - 10 * 365 * 24 * HOUR
    began = read_steady()
    assert 0 <= read_steady() - began < SECOND
