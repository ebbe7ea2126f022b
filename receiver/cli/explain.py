"""``receiver explain``."""

import re
import sys
import textwrap
from typing import Final

import click

from receiver.cli import options, output
from receiver.cli.command import Command
from receiver.cli.docs import show_markdown
from receiver.docs.codes import Code
from receiver.docs.codes import explain as explanation

_WIDTH: Final = 80
_PLACES: Final = {
    "alarm": "an alarm",
    "callback": "a callback",
    "diagnosis": "a diagnosis",
    "job": "a job",
    "log": "the log",
    "request": "a request",
    "setup": "setting up",
}


@click.command(cls=Command)
@click.argument("code")
@options.as_json
def explain(*, code: str, as_json: bool) -> None:
    """Say what a code means, why it happens and what to do next.

    Codes stand in logs, in errors, beside callbacks and in the timeline of jobs. Exits 3 if there is no such code.
    """
    found = explanation(code)
    if as_json:
        output.show_json(found)
    elif sys.stdout.isatty():
        show_markdown(paragraph(found, title=code))
    else:
        click.echo(_plain(paragraph(found, title=code)))


def _plain(markdown: str) -> str:
    """A paragraph without its marks, in lines that any terminal shows whole."""
    text = re.sub(r"\*\*|`|^# ", "", markdown).rstrip()
    lines = [
        textwrap.fill(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    ]
    return "\n".join(lines)


def paragraph(code: Code, *, title: str) -> str:
    """Everything about a code, as Markdown."""
    facts = ["met at " + " and ".join(_PLACES[place] for place in code.places)]
    facts += [f"HTTP {code.status}"] if code.status is not None else []
    facts += [f"exit code {code.exit}"] if code.exit is not None else []
    return (
        f"# {title}\n\n{code.means} {code.why}\n\n"
        f"**What to do:** {code.next}\n\n**Example:** `{code.example}`\n\n({'; '.join(facts)})\n"
    )
