"""``receiver demo``."""

import sys

import click

from receiver.cli import options
from receiver.cli.command import Command
from receiver.demo import run


@click.command(cls=Command)
@options.as_json
def demo(*, as_json: bool) -> None:
    """Run five jobs against simulated providers and show what happened.

    Starts simulator and receiver on loopback with a temporary database, and sends one job through each
    system plus a forged, a duplicated, a lost and an early callback. Exits 0 only if every outcome was the
    right one.
    """
    sys.exit(run(as_json=as_json))
