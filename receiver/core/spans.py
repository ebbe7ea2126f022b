"""Lengths of time for people."""


def span(milliseconds: int) -> str:
    """A time span in one unit: ``350 ms``, ``12.0 s``, ``5 min``, ``3 h``, ``2 d``."""
    seconds = milliseconds / 1_000
    if seconds < 1:
        return f"{milliseconds} ms"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
