"""A figure: the ratio of two things, measured in turn (A B A B …) so that the machine's moods hit both."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

ROUNDS = 7


class UnmeasuredError(Exception):
    """Something cannot be measured here; the sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A ratio, or an absolute value, with its rounds and its target."""

    name: str
    target: float
    #: Whether the target is a ceiling rather than a floor.
    at_most: bool
    runs: list[float]
    #: What was last measured where that is short of the target: a short run looks for what has become worse.
    usual: float | None = None
    #: Why there are no runs, where there are none.
    unmeasured: str = ""
    #: Whether that is because something went wrong.
    broken: bool = False
    #: What else was seen on the way: medians in units of their own.
    seen: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.runs)

    @property
    def reached(self) -> bool:
        """Whether the target is reached."""
        return self.within(1.0)

    def within(self, slack: float) -> bool:
        """Whether the figure is at worst *slack* times as bad as its target; with any, as what is usual for it."""
        if self.unmeasured:
            return not self.broken
        aim = self.target if slack == 1.0 or self.usual is None else self.usual
        return self.ratio <= aim * slack if self.at_most else self.ratio >= aim / slack


def in_turn(one: Callable[[], float], other: Callable[[], float], *, rounds: int = ROUNDS) -> list[float]:
    """Measure *one* and *other* alternately, after a round that does not count; their ratios."""
    one(), other()
    return [one() / other() for _ in range(rounds)]
