"""The checks of ``receiver doctor``: each looks at one thing and says what to do next."""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from receiver.app import Running
from receiver.catalog import Catalog, in_folder, packaged
from receiver.cli import output, session
from receiver.cli.database import database_path, open_readonly
from receiver.cli.providers import check_file
from receiver.core.errors import ConfigurationError, NotFoundError, ReceiverError
from receiver.core.model import Value
from receiver.core.provider import Provider
from receiver.keys import Keys
from receiver.settings import Settings, is_loopback

OK, WARN, FAIL = "ok", "warn", "fail"
#: File systems on which SQLite's locks cannot be trusted (https://www.sqlite.org/wal.html, read 2026-11-20).
_REMOTE: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs", "ceph", "glusterfs"}
_ENDED: Final = {"succeeded", "failed", "canceled", "expired", "timed_out"}


class Check(Value, frozen=True, kw_only=True):
    """What was found: ok, warn or fail, and what to do next."""

    name: str
    status: str
    text: str
    next: str = ""


async def check_all() -> AsyncIterator[Check]:
    """Carry out every check that those before it allow."""
    try:
        settings = Settings.load(dict(os.environ))
    except ConfigurationError as error:
        yield _failed("settings", error, "Correct it; 'receiver config show' lists all settings.")
        return
    yield Check(name="settings", status=OK, text="every setting can be read")
    usable = True
    for one in (*_check_keys(settings), *_check_reach(settings)):
        usable = usable and one.status != FAIL
        yield one
    try:
        catalog = Catalog.load(settings)
    except ConfigurationError as error:
        yield _failed("providers", error, "Correct it; 'receiver providers check' tries all descriptions.")
    else:
        for one in _check_providers(settings, catalog):
            usable = usable and one.status != FAIL
            yield one
    current = False
    for one in _check_file(settings):
        current = one.name == "migrations" and one.status == OK
        yield one
    if not (usable and current):
        # Opening the database would make it, or migrate it.
        return
    try:
        async with session.opened() as running:
            async for one in _check_record(running):
                yield one
    except ReceiverError as error:
        yield _failed("database", error, "Correct what it says, then run 'receiver doctor' again.")


def _check_keys(settings: Settings) -> Iterator[Check]:
    try:
        keys = settings.master_keys
    except ConfigurationError as error:
        yield _failed("secret key", error, "Make one with 'receiver keygen' and put it first.")
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
    # A master key that cannot be used is told apart.
    keys = Keys(replace(settings, secret_key=""))
    found = {one.name: _check_provider(keys, one) for one in catalog.values()}
    yield from (check for check in found.values() if check is not None)
    if unset := [name for name, check in found.items() if check is None]:
        yield Check(
            name="credentials",
            status=WARN if len(unset) == len(found) else OK,
            text=f"not set, so not in use: {', '.join(unset)}",
            next="'receiver providers show NAME' says what one needs.",
        )


def _check_provider(keys: Keys, provider: Provider) -> Check | None:
    """Whether one provider can be used; ``None`` where nobody has set it up."""
    name = f"provider {provider.name}"
    try:
        keys.credentials(provider)
    except ConfigurationError as error:
        if error.code == "credentials_missing":
            return None
        return _failed(name, error, "They are needed to submit jobs there.")
    try:
        if provider.key is not None and provider.key.source == "settings":
            keys.verifying(provider, job_id=None, master=None)
    except ConfigurationError as error:
        unset = error.code == "key_unavailable"
        if unset and not provider.credentials:
            return None
        status = WARN if unset else FAIL
        following = "Until it is, they are answered 503 and jobs are polled."
        return Check(name=name, status=status, text=_plain(error), next=following)
    return Check(name=name, status=OK, text="credentials are set")


def _check_file(settings: Settings) -> Iterator[Check]:
    """The database as a file, without changing it."""
    known = sorted(
        one.name for one in files("receiver.storage.migrations").iterdir() if one.name.endswith(".sql")
    )
    try:
        path = database_path(settings.database_url)
        kind = file_system(path.absolute().parent)
        if kind in _REMOTE:
            yield Check(
                name="file system",
                status=FAIL,
                text=f"{path} lies on {kind}, where SQLite's locks cannot be trusted",
                next="Move it to a local disk.",
            )
        with open_readonly(settings.database_url) as database:
            mode = database.journal_mode
            tables = database.table_names()
            done = (
                {row["name"] for row in database.query("SELECT name FROM migration")}
                if "migration" in tables
                else set()
            )
    except NotFoundError as error:
        folder = _existing(path.absolute().parent)
        if not os.access(folder, os.W_OK | os.X_OK):
            text = f"{path} cannot be made: {folder} is not writable"
            yield Check(
                name="database", status=FAIL, text=text, next="Correct the path, its owner or its mode."
            )
        else:
            yield Check(name="database", status=OK, text=_plain(error))
        return
    except ReceiverError as error:
        yield _failed("database", error, "Check the path, its owner and its mode.")
        return
    if mode != "wal":
        yield Check(
            name="database",
            status=WARN,
            text=f"{path} is in mode {mode}, not wal",
            next="It is switched at the next start.",
        )
    else:
        yield Check(name="database", status=OK, text=f"{path}, write-ahead log")
    pending = [name for name in known if name not in done]
    if newer := sorted(done - set(known)):
        yield Check(
            name="migrations",
            status=FAIL,
            text=f"{newer[0]} is newer than this version",
            next="Upgrade receiver.",
        )
    elif pending:
        yield Check(
            name="migrations",
            status=WARN,
            text=f"{len(pending)} pending: {', '.join(pending)}",
            next="Stop 'serve', run 'receiver db migrate', start it again.",
        )
    else:
        yield Check(name="migrations", status=OK, text="the schema is up to date")


