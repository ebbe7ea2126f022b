"""``receiver sign``: the headers of a genuine message."""

import click

from receiver.cli import output
from receiver.cli.command import Command
from receiver.cli.message import Given, described, enclosed, keys_for, scheme_of, signed, takes_message


@click.command(cls=Command)
@takes_message
async def sign(*, given: Given, as_json: bool) -> None:
    """Print the headers with which a provider would sign a message.

    Takes what 'verify' takes; a -H says what stands in a header that the scheme signs. The first key signs. Where the
    signature belongs into the body, the body is printed with it, after an empty line.
    """
    settings, _, provider = described(given)
    scheme = scheme_of(provider)
    keys = await keys_for(given, settings, provider, scheme)
    headers = signed(given, given.body, scheme=scheme, keys=keys, now=given.at, url=given.url)
    body = enclosed(given, scheme=scheme, keys=keys)
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    if as_json:
        inside = {"body": body.decode("utf-8", "replace")} if body != given.body else {}
        output.show_json({"headers": pairs, **inside})
    else:
        for name, value in pairs:
            click.echo(f"{name}: {value}")
        if body != given.body:
            click.echo("\n" + body.decode("utf-8", "replace"), nl=False)
