"""How commands show what they found: tables and timelines for people, JSON for programs.

What providers and senders wrote is shown with its control characters escaped: a terminal obeys them.
"""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import click
import msgspec

from receiver.core import spans
from receiver.core.model import Failure
from receiver.views.masking import MASK, masked

#: A time span for people.
span: Final = spans.span

#: Where a URL's query brings a password, even a misspelled one.
_PASSWORD: Final = re.compile(r"(?i)([?&]\w*(?:pas|pw)\w*=)[^&]*")
#: Words that stand out on a terminal.
_COLOURS: Final = {
    **dict.fromkeys(("succeeded", "accepted", "ok", "verified", "made", "read", "cleared"), "green"),
    **dict.fromkeys(
        ("failed", "dead", "rejected", "fail", "gave_up", "refused", "timed_out", "critical"), "red"
    ),
    **dict.fromkeys(
        ("expired", "canceled", "unreadable", "warn", "warning", "unknown", "retrying"), "yellow"
    ),
    **dict.fromkeys(("duplicate", "submitting", "submitted", "running", "fetching"), "cyan"),
}


def show_json(document: object, *, indent: int = 2) -> None:
    """Print *document*; with an indent of 0 as one line."""
    text = msgspec.json.encode(document)
    click.echo(msgspec.json.format(text, indent=indent) if indent else text)


def compact(document: object) -> str:
    """*document* as JSON on one line."""
    return msgspec.json.encode(document).decode()


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; without a terminal as plain text in columns, nothing cut off."""
    cells = [[clean("" if cell is None else str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _show_rich(columns, cells)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in [[name.upper() for name in columns], *cells]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _show_rich(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box  # noqa: PLC0415  (only people at a terminal pay for it)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        # An id that is broken over lines cannot be copied.
        table.add_column(name, overflow="fold", no_wrap=name in {"id", "job"})
    for row in cells:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    Console(soft_wrap=False).print(table)


def show_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values below one another, leaving out what there is not."""
    shown = [(name, clean(str(value))) for name, value in pairs if value not in {None, ""}]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{paint(name.ljust(width), 'dim')}  {paint(value)}")


def paint(text: str, style: str | None = None) -> str:
    """*text* in the colour of its word, or dimmed; as it is where nothing is coloured."""
    if not coloured():
        return text
    if style == "dim":
        return click.style(text, dim=True)
    colour = _COLOURS.get(text.strip())
    return text if colour is None else click.style(text, fg=colour)


def coloured() -> bool:
    """Whether standard output takes colours (https://no-color.org, read 2026-11-20)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def clean(text: str) -> str:
    """*text* with what a terminal would obey written as escapes; line breaks too."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def address(url: str) -> str:
    """A database's URL as it may be shown: without its password, wherever that stands and however it is written."""
    scheme, mark, rest = url.partition("://")
    if scheme == "sqlite":
        return url
    if not mark:
        return MASK
    # A password may hold an '@' that should have been encoded, so the last one counts.
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    place = _PASSWORD.sub(lambda found: f"{found[1]}{MASK}", place)
    return f"{scheme}://{user}{colon}{MASK if colon else ''}{at}{place}"


def number(count: int, *, more: bool) -> str:
    """A count, and a sign where there are *more* than were counted."""
    return f"{count}{'+' if more else ''}"


def last_line(text: str) -> str:
    """The last line of *text* that is not empty: of a traceback, what was raised."""
    return next(filter(None, reversed(text.splitlines())), "")


def failure(error: Failure | None) -> str:
    """Why something failed, on one line."""
    return "" if error is None else f"{error.code}: {last_line(masked(error.text))}".removesuffix(": ")


def moment(at: int | None) -> str:
    """A time for people: UTC, to the second."""
    return "" if at is None else f"{datetime.fromtimestamp(at / 1_000, UTC):%Y-%m-%d %H:%M:%SZ}"


def clock_time(at: int) -> str:
    """The time of day for people: UTC, to the millisecond."""
    return f"{datetime.fromtimestamp(at / 1_000, UTC):%H:%M:%S.%f}"[:-3]


def size(count: int) -> str:
    """A number of bytes for people."""
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