async def _check_record(running: Running) -> AsyncIterator[Check]:
    if running.keys.masters:
        try:
            await running.check()
        except ConfigurationError as error:
            yield _failed("open jobs", error, "Until then 'serve' refuses to start.")
        else:
            yield Check(name="open jobs", status=OK, text="their keys and descriptions are there")
    if session.is_served(running.settings):
        yield Check(name="serving", status=OK, text="a process serves this database")
    else:
        yield Check(
            name="serving",
            status=WARN,
            text="no process serves this database",
            next="Start 'receiver serve'.",
        )
    async for one in _check_handlers(running):
        yield one
    counts = await running.store.counts(now=running.clock())
    dead = counts["dispatches_dead"]
    yield Check(
        name="dead letters",
        status=WARN if dead else OK,
        text=f"{dead} dispatches have no attempts left" if dead else "none",
        next="See 'receiver dead list'; after a fix 'receiver replay --failed' or 'receiver dead retry'."
        if dead
        else "",
    )
    late = sum(one["overdue"] for one in counts["jobs"] if one["state"] not in _ENDED)
    yield Check(
        name="overdue jobs",
        status=WARN if late else OK,
        text=f"{late} open jobs are past their deadline" if late else "none",
        next="'receiver serve' ends them; if it runs, read its log." if late else "",
    )
    for provider, key, count, last in await running.store.keys_used():
        yield Check(
            name=f"key {provider}",
            status=OK,
            text=f"{key} proved {count} callbacks, the last at {output.moment(last)}",
        )
    for provider, code, count in await running.store.quarantine():
        yield Check(
            name=f"quarantine {provider}",
            status=WARN,
            text=f"{count} rejected: {code}",
            next=f"If our secret was wrong: correct it, then: receiver callbacks reverify --provider {provider}",
        )


async def _check_handlers(running: Running) -> AsyncIterator[Check]:
    if running.settings.handlers is None:
        yield Check(
            name="handlers",
            status=WARN,
            text="RECEIVER_HANDLERS is not set: jobs end without anyone being told",
            next="Set it to module:object.",
        )
        return
    try:
        specs = session.load_receiver(running.settings).handlers.specs
    except ConfigurationError as error:
        yield _failed("handlers", error, "Correct it; the module must be importable from here.")
        return
    loaded = {spec.name for spec in specs}
    if unknown := sorted({spec.provider for spec in specs if spec.provider} - set(running.catalog)):
        yield Check(
            name="handlers",
            status=FAIL,
            text=f"one wants jobs of {unknown[0]!r}, and no provider has that name",
            next="'receiver providers list' names them.",
        )
        return
    registered = {one["name"] for one in await running.store.handlers()}
    if missing := sorted(loaded - registered):
        yield Check(
            name="handlers",
            status=WARN,
            text=f"not registered yet: {', '.join(missing)}",
            next="They get completions once 'receiver serve' has started with them.",
        )
    elif gone := sorted(registered - loaded):
        yield Check(
            name="handlers",
            status=WARN,
            text=f"registered, but not in {running.settings.handlers}: {', '.join(gone)}",
            next="Their dispatches are dead after an hour; restart 'receiver serve' if you removed them.",
        )
    else:
        yield Check(name="handlers", status=OK, text=", ".join(sorted(loaded)) or "none")


def file_system(folder: Path) -> str:
    """The kind of file system that *folder* is on; empty where it cannot be told."""
    folder = _existing(folder)
    found = ("", "")
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        if folder.resolve().is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.exists())


def _failed(name: str, error: ReceiverError, following: str) -> Check:
    return Check(name=name, status=FAIL, text=_plain(error), next=following)


def _plain(error: ReceiverError) -> str:
    return str(error).rstrip(".")
