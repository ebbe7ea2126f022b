"""What a command works on: the parts of a receiver, opened for one command, and the user's own object."""

import asyncio
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path

from receiver import logs
from receiver.app import Receiver
from receiver.cli.command import note
from receiver.core.errors import ConfigurationError, NotFoundError
from receiver.running import Running
from receiver.settings import Settings, from_environment
from receiver.storage import serving
from receiver.storage.driver import Driver
from receiver.storage.opening import open_driver


@contextlib.asynccontextmanager
async def opened(*, make: bool = False, level: str = "warning") -> AsyncIterator[Running]:
    """Open the parts beside whatever process serves them: nothing due is done here.

    Args:
        make: Whether the command may make the database, or bring its schema up to date.
        level: What is logged, unless the environment says otherwise; what a command shows by itself need not be.

    Raises:
        NotFoundError: there is no database, and the command may not make one.
        ConfigurationError: a setting is wrong, or the schema is another version's.
        StoreUnavailableError: the database cannot be opened.
    """
    settings = from_environment()
    quiet_logs(level)
    receiver = Receiver(settings)
    running = await receiver.start(worker=False, serve=False, migrate=make)
    try:
        yield running
    finally:
        await receiver.stop()


def quiet_logs(level: str = "warning") -> None:
    """Log warnings only, unless the environment asks for a level: a log would get between a command's lines."""
    logs.configure(os.environ.get("RECEIVER_LOG_LEVEL") or level)


async def job_id(running: Running, prefix: str) -> str:
    """The id of the one job that *prefix* names.

    Raises:
        NotFoundError: there is none.
        RequestError: there are several.
    """
    return await _resolve(running, prefix, "job")


async def callback_id(running: Running, prefix: str) -> str:
    """The id of the one callback that *prefix* names; raises as ``job_id`` does."""
    return await _resolve(running, prefix, "cb")


async def _resolve(running: Running, prefix: str, kind: str) -> str:
    # Ids of jobs and of callbacks both begin with the time, so a prefix without its kind would often name one of each.
    start = prefix if prefix.startswith(f"{kind}_") else f"{kind}_{prefix}"
    try:
        return await running.store.resolve(start)
    except NotFoundError as error:
        noun = {"job": "job", "cb": "callback"}[kind]
        raise NotFoundError(
            f"No {noun} is stored whose id begins with {prefix!r}.", code=error.code
        ) from None


def say_unknown(running: Running, provider: str | None) -> None:
    """Where nothing was found of a provider: say if that is because nobody knows it."""
    if provider is not None and provider not in running.catalog:
        note(f"No provider is called {provider!r}: receiver providers list")


def load_receiver(settings: Settings) -> Receiver:
    """The object that RECEIVER_HANDLERS names, or a receiver without handlers.

    Raises:
        ConfigurationError: it cannot be imported, or is no Receiver.
    """
    if not settings.handlers:
        return Receiver(settings)
    module_name, _, path = settings.handlers.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: object = import_module(module_name)
        for name in (path or "receiver").split("."):
            found = getattr(found, name)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigurationError(
            f"RECEIVER_HANDLERS: {settings.handlers} cannot be loaded: {type(error).__name__}: {error} "
            f"({place.filename}, line {place.lineno}).",
            code="handlers_invalid",
        ) from error
    if not isinstance(found, Receiver):
        raise ConfigurationError(
            f"RECEIVER_HANDLERS: {settings.handlers} is a {type(found).__name__}, not a Receiver; "
            "write module:object.",
            code="handlers_invalid",
        )
    return found


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set, in place of ending the process."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def is_served(settings: Settings) -> bool:
    """Whether some process serves the database."""
    with opened_driver(settings.database_url) as driver:
        return serving.is_served(driver, lease_ms=settings.lease_ms)


@contextlib.contextmanager
def opened_driver(url: str) -> Iterator[Driver]:
    """Open the database at *url* for itself, without the parts of a receiver; raises ConfigurationError."""
    driver = open_driver(url)
    try:
        yield driver
    finally:
        driver.close()
