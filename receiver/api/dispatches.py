"""``/v1/dispatches``: what waits for a handler, and the dead letters."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from receiver.api.acting import actor
from receiver.api.filters import dispatch_readers, read_page
from receiver.api.resource import Operation, answer
from receiver.core.errors import ConflictError, NotFoundError
from receiver.core.identity import dispatch_key
from receiver.core.model import Dispatch
from receiver.steps.deed import deed
from receiver.storage import unfinished
from receiver.storage.store import Store
from receiver.views.dispatch import DispatchDocument, dispatch_document
from receiver.wire.web import PRIVATE


class DispatchList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of dispatches, those of the newest job first; it may be short and still have a ``cursor``."""

    dispatches: list[DispatchDocument]
    cursor: str | None


class Dispatches:
    """The operations on dispatches."""

    def __init__(self, *, store: Store, clock: Callable[[], int], notify: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._notify = notify
        self._readers = dispatch_readers()

    @property
    def operations(self) -> list[Operation]:
        """What can be asked for."""
        return [
            Operation(
                method="GET",
                path="/v1/dispatches",
                summary="List dispatches that are not finished; state=dead lists the dead letters.",
                endpoint=self.list,
                query=tuple(self._readers),
                answers={200: DispatchList},
            ),
            Operation(
                method="POST",
                path="/v1/dispatches/{id}/retry",
                summary="Try a dead letter again, with as many attempts as at first.",
                endpoint=self.retry,
                answers={202: DispatchDocument},
                problems=(404, 409),
            ),
            Operation(
                method="DELETE",
                path="/v1/dispatches/{id}",
                summary="Discard a dead letter.",
                endpoint=self.discard,
                answers={204: None},
                problems=(404, 409),
            ),
        ]

    async def list(self, request: Request) -> Response:
        """List dispatches."""
        page = read_page(request, self._readers)
        found = await self._store.read(unfinished.find, replace(page, limit=page.limit - 1))
        listed = [dispatch_document(one) for one in found.dispatches]
        return answer(DispatchList(dispatches=listed, cursor=found.cursor))

    async def retry(self, request: Request) -> Response:
        """Try a dead letter again."""
        dispatch, now = await self._dead(request), self._clock()
        async with self._deed(request, "retry", dispatch):
            if not await self._store.retry_dispatch(dispatch, now=now):
                raise _alive(dispatch)
        self._notify()
        again = replace(dispatch, state="ready", attempt=0, owner=None, run_at=now, created_at=now)
        return answer(dispatch_document(again), status=202)

    async def discard(self, request: Request) -> Response:
        """Drop a dead letter."""
        dispatch = await self._dead(request)
        async with self._deed(request, "discard", dispatch):
            if not await self._store.discard_dispatch(dispatch, now=self._clock()):
                raise _alive(dispatch)
        return Response(status_code=204, headers=PRIVATE)

    def _deed(
        self, request: Request, action: str, dispatch: Dispatch
    ) -> AbstractAsyncContextManager[dict[str, Any]]:
        return deed(
            self._store,
            actor(request),
            action,
            now=self._clock(),
            subject=dispatch.id,
            job_id=dispatch.job_id,
        )

    async def _dead(self, request: Request) -> Dispatch:
        """The dead letter that the address names: ``job:handler``, or ``job:handler:replay``."""
        text = request.path_params["id"]
        key = dispatch_key(text) if text.isprintable() else None
        if key is None:
            raise NotFoundError("No dispatch has such an id.", code="dispatch_not_found")
        job, handler, replay_id = key
        dispatch = await self._store.dispatch(job, handler=handler, replay_id=replay_id)
        if dispatch.state != "dead":
            raise _alive(dispatch)
        return dispatch


def _alive(dispatch: Dispatch) -> ConflictError:
    return ConflictError(
        f"{dispatch.id} is not dead: its handler is still being called.", code="dispatch_not_dead"
    )
