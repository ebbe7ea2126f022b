"""Tables: lists for people, readable in whatever terminal there is, and whole.

A terminal that is too narrow for a line a row gets several: what names things, and what is long, stands below the rest.
Nothing is left out or cut off, and no word is broken: an id that is broken over lines cannot be copied. What is no
terminal gets a line a row.
"""

import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import click

from receiver.cli.command import note
from receiver.cli.output import clean, coloured, paint

#: What names a row, and says by how it begins what it is.
_NAMES: Final = {"id", "job"}
_GAP: Final = "  "
#: The last column is wrapped, rather than put below, if it has so many characters of its own.
_LEAST: Final = 30
#: A column that is too wide for its place stays there for what is shorter, if that may have so many characters.
_SHORTEST: Final = 12
#: Stands where a cell is too long for its column, and is written below the row.
_BELOW: Final = "↓"


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, none: str) -> None:
    """Print a table; *none* is said on standard error where there is no row."""
    cells = [[clean("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not cells:
        note(none)
        return
    lines = in_terminal(columns, cells) if sys.stdout.isatty() else in_columns(columns, cells)
    for line in lines:
        click.echo(line)


def in_columns(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """A line a row, however long."""
    widths = _widths(columns, cells)
    return [
        _GAP.join(_padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [[name.upper() for name in columns], *cells]
    ]


def in_terminal(
    columns: Sequence[str], cells: Sequence[Sequence[str]], *, width: int | None = None
) -> list[str]:
    """A table for a terminal of so many columns, or for the one that there is."""
    width = width or shutil.get_terminal_size().columns
    widths = _widths(columns, cells)
    names: list[int] = []
    if _together(widths) > width:
        if wrapped := _wrapped(cells, widths, width):
            return _with_prose(columns, cells, widths, wrapped)
        names = [place for place, column in enumerate(columns) if column in _NAMES]
    above = _fitted(columns, widths, names, width)
    head = [_line((columns[place].upper(), above[place]) for place in above)]
    if names and above:
        head.append(_GAP + _line((columns[place].upper(), widths[place]) for place in names))
    lines = [click.style(one, bold=True) if coloured() else one for one in head]
    for row in cells:
        long = [place for place in range(len(row)) if place not in names and _is_long(row, place, above)]
        shown = {place: _BELOW if place in long else row[place] for place in above}
        lines.append(_line((shown[place], above[place]) for place in above))
        lines += _named([(row[place], widths[place]) for place in names], width)
        for place in long:
            text = f"{columns[place]}: {row[place]}"
            lines += [f"{_GAP}{one}" for one in _folded(text, width - len(_GAP), indent=_GAP)]
    return lines


def _fitted(
    columns: Sequence[str], widths: Sequence[int], names: Sequence[int], width: int
) -> dict[int, int]:
    """How wide each column is that stands above *names*: as wide as its cells, the widest ones as far as there is room.

    What does not even have room for its heading has none there.
    """
    above = {place: wide for place, wide in enumerate(widths) if place not in names}
    while above and (over := _together(list(above.values())) - width) > 0:
        widest = max(above, key=lambda place: above[place])
        least = max(_wide(columns[widest]), _SHORTEST)
        if above[widest] - over < least:
            if len(above) == 1:
                break
            del above[widest]
        else:
            above[widest] -= over
    return above


def _is_long(row: Sequence[str], place: int, above: Mapping[int, int]) -> bool:
    return _wide(row[place]) > above.get(place, 0)


def _wrapped(cells: Sequence[Sequence[str]], widths: Sequence[int], width: int) -> int:
    """In how many characters the last column can be wrapped, if all others stand beside it; else 0."""
    left = width - _together(widths[:-1]) - len(_GAP)
    longest = max(_wide(word) for row in cells for word in ["", *row[-1].split()])
    return left if left >= max(longest, _LEAST) else 0


def _with_prose(
    columns: Sequence[str], cells: Sequence[Sequence[str]], widths: Sequence[int], wrapped: int
) -> list[str]:
    """A table whose last column is wrapped."""
    head = _line(zip((name.upper() for name in columns), widths, strict=True))
    lines = [click.style(head, bold=True) if coloured() else head]
    indent = " " * (_together(widths[:-1]) + len(_GAP))
    for row in cells:
        first, *rest = _folded(row[-1], wrapped) or [""]
        lines.append(_line(zip([*row[:-1], first], widths, strict=True)))
        lines += [f"{indent}{one}" for one in rest]
    return lines


def _named(names: Sequence[tuple[str, int]], width: int) -> list[str]:
    """The names of a row, side by side as far as they fit, dimmed."""
    lines: list[str] = []
    for name, wide in names:
        if lines and len(lines[-1].rstrip()) + len(_GAP) + _wide(name) <= width:
            lines[-1] += _GAP + _padded(name, wide)
        else:
            lines.append(_GAP + _padded(name, wide))
    return [paint(one.rstrip(), "dim") for one in lines if one.strip()]


def _line(cells: Iterable[tuple[str, int]]) -> str:
    given = list(cells)
    ends = len(given) - 1
    # Nothing is filled up behind the last one.
    return _GAP.join(
        paint(cell if place == ends else _padded(cell, wide)) for place, (cell, wide) in enumerate(given)
    ).rstrip()


def _folded(text: str, width: int, *, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _together(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(_wide, column)) for column in zip(columns, *cells, strict=True)]


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - _wide(cell))


def _wide(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )
