"""How commands show what they found: fields, times and sizes for people, JSON for programs.

What providers and senders wrote is shown with its control characters escaped: a terminal obeys them.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import click
import msgspec

from receiver.core import spans
from receiver.core.model import SECOND as _SECOND
from receiver.core.model import Held
from receiver.views.failure import failure_line
from receiver.views.masking import MASK

#: A time span for people.
span: Final = spans.span
#: Why something failed, on one line.
failure: Final = failure_line

#: Where a URL's query brings a password, even a misspelled one.
_PASSWORD: Final = re.compile(r"(?i)([?&]\w*(?:pas|pw)\w*=)[^&]*")
#: So many characters a line has at least.
_NARROWEST: Final = 20
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


def show_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values below one another, leaving out what there is not."""
    shown = [(name, clean(str(value))) for name, value in pairs if value not in {None, ""}]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(folded(f"{paint(name.ljust(width), 'dim')}  {paint(value)}", indent=width + 2))


def folded(line: str, *, indent: int) -> str:
    """*line* for the terminal that it is printed in: longer ones go on below, between two words; as it is elsewhere."""
    if not sys.stdout.isatty():
        return line
    width = max(shutil.get_terminal_size().columns, indent + _NARROWEST)
    lines, used = [""], 0
    for word in re.split(r"(?<=\S)(?=\s)", line):
        wide = len(click.unstyle(word))
        if used + wide > width and used > indent:
            lines.append(" " * indent)
            word, used = word.lstrip(), indent  # noqa: PLW2901  (at the beginning of a line)
            wide = len(click.unstyle(word))
        lines[-1] += word
        used += wide
    return "\n".join(lines)


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


def moment(at: int | None) -> str:
    """A time for people: UTC, to the second."""
    return "" if at is None else f"{datetime.fromtimestamp(at / 1_000, UTC):%Y-%m-%d %H:%M:%SZ}"


def clock_time(at: int) -> str:
    """The time of day for people: UTC, to the millisecond."""
    return f"{datetime.fromtimestamp(at / 1_000, UTC):%H:%M:%S.%f}"[:-3]


def held(result: Held | None) -> str | None:
    """How large a result is, and of which type."""
    return None if result is None else f"{size(result.size)} {result.content_type}"


def lately(milliseconds: int) -> str:
    """How long something is so, for people who look at it now: nothing below a second."""
    if milliseconds < _SECOND:
        return "a moment"
    return span(milliseconds // _SECOND * _SECOND)


def size(count: int) -> str:
    """A number of bytes for people."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
