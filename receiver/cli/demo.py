"""``receiver demo``."""

import sys

import click

from receiver.cli import options
from receiver.cli.command import Command


@click.command(cls=Command)
@click.option(
    "--keep",
    is_flag=True,
    help="Leave receiver and simulator running, and print an address of the console that signs in once.",
)
@options.as_json
def demo(*, keep: bool, as_json: bool) -> None:
    """Run jobs against seven simulated providers and show what happened.

    Starts simulator and receiver on loopback with a temporary database, and sends one job through each
    system plus a forged, a duplicated, a lost and an early callback. Exits 0 only if every outcome was the
    right one. With --keep both go on until Ctrl-C, with some trouble added to look at.
    """
    from receiver.demo import run  # noqa: PLC0415  (it shows tables: see command.py)

    sys.exit(run(as_json=as_json, keep=keep))
