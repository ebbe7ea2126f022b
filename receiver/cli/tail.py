"""``receiver tail``: what happens, as it happens."""

import asyncio
import contextlib
from typing import Final

import click
from msgspec import to_builtins

from receiver.cli import options, output, session
from receiver.cli.command import Command, note
from receiver.cli.timeline import line
from receiver.core.identity import CALLBACK
from receiver.core.model import SECOND
from receiver.running import Running
from receiver.storage.queries import MOST, Page
from receiver.views.callback import callback_document
from receiver.views.document import timestamp
from receiver.views.timeline import AttemptEntry, CallbackEntry, attempt_entry

_EVERY: Final = 0.5
#: Milliseconds to look back: a row gets its time before its commit, so it may appear late.
_LATE: Final = 5 * SECOND


class Happening:
    """One entry for a timeline that runs over all jobs."""

    def __init__(
        self, at: int, job_id: str | None, provider: str, entry: CallbackEntry | AttemptEntry
    ) -> None:
        self.at = at
        self.job_id = job_id
        self.provider = provider
        self.entry = entry


class Feed:
    """Reads what is new, each thing once."""

    def __init__(self, running: Running, provider: str | None) -> None:
        self._running = running
        self._provider = provider
        self._begun = self._from = running.clock()
        self._seen: dict[str, int] = {}

    async def read(self) -> list[Happening]:
        """What has happened since the last time, in order."""
        now = self._running.clock()
        start = max(self._from - _LATE, self._begun)
        found = [*await self._callbacks(start), *await self._attempts(start)]
        self._from = now
        self._seen = {name: at for name, at in self._seen.items() if at >= start - _LATE}
        return sorted(found, key=lambda one: one.at)

    async def _callbacks(self, start: int) -> list[Happening]:
        cursor, new = f"{CALLBACK}_{start:012x}", []
        while page := await self._running.store.callbacks(
            Page(provider=self._provider, after=cursor, limit=MOST)
        ):
            cursor = page[-1].id
            for one in page:
                if self._is_new(one.id, one.received_at):
                    entry = CallbackEntry(at=timestamp(one.received_at), callback=callback_document(one))
                    new.append(Happening(one.received_at, one.job_id, one.provider, entry))
        return new

    async def _attempts(self, start: int) -> list[Happening]:
        new = []
        ended, more = start, True
        while more:
            page = await self._running.store.activity(since=start)
            for provider, one in page:
                ended = one.started_at + one.duration_ms
                if self._is_new(one.id, ended) and self._provider in {None, provider}:
                    new.append(Happening(ended, one.job_id, provider, attempt_entry(one)))
            more = len(page) == MOST
            start = max(ended, start + 1)
        return new

    def _is_new(self, name: str, at: int) -> bool:
        known = name in self._seen
        self._seen[name] = at
        return not known


@click.command(cls=Command)
@options.provider
@click.option(
    "--forward-to", metavar="URL", help="Send each completion there instead, as a signed CloudEvent."
)
@click.option("--from", "source", metavar="URL", help="Follow the receiver at this address, by its API.")
@click.option(
    "--name", metavar="NAME", help="The name under which the receiver remembers how far this one has come."
)
@click.option(
    "--after", metavar="CURSOR", help="Begin after this completion: 0 at the beginning, 'latest' at the end."
)
@click.option(
    "--secret-env", metavar="NAME", help="Sign with the secret in this variable; one is made if left out."
)
@options.as_json
async def tail(
    *,
    provider: str | None,
    forward_to: str | None,
    source: str | None,
    name: str | None,
    after: str | None,
    secret_env: str | None,
    as_json: bool,
) -> None:
    """Follow callbacks, requests and handlers live, or pass completions on.

    One line each: ← a callback arrived, → a provider was asked, ⇒ a handler was called, · something was
    decided here. Polls that learned nothing are left out. Ends with Ctrl-C.

    With --forward-to completions are sent to a program of yours, in their order, each until it answers 2xx. Started
    again, it goes on where it stood, so nothing is missed meanwhile. A new name begins with what comes now.
    """
    if forward_to is not None:
        from receiver.cli.forward import Order, forward  # noqa: PLC0415  (only then it is needed)

        await forward(
            Order(
                to=forward_to, source=source, name=name, after=after, provider=provider, secret_env=secret_env
            )
        )
        return
    if any(one is not None for one in (source, name, after, secret_env)):
        raise click.UsageError("--from, --name, --after and --secret-env belong to --forward-to.")
    async with session.opened() as running:
        if provider is not None:
            running.catalog.named(provider)
        stop = session.stop_signal()
        feed = Feed(running, provider)
        note("Following; end with Ctrl-C.")
        while not stop.is_set():
            for one in await feed.read():
                _show(one, as_json=as_json)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY):
                    await stop.wait()


def _show(one: Happening, *, as_json: bool) -> None:
    if as_json:
        document = to_builtins(one.entry)
        about = {"provider": one.provider, "job_id": one.job_id}
        output.show_json(document | about, indent=0)
        return
    click.echo(line(one.entry, about=one.provider) + (f" {one.job_id}" if one.job_id else ""))
