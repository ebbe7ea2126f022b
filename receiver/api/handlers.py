"""``/v1/handlers``: the registered handlers, and which of them get nothing for now."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from receiver.api.acting import actor
from receiver.api.resource import Operation, answer
from receiver.core.errors import NotFoundError
from receiver.steps.deed import deed
from receiver.storage import circuits
from receiver.storage.store import Store
from receiver.views.handler import HandlerDocument, handler_document

#: Who pauses a handler through the API: whoever has the token.
_WHO = "API token"


class HandlerList(msgspec.Struct, frozen=True, kw_only=True):
    """The registered handlers and sinks, by name."""

    handlers: list[HandlerDocument]


class RegisteredHandlers:
    """The operations on handlers."""

    def __init__(self, *, store: Store, clock: Callable[[], int], notify: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._notify = notify

    @property
    def operations(self) -> list[Operation]:
        """What can be asked for."""
        return [
            Operation(
                method="GET",
                path="/v1/handlers",
                summary="List the registered handlers and sinks, each with its circuit.",
                endpoint=self.list,
                answers={200: HandlerList},
            ),
            Operation(
                method="POST",
                path="/v1/handlers/{name}/pause",
                summary="Have nothing dispatched to a handler until it is resumed; what ends meanwhile waits for it.",
                endpoint=self.pause,
                answers={200: HandlerDocument},
                problems=(404,),
            ),
            Operation(
                method="POST",
                path="/v1/handlers/{name}/resume",
                summary="Close a handler's circuit, whether it was paused or had opened.",
                endpoint=self.resume,
                answers={200: HandlerDocument},
                problems=(404,),
            ),
        ]

    async def list(self, _request: Request) -> Response:
        """List the handlers."""
        found = await self._store.registered()
        return answer(HandlerList(handlers=[handler_document(one) for one in found]))

    async def pause(self, request: Request) -> Response:
        """Pause a handler."""
        name = _name(request)
        async with deed(self._store, actor(request), "pause", now=self._clock(), subject=name):
            await self._store.write(circuits.pause, (name, _WHO, self._clock()))
        return await self._told(name)

    async def resume(self, request: Request) -> Response:
        """Resume a handler."""
        name = _name(request)
        async with deed(self._store, actor(request), "resume", now=self._clock(), subject=name):
            await self._store.write(circuits.resume, name)
        self._notify()
        return await self._told(name)

    async def _told(self, name: str) -> Response:
        for one in await self._store.registered():
            if one.name == name:
                return answer(handler_document(one))
        raise NotFoundError(f"No handler {name!r} is registered.", code="handler_unknown")


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    if not name.isprintable():
        raise NotFoundError("No handler has such a name.", code="handler_unknown")
    return name
