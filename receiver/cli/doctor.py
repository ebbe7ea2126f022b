"""``receiver doctor``."""

import click

from receiver.cli import options, output
from receiver.cli.checks import check_all
from receiver.cli.command import FAILED, Command
from receiver.cli.finding import FAIL, OK


@click.command(cls=Command)
@options.as_json
async def doctor(*, as_json: bool) -> None:
    """Check the installation and say what to do next.

    Nothing is changed. Exits 1 if a check fails; a warning is no failure.
    """
    found = []
    async for one in check_all():
        found.append(one)
        if not as_json:
            hint = f" → {one.next}" if one.next and one.status != OK else ""
            click.echo(f"{output.paint(one.status.ljust(4))}  {one.name}: {output.clean(one.text)}{hint}")
    failed = any(one.status == FAIL for one in found)
    if as_json:
        output.show_json({"ok": not failed, "checks": found})
    if failed:
        raise click.exceptions.Exit(FAILED)
