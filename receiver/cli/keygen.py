"""``receiver keygen``."""

import json
import secrets

import click

from receiver.cli import options
from receiver.cli.command import Command


@click.command(cls=Command)
@options.as_json
def keygen(*, as_json: bool) -> None:
    """Print a new key.

    For RECEIVER_SECRET_KEY or RECEIVER_API_TOKEN: 32 random bytes as text. It is stored nowhere.
    """
    key = secrets.token_urlsafe(32)
    click.echo(json.dumps({"key": key}) if as_json else key)
