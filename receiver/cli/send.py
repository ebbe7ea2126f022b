"""``receiver send``: callbacks for local work, genuine or deliberately wrong."""

from pathlib import Path
from typing import BinaryIO, Final

import click
import httpx

from receiver.cli import output
from receiver.cli.command import FAILED, Command
from receiver.cli.verify import message_options, resolve
from receiver.clock import read_clock
from receiver.core.errors import KeyUnavailableError, ProviderError
from receiver.core.provider import Provider
from receiver.core.signature import Key
from receiver.core.signature import sign as sign_message

_DAY: Final = 86_400_000
#: When the message claims to have been signed, relative to now.
_SHIFTS: Final = {"stale": -_DAY, "future": _DAY}
_FAULTS: Final = ("bad-signature", "stale", "future", "tampered", "duplicate", "truncated")
_NO_SUCCESS: Final = 300


@click.command(cls=Command)
@message_options
@click.option(
    "--to", required=True, metavar="URL", help="The callback URL or webhook endpoint to send it to."
)
@click.option("--fault", type=click.Choice(_FAULTS), help="What to do wrong.")
async def send(
    *,
    provider: str,
    file: BinaryIO,
    headers: tuple[tuple[bytes, bytes], ...],
    key_env: str | None,
    key_file: Path | None,
    job: str | None,
    at: int | None,
    url: str,
    to: str,
    fault: str | None,
    as_json: bool,
) -> None:
    """Send a callback as a provider would, or deliberately wrong.

    FILE holds the body; it is signed with the first key that 'verify' would use. Faults: bad-signature (a
    stranger's key), stale and future (a day off), tampered (the body changes after signing), truncated (half
    the body), duplicate (sent twice). Exits 0 if the last answer is a success.
    """
    described, keys = await resolve(provider, key_env=key_env, key_file=key_file, job=job)
    body = file.read()
    moment = (read_clock() if at is None else at) + _SHIFTS.get(fault or "", 0)
    pairs = [(b"content-type", b"application/json"), *headers]
    if described.signed:
        pairs += _signed(described, keys, body, headers, moment=moment, url=url or to, fault=fault)
    sent = {"tampered": body + b" ", "truncated": body[: len(body) // 2]}.get(fault or "", body)
    answers = []
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        for _ in range(2 if fault == "duplicate" else 1):
            try:
                answers.append(await client.post(to, content=sent, headers=pairs))
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


def _signed(
    provider: Provider,
    keys: list[Key],
    body: bytes,
    headers: tuple[tuple[bytes, bytes], ...],
    *,
    moment: int,
    url: str,
    fault: str | None,
) -> list[tuple[bytes, bytes]]:
    if not keys:
        raise KeyUnavailableError(f"There is no key to sign as {provider.name} with.")
    assert provider.verify is not None  # noqa: S101  (it signs)
    given = {f"header:{name.decode('latin-1')}": value.decode("latin-1") for name, value in headers}
    key = keys[0]
    # Something else is signed than is sent, which no receiver can tell from a stranger's key.
    what = body + b"?" if fault == "bad-signature" else body
    return sign_message(what, scheme=provider.verify, key=key, now=moment, url=url, values=given)
