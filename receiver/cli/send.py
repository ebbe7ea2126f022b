"""``receiver send``: callbacks for local work, genuine or deliberately wrong."""

from typing import Final

import click
import httpx

from receiver.cli import output
from receiver.cli.command import FAILED, Command, note
from receiver.cli.message import Given, described, enclosed, keys_for, scheme_of, signed, takes_message
from receiver.core.errors import ProviderError

_DAY: Final = 86_400_000
#: When the message claims to have been signed, relative to now.
_SHIFTS: Final = {"stale": -_DAY, "future": _DAY}
_FAULTS: Final = ("bad-signature", "stale", "future", "tampered", "duplicate", "truncated")
_NO_SUCCESS: Final = 300


@click.command(cls=Command)
@takes_message
@click.option(
    "--to", required=True, metavar="URL", help="The callback URL or webhook endpoint to send it to."
)
@click.option("--fault", type=click.Choice(_FAULTS), help="What to do wrong.")
async def send(*, given: Given, to: str, fault: str | None, as_json: bool) -> None:
    """Send a callback as a provider would, or deliberately wrong.

    FILE holds the body; it is signed with the first key that 'verify' would use. Faults: bad-signature (a
    stranger's key), stale and future (a day off), tampered (the body changes after signing), truncated (half
    the body), duplicate (sent twice). Exits 0 if the last answer is a success.
    """
    settings, _, provider = described(given)
    headers = [(b"content-type", b"application/json"), *given.headers]
    body = given.body
    if provider.signed:
        scheme = scheme_of(provider)
        keys = await keys_for(given, settings, provider, scheme)
        # Something else is signed than is sent, which no receiver can tell from a stranger's key.
        what = given.body + b"?" if fault == "bad-signature" else given.body
        now = given.at + _SHIFTS.get(fault or "", 0)
        proof = signed(given, what, scheme=scheme, keys=keys, now=now, url=given.url or to)
        body = enclosed(given, scheme=scheme, keys=keys)
        # A header that the scheme signs was given so that it is signed; sent twice it would be malformed.
        repeated = {name.lower() for name, _ in proof}
        headers = [pair for pair in headers if pair[0].lower() not in repeated] + proof
    sent = {"tampered": body + b" ", "truncated": body[: len(body) // 2]}.get(fault or "", body)
    answers = []
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        for _ in range(2 if fault == "duplicate" else 1):
            try:
                answers.append(await client.post(to, content=sent, headers=headers))
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise ProviderError(
                    f"{to} did not answer: {type(error).__name__}.", code="resend_failed"
                ) from error
    if as_json:
        output.show_json({"answers": [{"status": one.status_code, "body": one.text} for one in answers]})
    else:
        for one in answers:
            click.echo(f"{one.status_code} {output.clean(one.text)}".rstrip())
    if answers[-1].status_code >= _NO_SUCCESS:
        raise click.exceptions.Exit(FAILED)
    # A sender is told no more than that its callback is stored.
    note(f"What became of it: receiver callbacks list --provider {provider.name}")
