"""Lengths of time for people."""


def span(milliseconds: int) -> str:
    """A time span in one unit: ``350 ms``, ``1.2 s``, ``12 s``, ``1 min``, ``3 h``, ``2 d``.

    From two of a unit on it is rounded to whole ones; one alone is said only where it is exactly that.
    """
    seconds = milliseconds / 1_000
    if seconds < 1:
        return f"{milliseconds} ms"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if milliseconds % 1_000 == 0 else f"{seconds:.1f} s"
