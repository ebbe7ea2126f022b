"""A figure: the ratio of two things, measured in turn (A B A B …) so that the machine's moods hit both."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A ratio with its rounds and its target."""

    name: str
    target: float
    #: Whether the target is a ceiling rather than a floor.
    at_most: bool
    runs: list[float]

    @property
    def ratio(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.runs)

    @property
    def reached(self) -> bool:
        """Whether the target is reached."""
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target


def in_turn(one: Callable[[], float], other: Callable[[], float]) -> list[float]:
    """Measure *one* and *other* alternately, after a round that does not count; their ratios."""
    one(), other()
    return [one() / other() for _ in range(ROUNDS)]
