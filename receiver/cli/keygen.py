"""``receiver keygen``."""

import json
import secrets
import sys

import click

from receiver.cli import options
from receiver.cli.command import Command

_SALT: int = 16


@click.command(cls=Command)
@click.option(
    "--password",
    is_flag=True,
    help="Hash a password for RECEIVER_CONSOLE_PASSWORD instead: asked for, or a line of standard input.",
)
@options.as_json
def keygen(*, password: bool, as_json: bool) -> None:
    """Print a new key.

    For RECEIVER_SECRET_KEY or RECEIVER_API_TOKEN: 32 random bytes as text. It is stored nowhere.
    """
    key = _hashed() if password else secrets.token_urlsafe(32)
    click.echo(json.dumps({"key": key}) if as_json else key)


def _hashed() -> str:
    # Imported here: no other command needs the console.
    from receiver.console.passwords import hash_password  # noqa: PLC0415

    if sys.stdin.isatty():
        text = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise click.UsageError("The password is empty.")
    return hash_password(text.encode(), salt=secrets.token_bytes(_SALT))
