"""The checks of ``receiver doctor``: each looks at one thing and says what to do next."""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from receiver.catalog import Catalog, in_folder, packaged
from receiver.cli import session
from receiver.cli.database_checks import check_database
from receiver.cli.finding import FAIL, OK, WARN, Check, failed, plain
from receiver.cli.handler_checks import check_told
from receiver.cli.providers import check_file
from receiver.cli.reach_checks import check_addresses, check_public_url, check_ways_out
from receiver.cli.record_checks import check_record
from receiver.cli.spelling import unknown_settings
from receiver.core.description.provider import Provider
from receiver.core.errors import ConfigurationError, ReceiverError
from receiver.keys import Keys
from receiver.settings import Settings, is_loopback


async def check_all(*, whole: bool, tell: Callable[[str], None]) -> AsyncIterator[Check]:
    """Carry out every check that those before it allow.

    Args:
        whole: Whether a file and all open jobs are read, however long that takes.
        tell: Is told how far that has come.
    """
    session.quiet_logs()
    try:
        settings = Settings.load(dict(os.environ))
    except ConfigurationError as error:
        yield failed("settings", error, "Correct it; 'receiver config show' lists all settings.")
        return
    yield Check(name="settings", status=OK, text="every setting can be read")
    found, catalog = _check_settings(settings)
    for one in found:
        yield one
    async for one in check_public_url(settings):
        yield one
    async for one in check_addresses(settings):
        yield one
    current = False
    for one in check_database(settings, whole=whole, tell=tell):
        current = one.name == "migrations" and one.status == OK
        yield one
    names, told = check_told(settings, catalog)
    readable = current and all(one.status != FAIL for one in found)
    # The record says more about handlers that could be loaded.
    for one in told if names is None or not readable else told[:-1]:
        yield one
    # Without that there is no record yet, or the receiver could not read it.
    if readable:
        async for one in _check_record(names, whole=whole):
            yield one


async def _check_record(names: Sequence[str] | None, *, whole: bool) -> AsyncIterator[Check]:
    try:
        async with session.opened() as running:
            async for one in check_record(running, names, whole=whole):
                yield one
    except ReceiverError as error:
        yield failed("database", error, "Correct what it says, then run 'receiver doctor' again.")


def _check_settings(settings: Settings) -> tuple[list[Check], Catalog | None]:
    found = []
    for unknown in unknown_settings(settings.environ):
        text = f"{unknown.name} is set, and nobody reads it"
        found.append(Check(name="setting unknown", status=WARN, text=text, next=unknown.advice))
    found += [*_check_keys(settings), *_check_reach(settings)]
    try:
        catalog = Catalog.load(settings)
    except ConfigurationError as error:
        following = "Correct it; 'receiver providers check' tries all descriptions."
        return [*found, failed("providers", error, following)], None
    return [*found, *_check_providers(settings, catalog), *check_ways_out(settings, catalog)], catalog


def _check_keys(settings: Settings) -> Iterator[Check]:
    try:
        keys = settings.master_keys
    except ConfigurationError as error:
        yield failed("secret key", error, "Make one with 'receiver keygen' and put it first.")
        return
    if not keys:
        yield Check(
            name="secret key",
            status=FAIL,
            text="RECEIVER_SECRET_KEY is not set, so 'serve' refuses to start",
            next="Make one with: receiver keygen",
        )
        return
    yield Check(name="secret key", status=OK, text=f"{len(keys)} in force, the newest is {keys[0].id}")


def _check_reach(settings: Settings) -> Iterator[Check]:
    if settings.public_url is None:
        yield Check(
            name="public url",
            status=WARN,
            text="RECEIVER_PUBLIC_URL is not set: no callback URL is minted, jobs are polled",
            next="Set it to the https address at which providers reach this receiver.",
        )
    elif is_loopback(urlsplit(settings.public_url).hostname or ""):
        yield Check(
            name="public url",
            status=WARN,
            text=f"{settings.public_url} is a loopback address: only a simulator can call back there",
            next="Set RECEIVER_PUBLIC_URL to an https address for real providers.",
        )
    else:
        yield Check(name="public url", status=OK, text=settings.public_url)
    if settings.api_token:
        yield Check(name="api token", status=OK, text="set")
    else:
        yield Check(
            name="api token",
            status=WARN,
            text="RECEIVER_API_TOKEN is not set, so /v1 answers 403",
            next="Make one with: receiver keygen",
        )


def _check_providers(settings: Settings, catalog: Catalog) -> Iterator[Check]:
    own = in_folder(Path(settings.providers_dir)) if settings.providers_dir else []
    wrong = [sentence for file in (*packaged(), *own) for sentence in check_file(file)]
    if wrong:
        yield Check(
            name="providers", status=FAIL, text=wrong[0], next="Correct the description or its sample."
        )
    else:
        yield Check(
            name="providers", status=OK, text=f"{len(catalog)} described, their samples read as they say"
        )
    # What is wrong with a master key has a check of its own.
    keys = Keys(replace(settings, secret_key=""))
    found = {one.name: _check_provider(keys, one) for one in catalog.values()}
    yield from (check for check in found.values() if check is not None)
    if unset := [name for name, check in found.items() if check is None]:
        yield Check(
            name="credentials",
            status=WARN if len(unset) == len(found) else OK,
            text=f"{len(unset)} of {len(found)} providers are not in use, because theirs are not set; "
            "'receiver providers list' names them",
            next="'receiver providers show NAME' says what one needs.",
        )


def _check_provider(keys: Keys, provider: Provider) -> Check | None:
    """Whether one provider can be used; ``None`` where nobody has set it up."""
    name = f"provider {provider.name}"
    lacks = keys.lacks(provider)
    if lacks.unusable:
        following = "Correct it. Until then its callbacks are answered 503, or no job is submitted there."
        return Check(name=name, status=FAIL, text=lacks.unusable.rstrip("."), next=following)
    verifies = provider.key is not None and provider.key.source == "settings" and not lacks.secret
    if (lacks.credentials and not verifies) or (lacks.secret and not provider.credentials):
        return None
    if lacks.secret:
        return Check(
            name=name,
            status=WARN,
            text=f"callbacks of {provider.name} cannot be verified: {lacks.secret} is not set",
            next="Set it. Until then its callbacks are answered 503, and its jobs are polled.",
        )
    said = keys.remarks(provider)
    if said.warnings:
        following = "Correct or remove it; one key a line in NAME_FILE is never in doubt."
        return Check(name=name, status=WARN, text=plain(ConfigurationError(said.warnings[0])), next=following)
    note = f"; {said.note}" if said.note else ""
    if lacks.credentials:
        text = f"its callbacks are verified; no job can be submitted there: {lacks.credentials} is not set"
        return Check(name=name, status=OK, text=text + note)
    return Check(name=name, status=OK, text="credentials are set" + note)
