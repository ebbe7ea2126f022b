"""Options that several commands take, and the kinds of values they read."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_DURATION: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
#: A number with more digits than seconds have until the year 5138 is milliseconds.
_LONGEST_SECONDS: Final = 11


def read_duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Read a time span such as ``90s``, ``15m``, ``1h`` or ``30d`` as milliseconds."""
    if value is None:
        return None
    found = _DURATION.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a duration such as 90s, 15m, 1h or 30d.")
    return int(found[1]) * _UNITS[found[2]]


def read_seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read a time span as ``read_duration`` does, or a number of seconds; in seconds."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        found = read_duration(ctx, param, value)
        return None if found is None else found / 1_000
    if seconds < 0 or not math.isfinite(seconds):
        raise click.BadParameter(f"{value!r} is no number of seconds.")
    return seconds


def read_moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Read a time, ISO 8601 or seconds or milliseconds since 1970, as milliseconds."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return int(value) * (1 if len(value) > _LONGEST_SECONDS else 1_000)
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is neither ISO 8601 nor a number of seconds since 1970."
        ) from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000)


def read_headers(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[bytes, bytes], ...]:
    """Read headers as they were sent: ``Name: value``."""
    pairs = [value.encode("utf-8", "surrogateescape").partition(b":") for value in values]
    if not all(colon and name.strip() for name, colon, _ in pairs):
        raise click.BadParameter("a header is written 'Name: value'.")
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


as_json: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
provider: Final = click.option("--provider", metavar="NAME", help="Only of this provider.")
since: Final = click.option(
    "--since", callback=read_duration, metavar="SPAN", help="Not older than this: 90s, 15m, 1h, 30d."
)


def paging(most: int) -> Callable[[F], F]:
    """Add --limit, up to *most*, and --cursor."""
    limit = click.option(
        "--limit", type=click.IntRange(1, most), default=50, show_default=True, help="At most so many."
    )
    cursor = click.option("--cursor", metavar="ID", help="The ones after this: where the last page ended.")

    def add(function: F) -> F:
        return limit(cursor(function))

    return add
