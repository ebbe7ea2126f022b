"""``/v1/completions``: the feed, as pages that may wait, or as a stream of server-sent events."""

from collections.abc import AsyncIterator
from typing import Final

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from receiver.api.filters import completion_readers, read_query
from receiver.api.resource import Operation, answer
from receiver.catalog import Catalog
from receiver.core.errors import ReceiverError
from receiver.steps.follow import Follow
from receiver.steps.wait import LONGEST_REQUEST
from receiver.storage.feed import Completion, Wanted
from receiver.views.completion import CompletionDocument, completion_document
from receiver.wire.refusals import Refusals
from receiver.wire.web import PRIVATE

#: How many streams and requests that wait one process holds open: each keeps a connection and its place in memory.
MOST_HELD: Final = 200
#: Seconds after which a stream looks again, whatever news there is.
_PAUSE: Final = 60.0
#: The cursor that everything comes after.
_BEGINNING: Final = "0"
_STREAM: Final = "text/event-stream"
#: What a stream says first: when to come back after it was lost, in milliseconds.
_HELLO: Final = b"retry: 2000\n\n"


class CompletionList(msgspec.Struct, frozen=True, kw_only=True):
    """Completions in the order of the feed; ``cursor`` is where to go on, also where there are none."""

    completions: list[CompletionDocument]
    cursor: str


class FeedFullError(ReceiverError):
    """Too many read the feed at this moment, in streams or by requests that wait; come back a little later."""

    code = "feed_full"
    status = 503


class Completions:
    """The operations on the feed."""

    def __init__(self, *, follow: Follow, catalog: Catalog, refusals: Refusals) -> None:
        self._follow = follow
        self._refusals = refusals
        #: How many streams and requests that wait are held open.
        self._held = 0
        self._readers = completion_readers(catalog, longest=LONGEST_REQUEST)

    @property
    def operations(self) -> list[Operation]:
        """What can be asked for."""
        return [
            Operation(
                method="GET",
                path="/v1/completions",
                summary="Completions after a cursor, in one order that never changes; wait is in seconds. With "
                "'Accept: text/event-stream' a stream without end, which goes on after Last-Event-ID.",
                endpoint=self.list,
                query=tuple(self._readers),
                answers={200: CompletionList},
                problems=(410,),
            )
        ]

    async def list(self, request: Request) -> Response:
        """Read the feed."""
        asked = read_query(request, self._readers)
        wanted = Wanted(
            after=await self._follow.place(
                request.headers.get("last-event-id") or asked.get("after") or _BEGINNING
            ),
            provider=asked.get("provider"),
            state=asked.get("state"),
            limit=asked.get("limit", 100),
        )
        if _STREAM in request.headers.get("accept", ""):
            from receiver.wire.stream import Stream  # who has no stream opened pays nothing

            # What is wrong with the cursor is told before the stream begins.
            await self._follow.page(replace(wanted, limit=1))
            self._hold()
            return Stream(self._events(wanted), headers=PRIVATE, ended=self._let_go)
        if patience := asked.get("wait"):
            self._hold()
            try:
                found = await self._follow.page(wanted, patience=patience)
            finally:
                self._let_go()
        else:
            found = await self._follow.page(wanted)
        return answer(
            CompletionList(
                completions=[completion_document(one) for one in found.completions], cursor=str(found.place)
            )
        )

    def _hold(self) -> None:
        if self._held >= MOST_HELD:
            self._refusals.note("v1", FeedFullError.status, code=FeedFullError.code)
            raise FeedFullError
        self._held += 1

    def _let_go(self) -> None:
        self._held -= 1

    async def _events(self, wanted: Wanted) -> AsyncIterator[bytes]:
        yield _HELLO
        while not self._follow.ending:
            found = await self._follow.page(wanted, patience=_PAUSE)
            for one in found.completions:
                yield _event(one)
            wanted = replace(wanted, after=found.place)


def _event(one: Completion) -> bytes:
    return b"id: %d\nevent: completion\ndata: %s\n\n" % (
        one.place,
        msgspec.json.encode(completion_document(one)),
    )
