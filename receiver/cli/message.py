"""A message given on the command line, and the keys for it: what ``verify``, ``sign`` and ``send`` share."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

from receiver.catalog import Catalog
from receiver.cli import options, session
from receiver.clock import read_clock
from receiver.core.description.provider import Provider, is_reference
from receiver.core.description.scheme import Scheme
from receiver.core.errors import KeyUnavailableError, RequestError
from receiver.core.identity import JOB, is_id
from receiver.core.message import Message, lowered
from receiver.core.model import Value
from receiver.core.signature.verify import Key, load_key, signed_body
from receiver.core.signature.verify import sign as sign_message
from receiver.keys import Keys
from receiver.outbound.certificates import Certificates
from receiver.outbound.client import Outbound
from receiver.outbound.keysets import KeySets
from receiver.settings import Settings, from_environment, read_secret
from receiver.steps.proving import Way

F = TypeVar("F", bound=Callable[..., Any])
Pairs = list[tuple[bytes, bytes]]


class Given(Value, frozen=True, kw_only=True):
    """A message as its command line describes it, and where its key is."""

    provider: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    key_env: str | None
    key_file: Path | None
    job: str | None
    #: As of when, in milliseconds.
    at: int
    #: The address it was sent to; empty where nobody said.
    url: str


_OPTIONS = (
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
)


def takes_message(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the arguments of a message; it gets them as one value, ``given``, and ``as_json``."""

    @functools.wraps(function)
    def command(*, file: BinaryIO, at: int | None, as_json: bool, **more: Any) -> Any:  # noqa: ANN401  (click's values)
        ours = {name: more.pop(name) for name in Given.__struct_fields__ if name in more}
        given = Given(body=file.read(), at=read_clock() if at is None else at, **ours)
        return function(given=given, as_json=as_json, **more)

    for option in _OPTIONS:
        command = option(command)
    return command


def described(given: Given) -> tuple[Settings, Catalog, Provider]:
    """The settings, all providers, and the one that the message is said to be from."""
    settings = from_environment()
    session.quiet_logs()
    catalog = Catalog.load(settings)
    return settings, catalog, catalog.named(given.provider)


def scheme_of(provider: Provider) -> Scheme:
    """How *provider* signs; raises RequestError where it signs nothing."""
    if provider.verify is None or not provider.signed:
        raise RequestError(
            f"{provider.name} signs nothing that could be verified.",
            code="unsigned_provider",
            field="provider",
        )
    return provider.verify


def enclosed(given: Given, *, scheme: Scheme, keys: Sequence[Key]) -> bytes:
    """The body with the signature in it, where its provider signs there; else as it was given."""
    if not keys:
        raise KeyUnavailableError(f"There is no key to sign as {given.provider} with.")
    return signed_body(given.body, scheme=scheme, key=keys[0])


def signed(given: Given, body: bytes, *, scheme: Scheme, keys: Sequence[Key], now: int, url: str) -> Pairs:
    """The headers with which *body* is signed by the first key; raises KeyUnavailableError where there is none."""
    if not keys:
        raise KeyUnavailableError(f"There is no key to sign as {given.provider} with.")
    values = {f"header:{name.decode('latin-1')}": value.decode("latin-1") for name, value in given.headers}
    return sign_message(body, scheme=scheme, key=keys[0], now=now, url=url, values=values)


async def keys_for(given: Given, settings: Settings, provider: Provider, scheme: Scheme) -> Sequence[Key]:
    """The keys that the message is verified or signed with: those that were named, else the configured ones."""
    if sum(one is not None for one in (given.key_env, given.key_file, given.job)) > 1:
        raise click.UsageError("Give one of --key-env, --key-file and --job.")
    if given.key_env is not None:
        if not is_reference(f"env:{given.key_env}"):
            raise click.UsageError("--key-env takes the name of a variable, not the key itself.")
        text = read_secret(os.environ, given.key_env)
        if not text:
            raise KeyUnavailableError(f"{given.key_env} is not set.")
        return _load(given.key_env, text, scheme)
    if given.key_file is not None:
        return _load(given.key_file.name, _read(given.key_file), scheme)
    source = "settings" if provider.key is None else provider.key.source
    if source == "settings":
        return Keys(settings).verifying(provider, job_id=None, master=None)
    if source in {"jwks", "certificate"}:
        return await _published(settings, provider, given)
    if given.job is None:
        raise KeyUnavailableError(
            f"Each job of {provider.name} has a key of its own: name the job with --job, or the key with "
            "--key-env or --key-file."
        )
    return await _of_job(Keys(settings), provider, given.job)


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
            way = Way(provider=provider, job_id=job_id, master=master)
            for key in await running.proving.keys_for(way, Message(), now=0):
                found.setdefault(key.id, key)
    return list(found.values())


async def _published(settings: Settings, provider: Provider, given: Given) -> Sequence[Key]:
    """The keys that a provider publishes, or whose certificate the message names; no database is needed for them."""
    outbound = Outbound(
        keys=Keys(settings), providers=[provider], max_result=settings.max_result, settings=settings
    )
    key_sets = KeySets(outbound=outbound, clock=read_clock)
    certificates = Certificates(outbound=outbound, clock=read_clock)
    try:
        if provider.key is not None and provider.key.source == "certificate":
            message = Message(body=given.body, headers=lowered(given.headers))
            return await certificates.keys(provider, message, now=given.at)
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
