"""``receiver docs``."""

import sys

import click

from receiver.cli import options, output
from receiver.cli.command import Command
from receiver.cli.table import show_table
from receiver.docs import topic as topic_named
from receiver.docs import topics


@click.command(cls=Command)
@click.argument("topic", required=False)
@options.as_json
def docs(*, topic: str | None, as_json: bool) -> None:
    """Read the documentation.

    Without TOPIC, list what there is. It is the documentation of this version, and needs no network. Exits 3 if
    there is no such topic.
    """
    if topic is not None:
        found = topic_named(topic)
        if as_json:
            output.show_json(found)
        else:
            show_markdown(found.text)
        return
    known = topics().values()
    if as_json:
        output.show_json({"topics": [{"name": one.name, "title": one.title} for one in known]})
    else:
        rows = [(one.name, one.about) for one in known]
        show_table(("topic", "says"), rows, none="There are no documents.")


def show_markdown(text: str) -> None:
    """Print Markdown: laid out on a terminal, as it is written elsewhere."""
    if not sys.stdout.isatty():
        click.echo(text.rstrip())
        return
    from rich.console import Console  # noqa: PLC0415  (only people at a terminal pay for it)
    from rich.markdown import Markdown  # noqa: PLC0415

    Console().print(Markdown(text))
