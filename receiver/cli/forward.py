"""``receiver tail --forward-to``: completions to a program on this machine, signed, and none of them missed."""

import asyncio
import base64
import contextlib
import os
import re
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable
from typing import Final, Protocol, TypeVar

import click
from msgspec.structs import replace

from receiver.cli import session
from receiver.cli.command import note
from receiver.client import AsyncClient, NoAnswerFromReceiverError
from receiver.clock import read_clock
from receiver.core.errors import ConfigurationError, RequestError, StoreUnavailableError
from receiver.core.model import Job, JobState, Result, Value
from receiver.core.reader import reader_name
from receiver.core.retry import Backoff
from receiver.running import Running
from receiver.settings import from_environment, is_safe_url, read_secret
from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import event_of
from receiver.sinks.http import AFTERWARDS, HttpSink
from receiver.sinks.sink import SinkAwayError, SinkFailedError, SinkGoneError, SinkRefusedError
from receiver.steps.follow import place_of
from receiver.storage import feed
from receiver.storage.feed import Wanted
from receiver.views.job import job_of

T = TypeVar("T")
#: Seconds that one question for news waits.
_PATIENCE: Final = 20.0
#: How a program that answers with an error is tried again; one that does not run is waited for.
_AGAIN: Final = Backoff(first=500, longest=10_000, attempts=5)
#: Seconds between questions to a receiver that does not answer.
_BETWEEN: Final = 1.0
_LARGEST: Final = 16 * 1024 * 1024


class Order(Value, frozen=True, kw_only=True):
    """What is forwarded, where to, and from where in the feed."""

    to: str
    #: The receiver's address; ``None``: the database that the settings name.
    source: str | None = None
    #: Under what name the server remembers how far this reader has come.
    name: str | None = None
    after: str | None = None
    provider: str | None = None
    secret_env: str | None = None


class Passed(Value, frozen=True, kw_only=True):
    """One completion on its way."""

    cursor: str
    job: Job
    replay_id: str


class Source(Protocol):
    """Where completions come from."""

    async def stands(self, name: str) -> str | None:
        """Where the reader of that name stands; ``None`` if nobody has it."""
        ...

    async def stand(self, name: str, cursor: str) -> str:
        """Remember a cursor, or ``latest``, and return the cursor that it is."""
        ...

    async def page(self, after: str, provider: str | None) -> tuple[list[Passed], str]:
        """Completions after a cursor, without their results, and where to go on."""
        ...

    async def result(self, job: Job) -> Result:
        """The result of a job."""
        ...


class _Here:
    """The database of this machine."""

    def __init__(self, running: Running) -> None:
        self._running = running

    async def stands(self, name: str) -> str | None:
        place = await self._running.store.read(feed.stands, name)
        return None if place is None else str(place)

    async def stand(self, name: str, cursor: str) -> str:
        place = await self._running.follow.last() if cursor == "latest" else place_of(cursor)
        await self._running.store.write(feed.stand, (name, place, self._running.clock()))
        return str(place)

    async def page(self, after: str, provider: str | None) -> tuple[list[Passed], str]:
        wanted = Wanted(after=place_of(after), provider=provider)
        found = await self._running.follow.page(wanted, patience=_PATIENCE)
        passed = [
            Passed(cursor=str(one.place), job=replace(one.job, state=one.state), replay_id=one.replay_id)
            for one in found.completions
        ]
        return passed, str(found.place)

    async def result(self, job: Job) -> Result:
        content_type = "application/json" if job.held is None else job.held.content_type
        content = await self._running.store.result(job)
        return Result(content=content, content_type=content_type, size=len(content))


