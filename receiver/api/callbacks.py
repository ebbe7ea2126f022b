"""``/v1/callbacks``: what arrived, exactly, and reading it again."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from receiver.api.acting import actor
from receiver.api.filters import callback_readers, cut, read_page
from receiver.api.jobs import AS_FILE, ReplayOrder
from receiver.api.resource import Operation, answer, read_document
from receiver.catalog import Catalog
from receiver.core.errors import ConflictError, NotFoundError, RejectionError
from receiver.core.identity import CALLBACK, is_id
from receiver.steps.deed import done
from receiver.steps.proving import Proving
from receiver.steps.replay import Replay, Replayed
from receiver.storage.store import Store
from receiver.views.callback import CallbackDetail, CallbackDocument, callback_detail, callback_document
from receiver.wire.web import Bodies


class CallbackList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of callbacks, the newest first."""

    callbacks: list[CallbackDocument]
    cursor: str | None


class Callbacks:
    """The operations on callbacks."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        proving: Proving,
        bodies: Bodies,
        replay: Replay,
        clock: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._store = store
        self._catalog = catalog
        self._proving = proving
        self._bodies = bodies
        self._replay = replay
        self._readers = callback_readers(catalog)

    @property
    def operations(self) -> list[Operation]:
        """What can be asked for."""
        return [
            Operation(
                method="GET",
                path="/v1/callbacks",
                summary="List callbacks, the newest first.",
                endpoint=self.list,
                query=tuple(self._readers),
                answers={200: CallbackList},
            ),
            Operation(
                method="GET",
                path="/v1/callbacks/{id}",
                summary="One callback with its headers; what could be a secret is masked.",
                endpoint=self.show,
                answers={200: CallbackDetail},
                problems=(404,),
            ),
            Operation(
                method="GET",
                path="/v1/callbacks/{id}/body",
                summary="The body's bytes, as they arrived.",
                endpoint=self.body,
                answers={200: "application/octet-stream"},
                problems=(404,),
            ),
            Operation(
                method="POST",
                path="/v1/callbacks/{id}/replay",
                summary="Verify and read a stored callback again, as of its arrival.",
                endpoint=self.replay,
                takes=ReplayOrder,
                may_be_empty=True,
                answers={202: Replayed, 200: Replayed},
                problems=(400, 404, 408, 409, 413),
            ),
        ]

    async def list(self, request: Request) -> Response:
        """List callbacks."""
        page = read_page(request, self._readers)
        found, cursor = cut(await self._store.callbacks(page), page, lambda callback: callback.id)
        return answer(CallbackList(callbacks=[callback_document(one) for one in found], cursor=cursor))

    async def show(self, request: Request) -> Response:
        """Show one callback."""
        callback = await self._store.callback(_callback_id(request))
        provider = self._catalog.get(callback.provider)
        if provider is None or provider.verify is None:
            return answer(callback_detail(callback))
        diagnosis = await self._proving.diagnosis(callback, provider, providers=self._catalog)
        return answer(callback_detail(callback, proofs=provider.verify.headers, diagnosis=diagnosis))

    async def body(self, request: Request) -> Response:
        """Give the body as it arrived."""
        callback = await self._store.callback(_callback_id(request))
        return Response(
            callback.body,
            media_type="application/octet-stream",
            headers=AS_FILE | {"content-disposition": f'attachment; filename="{callback.id}"'},
        )

    async def replay(self, request: Request) -> Response:
        """Replay one callback."""
        order = await read_document(request, ReplayOrder, bodies=self._bodies, empty=ReplayOrder())
        named = _callback_id(request)
        try:
            replayed = await self._replay(named, handler=order.handler, dry_run=order.dry_run, by="api")
        except RejectionError as error:
            # The error's own 401 is meant for the sender of the callback; the caller of this API did nothing wrong.
            raise ConflictError(
                f"The callback is still not proved genuine: {error}", code=error.code
            ) from error
        if not order.dry_run:
            done(
                self._store,
                actor(request),
                "read",
                now=self._clock(),
                subject=named,
                job_id=replayed.job_id,
                verdict=replayed.verdict,
                replay_id=replayed.replay_id,
            )
        return answer(replayed, status=200 if order.dry_run else 202)


def _callback_id(request: Request) -> str:
    named: str = request.path_params["id"]
    if not is_id(named, CALLBACK):
        raise NotFoundError("No callback has such an id; ids are whole here.", code="callback_not_found")
    return named
