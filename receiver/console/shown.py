"""What stands on a page: text made inert and short, times, sizes, ids; and the templates.

Everything that is put into a template passes ``plain``: characters that a browser obeys without showing them (controls,
marks that turn the direction of writing, spaces of no width) are shown as what they are, tokens and passwords in
addresses are masked, and what is longer than any field of ours is cut off. Jinja2 then escapes it. Long texts (bodies,
tracebacks) have a bound of their own.
"""

import contextlib
import json
import re
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from receiver.console import words
from receiver.core.model import DAY, SECOND, Value
from receiver.views.document import timestamp
from receiver.views.masking import masked, masked_in_place, masked_value
from receiver.views.printed import LARGEST_READ, printed
from receiver.views.printed import LONGEST as LONGEST_TEXT

#: Characters of a field.
LONGEST: Final = 600
#: Bytes of a body that are shown in hex.
_LONGEST_HEX: Final = 4 * 1024
_HEX_ROW: Final = 16
_INVISIBLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff"
    "\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_INVISIBLE_IN_TEXT: Final = re.compile(_INVISIBLE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_SHORT_ID: Final = 20


class Pretty(Value, frozen=True, kw_only=True):
    """The beginning of a body for reading."""

    text: str
    #: What it was taken for: ``json``, ``text`` or ``bytes``.
    kind: str
    #: Whether there is more of it.
    cut: bool


def plain(text: str, most: int = LONGEST, *, lines: bool = False, revealed: bool = False) -> str:
    """*text* with nothing invisible in it, and no longer than *most*; with *lines* it keeps line breaks and tabs.

    Tokens and passwords in addresses are masked unless somebody asked to have them *revealed*.
    """
    cut = text[:most]
    if not revealed:
        # One that the cut goes through is masked to its end as well.
        cut = masked(cut)
    shown = (_INVISIBLE_IN_TEXT if lines else _INVISIBLE).sub(_visible, cut)
    return shown if len(text) <= most else f"{shown}… ({len(text) - most:,} more characters)"


def when(at: int | None, now: int) -> Markup:
    """A time: absolute in UTC, and how long ago; the browser keeps the second one up to date."""
    if at is None:
        return Markup('<span class="dim">–</span>')
    moment = datetime.fromtimestamp(at / SECOND, UTC)
    today = datetime.fromtimestamp(now / SECOND, UTC).date()
    form = (
        "%H:%M:%S" if moment.date() == today else "%-d %b %H:%M" if abs(now - at) < 300 * DAY else "%-d %b %Y"
    )
    return Markup(
        '<span class="when"><time datetime="{}" title="{}">{}</time> <span class="ago" data-at="{}">{}</span></span>'
    ).format(
        timestamp(at),
        f"{moment:%a %-d %b %Y %H:%M:%S.%f}"[:-3] + " UTC",
        f"{moment:{form}}",
        at,
        ago(at, now),
    )


def clock(at: int, now: int) -> Markup:
    """A time of day to the millisecond, with the date where it is another day's."""
    moment = datetime.fromtimestamp(at / SECOND, UTC)
    same = moment.date() == datetime.fromtimestamp(now / SECOND, UTC).date()
    text = f"{moment:%H:%M:%S.%f}"[:-3] if same else f"{moment:%-d %b %H:%M:%S}"
    title = f"{moment:%a %-d %b %Y %H:%M:%S.%f}"[:-3] + f" UTC, {ago(at, now)}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(timestamp(at), title, text)


def since(at: int, now: int) -> str:
    """Since when, for a sentence: the time of day, with the date where it is another day's."""
    moment = datetime.fromtimestamp(at / SECOND, UTC)
    today = datetime.fromtimestamp(now / SECOND, UTC).date()
    return f"{moment:%H:%M}" if moment.date() == today else f"{moment:%-d %b %H:%M}"


def ago(at: int, now: int) -> str:
    """How long before or after *now*."""
    if abs(now - at) < SECOND:
        return "now"
    return f"{span(now - at, rough=True)} ago" if at < now else f"in {span(at - now, rough=True)}"


