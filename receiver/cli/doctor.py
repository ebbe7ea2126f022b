"""``receiver doctor``."""

import shutil
import sys
import textwrap
from typing import Final

import click

from receiver.cli import options, output
from receiver.cli.checks import check_all
from receiver.cli.command import FAILED, Command, note
from receiver.cli.finding import FAIL, OK, WARN, Check

#: Where the words of a check begin on its lines, and the fewest characters that a line of them has.
_INDENT: Final = 6
_NARROWEST: Final = 20


@click.command(cls=Command)
@click.option(
    "--whole", is_flag=True, help="Read an SQLite file, and all open jobs, whole: it may take minutes."
)
@options.as_json
async def doctor(*, whole: bool, as_json: bool) -> None:
    """Check the installation and say what to do next.

    What is well comes first, what needs somebody last: warnings, then failures, then how many there are of each.
    Nothing is changed. Exits 1 if a check fails; a warning is no failure. An SQLite file is read for two seconds, and
    of very many open jobs some are looked at, unless you ask for --whole.
    """
    found = []
    async for one in check_all(whole=whole, tell=_ignore if as_json else note):
        found.append(one)
        if not as_json and one.status == OK:
            _show(one)
    numbers = {status: [one.status for one in found].count(status) for status in (OK, WARN, FAIL)}
    if as_json:
        output.show_json({"ok": not numbers[FAIL], "numbers": numbers, "checks": found})
    else:
        for status in (WARN, FAIL):
            for one in found:
                if one.status == status:
                    _show(one)
        click.echo(
            f"{_count(numbers[FAIL], 'failure')}, {_count(numbers[WARN], 'warning')}, {numbers[OK]} ok"
        )
    if numbers[FAIL]:
        raise click.exceptions.Exit(FAILED)


def _ignore(_: str) -> None:
    return


def _show(one: Check) -> None:
    """Print a check on one line; at a terminal in lines that it shows whole, what to do on one of its own."""
    hint = f"→ {output.clean(one.next)}" if one.next and one.status != OK else ""
    text = f"{one.name}: {output.clean(one.text)}"
    lines = [" ".join(filter(None, (text, hint)))]
    if sys.stdout.isatty():
        width = max(shutil.get_terminal_size().columns - _INDENT, _NARROWEST)
        lines = [
            line
            for paragraph in (text, hint)
            for line in textwrap.wrap(paragraph, width, break_long_words=False, break_on_hyphens=False)
        ]
    click.echo(output.paint(one.status.ljust(4)) + f"  {f'{chr(10)}{chr(32) * _INDENT}'.join(lines)}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
