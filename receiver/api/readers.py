"""``/v1/readers``: where those stand who read the feed under a name."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from receiver.api.resource import Operation, answer, read_document
from receiver.core.errors import NotFoundError
from receiver.core.reader import reader_name
from receiver.steps.follow import Follow, place_of
from receiver.storage import feed
from receiver.storage.store import Store
from receiver.wire.web import Bodies


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a reader has come: a cursor of the feed, or ``latest``."""

    cursor: str


class ReaderDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A reader of the feed, and the cursor that it goes on after."""

    name: str
    cursor: str


class Readers:
    """The operations on readers."""

    def __init__(self, *, store: Store, follow: Follow, bodies: Bodies, clock: Callable[[], int]) -> None:
        self._store = store
        self._follow = follow
        self._bodies = bodies
        self._clock = clock

    @property
    def operations(self) -> list[Operation]:
        """What can be asked for."""
        return [
            Operation(
                method="GET",
                path="/v1/readers/{name}",
                summary="Where a reader of the feed stands.",
                endpoint=self.show,
                answers={200: ReaderDocument},
                problems=(400, 404),
            ),
            Operation(
                method="PUT",
                path="/v1/readers/{name}",
                summary="Remember how far a reader of the feed has come; the first time makes it known.",
                endpoint=self.stand,
                takes=Place,
                answers={200: ReaderDocument},
                problems=(400, 408, 413),
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Say where a reader stands."""
        name = reader_name(request.path_params["name"])
        place = await self._store.read(feed.stands, name)
        if place is None:
            raise NotFoundError(
                "No reader of that name has read anything; PUT a cursor to make it known.",
                code="reader_unknown",
            )
        return answer(ReaderDocument(name=name, cursor=str(place)))

    async def stand(self, request: Request) -> Response:
        """Remember a place."""
        name = reader_name(request.path_params["name"])
        order = await read_document(request, Place, bodies=self._bodies)
        place = await self._follow.last() if order.cursor == "latest" else place_of(order.cursor)
        await self._store.write(feed.stand, (name, place, self._clock()))
        return answer(ReaderDocument(name=name, cursor=str(place)))
