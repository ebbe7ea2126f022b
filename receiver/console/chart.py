"""A chart of bars over time, as numbers that a template draws: no script draws anything."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from receiver.core.model import SECOND, Value

_WIDTH, _HEIGHT, _GAP = 960, 100, 3
#: How high a bar is at least that stands for anything at all.
_LEAST: Final = 2


class Bar(Value, frozen=True, kw_only=True):
    """A part of a bar."""

    x: int
    y: int
    width: int
    height: int
    colour: str


class Bin(Value, frozen=True, kw_only=True):
    """One span of time."""

    label: str
    values: list[int]
    bars: list[Bar]


class Chart(Value, frozen=True, kw_only=True):
    """Everything that is drawn, and told to somebody who does not see it."""

    width: int
    height: int
    #: Name, colour and sum of each part.
    parts: list[tuple[str, str, int]]
    bins: list[Bin]
    top: int
    first: str
    last: str

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.top


def chart(
    values: Mapping[tuple[int, str], int],
    parts: Sequence[tuple[str, str]],
    *,
    begin: int,
    step: int,
    now: int,
) -> Chart:
    """Bars from *begin* to *now*, one each *step* (milliseconds); *values* by (place, part), parts from below."""
    count = (now - begin) // step + 1
    sums = [sum(values.get((place, name), 0) for name, _ in parts) for place in range(count)]
    top = max(sums, default=0)
    each = _WIDTH / count
    bins = []
    for place in range(count):
        bars, base = [], _HEIGHT
        for name, colour in parts:
            value = values.get((place, name), 0)
            if not value:
                continue
            height = max(round(value / top * _HEIGHT), _LEAST)
            base -= height
            bars.append(
                Bar(
                    x=round(place * each),
                    y=max(base, 0),
                    width=max(round(each) - _GAP, 1),
                    height=height,
                    colour=colour,
                )
            )
        bins.append(
            Bin(
                label=_time(begin + place * step),
                values=[values.get((place, name), 0) for name, _ in parts],
                bars=bars,
            )
        )
    totals = [(name, colour, sum(v for (_, n), v in values.items() if n == name)) for name, colour in parts]
    return Chart(
        width=_WIDTH,
        height=_HEIGHT,
        parts=totals,
        bins=bins,
        top=top,
        first=_time(begin, day=True),
        last="now",
    )


def _time(at: int, *, day: bool = False) -> str:
    moment = datetime.fromtimestamp(at / SECOND, UTC)
    return f"{moment:%-d %b %H:%M}" if day else f"{moment:%H:%M}"
