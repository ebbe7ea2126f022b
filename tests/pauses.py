"""How long to wait between two looks at what will come: each look costs a request, or reads of a database."""

from collections.abc import Iterator

#: Seconds: the longest that something has come before it is seen.
LONGEST = 0.1


def pauses(first: float) -> Iterator[float]:
    """Seconds from look to look without end: *first*, then each a fifth longer, up to a tenth of a second."""
    pause = first
    while True:
        yield pause
        pause = max(first, min(pause * 1.2, LONGEST))