def span(milliseconds: int, *, rough: bool = False) -> str:
    """A time span in at most two units: ``4 min 12 s``."""
    if milliseconds < SECOND:
        return f"{max(milliseconds, 0)} ms"
    seconds = milliseconds // SECOND
    if seconds < 10 and not rough:  # noqa: PLR2004
        return f"{milliseconds / SECOND:.1f} s"
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    for place, (unit, size) in enumerate(units):
        if seconds >= size:
            first, rest = divmod(seconds, size)
            if unit == "s" or (rough and first > 1 and unit != "d"):
                return f"{first} {unit}"
            smaller, small = units[place + 1]
            second = rest // small
            return f"{first} {unit} {second} {smaller}" if second else f"{first} {unit}"
    return "0 s"


def size(count: int | None) -> str:
    """A number of bytes for people."""
    if count is None:
        return "–"
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} byte" + ("" if count == 1 else "s")


def short(any_id: str) -> str:
    """An id that fits in a list: its beginning, which says when, and its end, which says which."""
    text = plain(any_id)
    return text if len(text) <= _SHORT_ID else f"{text[:12]}…{text[-5:]}"


def pretty(body: bytes, content_type: str = "") -> Pretty:
    """The beginning of a body for reading; a JSON document on lines, unless it is too large to be parsed for that."""
    head = body[:LARGEST_READ]
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or len(body) == len(head):
            return in_hex(body)
        text = head[: error.start].decode()
    kind = "json" if "json" in content_type else "text"
    if len(body) == len(head):
        with contextlib.suppress(ValueError, RecursionError):
            text, kind = printed(json.loads(text)), "json"
    return _cut(text, kind, more=len(body) > len(head))


def raw(body: bytes) -> Pretty:
    """The beginning of a body as it came; what is no UTF-8 is told by its bytes."""
    text = body[: LONGEST_TEXT + 1].decode("utf-8", "backslashreplace")
    return _cut(text, "text", more=len(body) > LONGEST_TEXT)


def in_hex(body: bytes) -> Pretty:
    """The first bytes of a body in hex and as characters, tokens of callback URLs masked byte by byte."""
    head = body[: 2 * _LONGEST_HEX].decode("latin-1")
    return _bytes(masked_in_place(head).encode("latin-1") + body[2 * _LONGEST_HEX :])


def _bytes(body: bytes) -> Pretty:
    return Pretty(text=hexdump(body), kind="bytes", cut=len(body) > _LONGEST_HEX)


def _cut(text: str, kind: str, *, more: bool) -> Pretty:
    return Pretty(text=text[:LONGEST_TEXT], kind=kind, cut=more or len(text) > LONGEST_TEXT)


def hexdump(body: bytes) -> str:
    """The first bytes of a body, in hex and as characters."""
    rows = []
    for start in range(0, min(len(body), _LONGEST_HEX), _HEX_ROW):
        row = body[start : start + _HEX_ROW]
        letters = "".join(chr(one) if 32 <= one < 127 else "·" for one in row)  # noqa: PLR2004
        rows.append(f"{start:06x}  {row.hex(' ').ljust(3 * _HEX_ROW - 1)}  {letters}")
    return "\n".join(rows)


def compact(value: object) -> str:
    """A value as JSON on one line, or a text as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def query(fields: dict[str, Any], **changes: object) -> str:
    """An address's query from *fields* with *changes*; what is empty is left out."""
    values = {name: value for name, value in (fields | changes).items() if value not in {None, ""}}
    return f"?{urlencode(values)}" if values else ""


@cache
def environment() -> Environment:
    """The templates, compiled once in a process."""
    made = Environment(
        loader=PackageLoader("receiver.console"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_inert,
    )
    made.filters |= {
        "ago": ago,
        "clock": clock,
        "compact": compact,
        "field": _field,
        "masked": masked_value,
        "number": words.number,
        "short": short,
        "size": size,
        "span": span,
        "text": _boxed,
        "when": when,
    }
    made.globals |= {"query": query, "words": words}
    return made


def _boxed(text: str, revealed: bool = False) -> Markup:  # noqa: FBT001, FBT002  (a template's filter)
    """A long text for a box of its own."""
    return escape(plain(text, LONGEST_TEXT, lines=True, revealed=revealed))


def _field(text: str, revealed: bool) -> Markup:  # noqa: FBT001  (a template's filter)
    """A text that somebody may have asked to have revealed."""
    return escape(plain(text, revealed=revealed))


def _inert(value: Any) -> Any:  # noqa: ANN401  (whatever a template shows)
    # What is markup already was put together, and escaped, by one of ours.
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:  # noqa: PLR2004
        return chr(0x2400 + code)
    return f"⟨U+{code:04X}⟩"
