"""``receiver verify``: a provider's scheme, without a server."""

import click

from receiver.api.verification import NotProved, Proved
from receiver.cli import output
from receiver.cli.command import REJECTED, Command
from receiver.cli.message import Given, described, keys_for, scheme_of, takes_message
from receiver.core.errors import RejectionError
from receiver.core.message import lowered
from receiver.core.signature.diagnosis import diagnose
from receiver.core.signature.verify import Message, Verified
from receiver.core.signature.verify import verify as verify_message
from receiver.keys import Keys
from receiver.views.document import timestamp


@click.command(cls=Command)
@takes_message
async def verify(*, given: Given, as_json: bool) -> None:
    """Say whether a message is a provider's, and if not, why.

    FILE holds the body, byte for byte; '-' reads standard input. The key is the configured one unless
    --key-env or --key-file names another. Exits 4 if the message is rejected.
    """
    settings, catalog, provider = described(given)
    scheme = scheme_of(provider)
    keys = await keys_for(given, settings, provider, scheme)
    query = given.url.partition("?")[2].encode()
    message = Message(body=given.body, headers=lowered(given.headers), url=given.url, query=query)
    try:
        proved = verify_message(message, scheme=scheme, keys=keys, now=given.at)
    except RejectionError as error:
        found = diagnose(
            message,
            scheme=scheme,
            keys=keys,
            now=given.at,
            error=error,
            other_keys=Keys(settings).others(catalog, but=provider.name),
        )
        if as_json:
            output.show_json(NotProved(code=error.code, cause=found.code, diagnosis=found.sentence))
        else:
            output.show_fields([("rejected", error.code), ("because", found.code), ("", found.sentence)])
        raise click.exceptions.Exit(REJECTED) from None
    _show_verified(proved, as_json=as_json)


def _show_verified(proved: Verified, *, as_json: bool) -> None:
    signed_at = None if proved.timestamp is None else timestamp(proved.timestamp)
    if as_json:
        output.show_json(
            Proved(
                key_id=proved.key_id,
                delivery_id=proved.delivery_id,
                timestamp=signed_at,
                scheme=proved.scheme,
            )
        )
        return
    output.show_fields(
        [
            ("verified", proved.scheme),
            ("key", proved.key_id),
            ("delivery", proved.delivery_id),
            ("signed at", signed_at),
        ]
    )
