"""Clocks: this machine's, the database's where several nodes share one, and a watch for a clock that was set."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from receiver.core.model import SECOND

#: Milliseconds within which the database must tell the time, for its answer to be of use.
_PROMPT: Final = 2 * SECOND
#: Milliseconds by which two clocks may drift apart before one of them must have been set.
STEP: Final = 5 * SECOND
#: The clock that also counts while the machine sleeps, where there is one.
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def read_clock() -> int:
    """This machine's clock: milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def read_boot() -> str | None:
    """Names the run of this machine in which the steady clock counts; ``None`` where the system does not say."""
    # https://man7.org/linux/man-pages/man4/random.4.html (read 2026-11-29): another one after each boot.
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return None


def read_steady() -> int:
    """Milliseconds of a clock that nobody sets; only differences mean anything."""
    return time.clock_gettime_ns(_STEADY) // 1_000_000


class DatabaseClock:
    """The database's clock: asked now and then, and carried on in between by this machine's steady one.

    Leases of several nodes are compared with each other, so all of them are told by one clock; a node whose own
    clock is set, or wrong, takes nobody's work away.
    """

    def __init__(self, *, steady: Callable[[], int] = read_steady) -> None:
        self._steady = steady
        self._ahead: int | None = None

    def __call__(self) -> int:
        """The time: milliseconds since the Unix epoch."""
        assert self._ahead is not None  # noqa: S101  (whoever makes one adjusts it before it is used)
        return self._steady() + self._ahead

    def adjust(
        self, ask: Callable[[], int | None], *, accept: Callable[[int], object] = lambda _ahead: None
    ) -> None:
        """Ask the database for the time, which blocks; how far that is ahead is told *accept* before it counts.

        An answer that took long is of use only if there is no better one.
        """
        asked = self._steady()
        told = ask()
        answered = self._steady()
        if told is not None and (self._ahead is None or answered - asked <= _PROMPT):
            ahead = told - (asked + answered) // 2
            accept(ahead)
            self._ahead = ahead

    @property
    def ahead(self) -> int:
        """By how much it is ahead of the steady clock."""
        return self() - self._steady()


class StepWatch:
    """Notices when a clock has been set, by comparing it with the steady one."""

    def __init__(
        self, *, clock: Callable[[], int] = read_clock, steady: Callable[[], int] = read_steady
    ) -> None:
        self._clock = clock
        self._steady = steady
        self._ahead = clock() - steady()

    def was_set(self, now: int) -> bool:
        """Whether the clock, which says *now*, has been set since the last look."""
        return abs(now - self._steady() - self._ahead) > STEP

    def look(self) -> tuple[int, int] | None:
        """What the clock would say had it not been set since the last look, and what it says; else ``None``."""
        now, steady = self._clock(), self._steady()
        before = steady + self._ahead
        # Small differences are accepted without a word: NTP corrects clocks all the time.
        self._ahead = now - steady
        return (before, now) if abs(now - before) > STEP else None