class _There:
    """A receiver elsewhere, by its API."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def stands(self, name: str) -> str | None:
        return await self._client.reader(name)

    async def stand(self, name: str, cursor: str) -> str:
        return await self._client.stand(name, cursor)

    async def page(self, after: str, provider: str | None) -> tuple[list[Passed], str]:
        found = await self._client.page(after=after, provider=provider, wait=_PATIENCE)
        passed = [
            Passed(
                cursor=one.cursor,
                job=replace(job_of(one.job), state=one.state),
                replay_id=one.replay_id or "",
            )
            for one in found.completions
        ]
        return passed, found.cursor

    async def result(self, job: Job) -> Result:
        return await self._client.result(job.id)


async def forward(order: Order) -> None:
    """Pass completions on until told to stop.

    Raises:
        RequestError: an address is none, or the cursor, or the reader's name.
        ConfigurationError: a secret or token is not there.
        CursorGoneError: some of what comes after the cursor was pruned.
        Exit: the program wants no more (410).
    """
    if not is_safe_url(order.to.partition("?")[0], plain=True):
        raise RequestError(
            f"{order.to!r} is no address of a program: http://localhost:3000/hook", field="forward-to"
        )
    name = reader_name(order.name) if order.name is not None else _usual_name()
    secret = _secret(order)
    config = SinkConfig(name="tail", to=order.to.replace("{", "%7B"), largest=_LARGEST, origin="--forward-to")
    sink = HttpSink(config, secret=secret, clock=read_clock)
    stop = session.stop_signal()
    async with _source(order) as source:
        try:
            await _pass(source, sink, order, name=name, stop=stop)
        finally:
            await sink.close()


def _usual_name() -> str:
    """This machine's, whose name may have any character."""
    return f"tail-{re.sub(r'[^A-Za-z0-9._-]', '-', socket.gethostname())}"


def _secret(order: Order) -> str:
    if order.secret_env is not None:
        found = read_secret(os.environ, order.secret_env)
        if not found:
            raise ConfigurationError(f"{order.secret_env} is not set.", code="setting_invalid")
        return found
    made = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    note(f"Events are signed (Standard Webhooks) with {made}")
    return made


@contextlib.asynccontextmanager
async def _source(order: Order) -> AsyncIterator[Source]:
    if order.source is None:
        async with session.opened() as running:
            if order.provider is not None:
                running.catalog.named(order.provider)
            yield _Here(running)
        return
    session.quiet_logs()
    token = from_environment().api_token
    if not token:
        raise ConfigurationError(
            "RECEIVER_API_TOKEN is not set; it opens the receiver that --from names.", code="setting_invalid"
        )
    if not is_safe_url(order.source):
        raise RequestError(f"{order.source!r} is no address: https, or http to this machine.", field="from")
    async with AsyncClient(order.source, token=token) as client:
        yield _There(client)


async def _pass(source: Source, sink: HttpSink, order: Order, *, name: str, stop: asyncio.Event) -> None:
    stood = None if order.after is not None else await source.stands(name)
    cursor = await source.stand(name, order.after or "latest") if stood is None else stood
    note(f"Forwarding to {order.to} as {name!r}, after {cursor}; end with Ctrl-C.")
    silent = False
    while not stop.is_set():
        try:
            page = await _unless(stop, source.page(cursor, order.provider))
            passed, following = page or ([], cursor)
            for one in passed:
                if not await _sent(source, sink, one, stop=stop):
                    return
                cursor = await source.stand(name, one.cursor)
            if following != cursor:
                cursor = await source.stand(name, following)
            silent = False
        except (NoAnswerFromReceiverError, StoreUnavailableError):
            # What was sent and could not be noted comes again.
            if not silent:
                note("The receiver does not answer. It is waited for.")
            silent = True
            await _unless(stop, asyncio.sleep(_BETWEEN))


async def _sent(source: Source, sink: HttpSink, one: Passed, *, stop: asyncio.Event) -> bool:
    """Send one until it is taken, refused or given up; False if it was stopped before."""
    job = replace(one.job, result=None)
    if job.state is JobState.SUCCEEDED:
        job = replace(job, result=await source.result(job))
    event = event_of(job, replay_id=one.replay_id, largest=_LARGEST, public_url=None, now=read_clock())
    attempt, told = 0, False
    while not stop.is_set():
        try:
            said = await sink.send(event)
        except SinkAwayError as error:
            if isinstance(error, SinkGoneError):
                # It is no handler that could be resumed.
                note(str(error).partition(AFTERWARDS)[0].rstrip())
                raise click.exceptions.Exit(1) from error
            if not told:
                note(f"{error} It is waited for.")
            told, wait = True, 1_000
        except SinkRefusedError as error:
            note(f"{one.job.id} {error}")
            return True
        except SinkFailedError as error:
            attempt += 1
            if attempt >= _AGAIN.attempts:
                note(f"{one.job.id} given up after {attempt} attempts: {error}")
                return True
            wait = _AGAIN.wait(attempt, jitter=0.0)
        else:
            click.echo(f"{one.cursor:>8}  {job.id}  {job.provider}  {job.state.value}  {said}")
            return True
        await _unless(stop, asyncio.sleep(wait / 1000))
    return False


async def _unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """What *work* comes to; ``None`` if it was told to stop before."""
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        for one in (doing, stopping):
            one.cancel()
        await asyncio.gather(doing, stopping, return_exceptions=True)
