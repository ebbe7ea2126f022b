"""Live: what comes in, goes out and reaches handlers, as it happens.

However many watch, the record is asked once a second, for the newest of what is new; and nobody asks while nobody
watches. A browser that lost its connection says what it has seen last, and hears the rest first.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import structlog
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response

from receiver.console import filters, story, words
from receiver.console.ask import HEADERS, Ask, Route
from receiver.console.page import Page
from receiver.console.parts import Parts
from receiver.console.shown import plain, span
from receiver.core.errors import ReceiverError
from receiver.core.model import HOUR, MINUTE, SECOND, Attempt, Callback, Value
from receiver.storage.latest import Latest, latest

log = structlog.get_logger(__name__)

_EVERY: Final = 1.0
#: A row's time is taken before its commit; so far back we look for rows that came late.
_LATE: Final = 5 * SECOND
#: So much of each kind is shown of one second, of what was missed, and at first.
_AT_ONCE: Final = 60
_MISSED: Final = 300
_FIRST: Final = 40
#: What a slow browser may be behind before it has to begin again.
_BEHIND: Final = 30
_MOST_WATCHERS: Final = 200
_PING: Final = 15
_OUT: Final = {"submit", "poll", "fetch", "cancel"}
KINDS: Final = ("in", "out", "handlers", "here")


class Event(Value, frozen=True, kw_only=True):
    """One line."""

    key: str
    at: int
    #: in, out, handlers or here.
    kind: str
    provider: str
    title: str
    word: str
    said: str
    colour: str
    text: str
    link: str


class Batch(Value, frozen=True, kw_only=True):
    """What happened in one second."""

    #: Up to when everything is in it; what a browser names that comes back.
    until: int
    events: list[Event]
    #: Whether there was more than is shown.
    more: bool
    #: As browsers hear it: written once, however many listen.
    told: dict[str, Any]


class Hub:
    """Asks the record for all who watch."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._watchers: set[asyncio.Queue[Batch | None]] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether nobody more may watch."""
        return len(self._watchers) >= _MOST_WATCHERS

    async def since(self, at: int, limit: int) -> Batch:
        """What happened from *at* on, at most *limit* of each kind."""
        now = self._parts.clock()
        found = await self._parts.store.read(latest, at, limit)
        return _batch(now, events(found), more=found.more)

    async def watch(self, at: int) -> AsyncIterator[Batch]:
        """What has happened since *at*, then what happens, until the browser is too slow or gone."""
        queue: asyncio.Queue[Batch | None] = asyncio.Queue(_BEHIND)
        self._watchers.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ask())
        try:
            yield await self.since(max(at - _LATE, self._parts.clock() - HOUR), _MISSED)
            while (batch := await queue.get()) is not None:
                yield batch
        finally:
            self._watchers.discard(queue)

    async def _ask(self) -> None:
        seen: dict[str, int] = {}
        last = self._parts.clock()
        while self._watchers and not self._parts.ending():
            await asyncio.sleep(_EVERY)
            try:
                batch = await self.since(last - _LATE, _AT_ONCE)
            except ReceiverError as error:
                log.info("live_paused", reason=str(error))
                continue
            except Exception:
                log.exception("live_failed")
                break
            fresh = [one for one in batch.events if one.key not in seen]
            seen = {key: at for key, at in seen.items() if at >= last - 2 * _LATE}
            seen |= {one.key: one.at for one in fresh}
            more = batch.more and len(fresh) >= _AT_ONCE
            last = batch.until
            self._tell(_batch(batch.until, fresh, more=more))
        for queue in list(self._watchers):
            _push(queue, None)

    def _tell(self, batch: Batch) -> None:
        for queue in list(self._watchers):
            if not _push(queue, batch):
                self._watchers.discard(queue)
                queue.get_nowait()
                queue.put_nowait(None)


class LivePage(Page):
    """The page, and what it listens to."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._hub = Hub(parts)

    @property
    def routes(self) -> list[Route]:
        """What can be asked for."""
        return [Route("GET", "/live", self.show), Route("GET", "/live/events", self.listen)]

    async def show(self, ask: Ask) -> Response:
        """Show what happened last, and where to listen for what happens."""
        readers = {"provider": filters.one_of(self._parts.catalog), "kind": filters.one_of(KINDS)}
        asked = filters.read(ask.request.query_params, readers)
        batch = await self._hub.since(ask.now - 30 * MINUTE, _FIRST)
        wanted = [
            one
            for one in batch.events
            if asked.values.get("provider") in {None, one.provider}
            and asked.values.get("kind") in {None, one.kind}
        ]
        return await ask.page(
            "live.html",
            filters=asked,
            events=wanted,
            until=batch.until,
            providers=list(self._parts.catalog),
            kinds=KINDS,
        )

    async def listen(self, ask: Ask) -> Response:
        """Tell a browser what happens, as server-sent events."""
        if self._hub.full:
            return Response(
                "Too many watch already.", status_code=503, headers=HEADERS | {"retry-after": "30"}
            )
        if ask.request.method == "HEAD":
            return Response(media_type="text/event-stream", headers=HEADERS)
        named = ask.request.headers.get("last-event-id") or ask.request.query_params.get("from") or ""
        at = int(named) if named.isascii() and named.isdigit() and len(named) < 16 else ask.now  # noqa: PLR2004
        return EventSourceResponse(self._told(at), headers=HEADERS, ping=_PING, send_timeout=_PING)

    async def _told(self, at: int) -> AsyncIterator[dict[str, Any]]:
        async for batch in self._hub.watch(at):
            yield batch.told


def _batch(until: int, happened: list[Event], *, more: bool) -> Batch:
    told: dict[str, Any] = {"id": str(until), "event": "quiet", "data": ""}
    if happened or more:
        data = msgspec.json.encode({"events": happened, "more": more}).decode()
        told = {"id": str(until), "data": data}
    return Batch(until=until, events=happened, more=more, told=told)


def events(found: Latest) -> list[Event]:
    """Lines for a page, the oldest first."""
    made = [_arrived(one) for one in found.callbacks]
    made += (_done(provider, one) for provider, one in found.attempts)
    return sorted(made, key=lambda one: (one.at, one.key))


def _arrived(one: Callback) -> Event:
    return _event(
        key=one.id,
        at=one.received_at,
        kind="in",
        provider=one.provider,
        title="callback",
        word=one.verdict.value,
        text=words.meaning(one.code),
        link=f"/callbacks/{one.id}",
    )


def _done(provider: str, one: Attempt) -> Event:
    kind = "handlers" if one.step == "dispatch" else "out" if one.step in _OUT else "here"
    took = f"in {span(one.duration_ms)}" if one.duration_ms else ""
    number = f"attempt {one.number}" if one.number > 1 else ""
    why = "" if one.step == "replay" else words.meaning(one.code)
    return _event(
        key=one.id,
        at=one.started_at + one.duration_ms,
        kind=kind,
        provider=provider,
        title=story.handler_of(one) if one.step == "dispatch" else one.step,
        word=one.outcome,
        text=", ".join(filter(None, (number, took, why))),
        link=f"/jobs/{one.job_id}",
    )


def _event(*, word: str, title: str, text: str, provider: str, **rest: Any) -> Event:  # noqa: ANN401
    return Event(
        word=plain(word),
        said=plain(words.state(word)),
        colour=words.colour(word),
        title=plain(title),
        text=plain(text),
        provider=plain(provider),
        **rest,
    )


def _push(queue: "asyncio.Queue[Batch | None]", batch: Batch | None) -> bool:
    try:
        queue.put_nowait(batch)
    except asyncio.QueueFull:
        return False
    return True
