"""``receiver verify`` and ``receiver sign``: a provider's scheme, without a server."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

from receiver.api.verification import NotProved, Proved
from receiver.catalog import Catalog
from receiver.cli import options, output, session
from receiver.cli.command import REJECTED, Command
from receiver.clock import read_clock
from receiver.core.diagnosis import diagnose
from receiver.core.errors import (
    KeyUnavailableError,
    RejectionError,
    RequestError,
)
from receiver.core.identity import JOB, is_id
from receiver.core.message import lowered
from receiver.core.provider import Provider
from receiver.core.scheme import Scheme
from receiver.core.signature import Key, Message, Verified, load_key
from receiver.core.signature import sign as sign_message
from receiver.core.signature import verify as verify_message
from receiver.keys import Keys
from receiver.outbound.client import Outbound
from receiver.outbound.keysets import KeySets
from receiver.settings import Settings, from_environment, read_secret
from receiver.steps.proving import Way
from receiver.views.document import timestamp

F = TypeVar("F", bound=Callable[..., Any])


def message_options(function: F) -> F:
    """Give a command the arguments of a message and of the key for it."""
    for option in (
        click.argument("file", type=click.File("rb")),
        click.argument("provider"),
        click.option(
            "-H",
            "--header",
            "headers",
            callback=options.read_headers,
            multiple=True,
            metavar="'NAME: VALUE'",
            help="A header of the message; repeat it.",
        ),
        click.option("--key-env", metavar="NAME", help="Take the key from this environment variable."),
        click.option(
            "--key-file", type=click.Path(path_type=Path), metavar="PATH", help="Take the key from this file."
        ),
        click.option("--job", metavar="ID", help="The job, where each has a key of its own."),
        click.option(
            "--at",
            callback=options.read_moment,
            metavar="TIME",
            help="As of this time: ISO 8601 or seconds since 1970; now if left out.",
        ),
        click.option(
            "--url", default="", metavar="URL", help="The address it was sent to, where the scheme signs it."
        ),
        options.as_json,
    ):
        function = option(function)
    return function


@click.command(cls=Command)
@message_options
async def verify(
    *,
    provider: str,
    file: BinaryIO,
    headers: tuple[tuple[bytes, bytes], ...],
    key_env: str | None,
    key_file: Path | None,
    job: str | None,
    at: int | None,
    url: str,
    as_json: bool,
) -> None:
    """Say whether a message is a provider's, and if not, why.

    FILE holds the body, byte for byte; '-' reads standard input. The key is the configured one unless
    --key-env or --key-file names another. Exits 4 if the message is rejected.
    """
    settings, catalog, described, scheme = _described(provider)
    keys = await _keys(settings, described, scheme, key_env, key_file, job)
    message = Message(
        body=file.read(), headers=lowered(headers), url=url, query=url.partition("?")[2].encode()
    )
    now = read_clock() if at is None else at
    try:
        proved = verify_message(message, scheme=scheme, keys=keys, now=now)
    except RejectionError as error:
        found = diagnose(
            message,
            scheme=scheme,
            keys=keys,
            now=now,
            error=error,
            other_keys=Keys(settings).others(catalog, but=provider),
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


@click.command(cls=Command)
@message_options
async def sign(
    *,
    provider: str,
    file: BinaryIO,
    headers: tuple[tuple[bytes, bytes], ...],
    key_env: str | None,
    key_file: Path | None,
    job: str | None,
    at: int | None,
    url: str,
    as_json: bool,
) -> None:
    """Print the headers with which a provider would sign a message.

    Takes what 'verify' takes; a -H says what stands in a header that the scheme signs. The first key signs.
    """
    settings, _, described, scheme = _described(provider)
    keys = await _keys(settings, described, scheme, key_env, key_file, job)
    if not keys:
        raise KeyUnavailableError(f"There is no key to sign as {provider} with.")
    given = {f"header:{name.decode('latin-1')}": value.decode("latin-1") for name, value in headers}
    signed = sign_message(
        file.read(),
        scheme=scheme,
        key=keys[0],
        now=read_clock() if at is None else at,
        url=url,
        values=given,
    )
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in signed]
    if as_json:
        output.show_json({"headers": pairs})
    else:
        for name, value in pairs:
            click.echo(f"{name}: {value}")


async def resolve(
    name: str, *, key_env: str | None, key_file: Path | None, job: str | None
) -> tuple[Provider, list[Key]]:
    """The provider called *name* and the keys to sign as it with; none where it signs nothing."""
    settings = from_environment()
    session.quiet_logs()
    provider = Catalog.load(settings).named(name)
    if provider.verify is None or not provider.signed:
        return provider, []
    return provider, list(await _keys(settings, provider, provider.verify, key_env, key_file, job))


def _described(name: str) -> tuple[Settings, Catalog, Provider, Scheme]:
    settings = from_environment()
    session.quiet_logs()
    catalog = Catalog.load(settings)
    provider = catalog.named(name)
    if provider.verify is None or not provider.signed:
        raise RequestError(
            f"{name} signs nothing that could be verified.", code="unsigned_provider", field="provider"
        )
    return settings, catalog, provider, provider.verify


async def _keys(
    settings: Settings,
    provider: Provider,
    scheme: Scheme,
    key_env: str | None,
    key_file: Path | None,
    job: str | None,
) -> Sequence[Key]:
    if sum(one is not None for one in (key_env, key_file, job)) > 1:
        raise click.UsageError("Give one of --key-env, --key-file and --job.")
    if key_env is not None:
        text = read_secret(os.environ, key_env)
        if not text:
            raise KeyUnavailableError(f"{key_env} is not set.")
        return _load(key_env, text, scheme)
    if key_file is not None:
        return _load(key_file.name, _read(key_file), scheme)
    source = "settings" if provider.key is None else provider.key.source
    if source == "settings":
        return Keys(settings).verifying(provider, job_id=None, master=None)
    if source == "jwks":
        return await _published(settings, provider)
    if job is None:
        raise KeyUnavailableError(
            f"Each job of {provider.name} has a key of its own: name the job with --job, or the key with "
            "--key-env or --key-file."
        )
    return await _of_job(Keys(settings), provider, job)


async def _of_job(keys: Keys, provider: Provider, job: str) -> Sequence[Key]:
    """The keys of one job, under each master key."""
    _ = keys.newest
    if is_id(job, JOB) and provider.key is not None and provider.key.source == "per-job":
        # They are derived from its id: no database is needed for them.
        return [key for master in keys.masters for key in keys.verifying(provider, job_id=job, master=master)]
    async with session.opened() as running:
        job_id = job if is_id(job, JOB) else await session.job_id(running, job)
        found: dict[str, Key] = {}
        for master in keys.masters:
            for key in await running.proving.keys_for(Way(provider=provider, job_id=job_id, master=master)):
                found.setdefault(key.id, key)
    return list(found.values())


async def _published(settings: Settings, provider: Provider) -> Sequence[Key]:
    """The keys that a provider publishes; no database is needed for them."""
    outbound = Outbound(keys=Keys(settings), providers=[provider], max_result=settings.max_result)
    key_sets = KeySets(outbound=outbound, clock=read_clock)
    try:
        return await key_sets.keys(provider) or ()
    finally:
        await key_sets.close()
        await outbound.close()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnavailableError(f"The key file {file} cannot be read: {type(error).__name__}.") from error


def _load(name: str, text: str, scheme: Scheme) -> list[Key]:
    # PEM and JWK contain commas of their own; shared secrets do not.
    several = [text] if scheme.key_encoding in {"pem", "jwk"} else text.split(",")
    return [
        load_key(f"{name}#{n}", one, scheme=scheme) for n, one in enumerate(several, start=1) if one.strip()
    ]
