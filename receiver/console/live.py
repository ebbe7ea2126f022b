"""Live: what comes in, goes out and reaches handlers, as it happens.

However many watch, the record is asked once a second, for the newest of what is new; and nobody asks while nobody
watches. A browser that lost its connection says what it has seen last, and hears the rest first.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec
import structlog
from starlette.responses import Response

from receiver.console import filters, story, words
from receiver.console.ask import HEADERS, Ask, Route
from receiver.console.page import Page
from receiver.console.parts import Parts
from receiver.console.shown import plain, short, span
from receiver.core.errors import ReceiverError, StoreUnavailableError
from receiver.core.model import HOUR, MINUTE, SECOND, Attempt, Callback, Value
from receiver.storage.latest import Latest, latest
from receiver.wire.stream import Stream

log = structlog.get_logger(__name__)

_EVERY: Final = 1.0
#: A row's time is taken before its commit; so far back we look for rows that came late.
_LATE: Final = 5 * SECOND
#: How many events of each kind are shown: of one second, of what was missed, and at first.
_AT_ONCE: Final = 60
_MISSED: Final = 300
_FIRST: Final = 40
#: What a slow browser may be behind before it has to begin again.
_BEHIND: Final = 30
_MOST_WATCHERS: Final = 200
#: How often it is looked whether who watches is signed in still.
_STAYS: Final = 10 * SECOND
_OUT: Final = {"submit", "poll", "fetch", "cancel"}
KINDS: Final = ("in", "out", "handlers", "here")


#: What happened in one second, as browsers hear it: written once, however many listen.
Heard = dict[str, Any]
#: That the record cannot be asked, and that it can be again; a browser passes over an event without data.
_LOST: Final[Heard] = {"event": "lost", "data": "1"}
_BACK: Final[Heard] = {"event": "back", "data": "1"}


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
    #: The id of what the link leads to, short.
    id: str
    #: Of a callback: the job that it is about, whole and short; empty where none is known.
    job: str = ""
    job_id: str = ""


class Hub:
    """Asks the record for all who watch."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._watchers: set[asyncio.Queue[Heard | None]] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether nobody more may watch."""
        return len(self._watchers) >= _MOST_WATCHERS

    async def happened(self, at: int, limit: int) -> tuple[int, list[Event], bool]:
        """Until when, what happened from *at* on, at most *limit* of each kind; and whether there was more."""
        now = self._parts.clock()
        found = await self._parts.store.read(latest, at, limit)
        return now, events(found), found.more

    async def watch(self, at: int) -> AsyncGenerator[Heard, None]:
        """What has happened since *at*, then what happens, until the browser is too slow or gone."""
        queue: asyncio.Queue[Heard | None] = asyncio.Queue(_BEHIND)
        self._watchers.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ask())
        try:
            now, missed, more = await self.happened(max(at - _LATE, self._parts.clock() - HOUR), _MISSED)
            yield _heard(now, missed, more=more)
            while (heard := await queue.get()) is not None:
                yield heard
        finally:
            self._watchers.discard(queue)

    async def _ask(self) -> None:
        seen: dict[str, int] = {}
        last, lost = self._parts.clock(), False
        while self._watchers and not self._parts.ending():
            await asyncio.sleep(_EVERY)
            if self._parts.ending():
                break  # the record may be closed by now
            try:
                now, happened, more = await self.happened(last - _LATE, _AT_ONCE)
            except ReceiverError as error:
                if not lost:
                    log.info("live_paused", reason=str(error))
                    self._tell(_LOST)
                lost = True
                continue
            except Exception:
                log.exception("live_failed")
                break
            if lost:
                self._tell(_BACK)
            lost = False
            fresh = [one for one in happened if one.key not in seen]
            seen = {key: at for key, at in seen.items() if at >= last - 2 * _LATE}
            seen |= {one.key: one.at for one in fresh}
            last = now
            self._tell(_heard(now, fresh, more=more and len(fresh) >= _AT_ONCE))
        for queue in list(self._watchers):
            _push(queue, None)

    def _tell(self, heard: Heard) -> None:
        for queue in list(self._watchers):
            if not _push(queue, heard):
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
        until, happened, _ = await self._hub.happened(ask.now - 30 * MINUTE, _FIRST)
        wanted = [
            one
            for one in happened
            if asked.values.get("provider") in {None, one.provider}
            and asked.values.get("kind") in {None, one.kind}
        ]
        return await ask.page(
            "live.html",
            filters=asked,
            events=wanted,
            until=until,
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
        return Stream(self._told(ask, at), headers=HEADERS)

    async def _told(self, ask: Ask, at: int) -> AsyncGenerator[Heard, None]:
        looked = self._parts.clock()
        async with aclosing(self._hub.watch(at)) as hearing:
            async for heard in hearing:
                if (now := self._parts.clock()) - looked > _STAYS:
                    # While the database is away nobody knows; but then nothing is told either.
                    with contextlib.suppress(StoreUnavailableError):
                        if not await ask.stays():
                            # The browser connects again, and is turned away.
                            return
                        looked = now
                yield heard


def _heard(until: int, happened: list[Event], *, more: bool) -> Heard:
    """*until* is what a browser names that comes back: everything up to then is in it."""
    if not (happened or more):
        return {"id": str(until), "event": "quiet", "data": ""}
    data = msgspec.json.encode({"events": happened, "more": more}).decode()
    return {"id": str(until), "data": data}


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
        id=short(one.id),
        job=one.job_id or "",
        job_id=short(one.job_id or ""),
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
        id=short(one.job_id),
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


def _push(queue: "asyncio.Queue[Heard | None]", heard: Heard | None) -> bool:
    try:
        queue.put_nowait(heard)
    except asyncio.QueueFull:
        return False
    return True
