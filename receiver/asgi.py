"""The ASGI face of a receiver: callbacks and the API ahead of every router, then health and metrics."""

from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from receiver.api import Api, Health
from receiver.api.resource import refusal
from receiver.core.errors import ReceiverError
from receiver.running import Running
from receiver.wire.front import Front, address_of
from receiver.wire.web import PRIVATE, broken, path_of, problem

log = structlog.get_logger(__name__)


class Served(Protocol):
    """A receiver, as far as it is served."""

    @property
    def running(self) -> Running:
        """Its parts; raises NotStartedError unless it is started."""
        ...

    def lifespan(self, app: object = None, /) -> AbstractAsyncContextManager[None]:
        """Start and stop it with an application."""
        ...


class NotStartedError(ReceiverError):
    """The receiver was never started: run its lifespan (``FastAPI(lifespan=receiver.lifespan)``)."""

    code = "receiver_not_started"
    status = 503


class _Faces(NamedTuple):
    """What answers for a receiver that runs."""

    running: Running
    #: ``None`` where only health and metrics are served.
    front: Front | None
    api: Api | None
    health: Starlette


class Application:
    """The ASGI face of a receiver.

    Args:
        receiver: Whose face.
        only_health: Whether health and metrics are all that is served: no callbacks, no ``/v1``.
    """

    def __init__(self, receiver: Served, *, only_health: bool = False) -> None:
        self._receiver = receiver
        self._only_health = only_health
        # Starlette speaks the lifespan protocol for us; what it serves is built when the receiver has started.
        self._lifespan = Starlette(lifespan=receiver.lifespan)
        self._faces: _Faces | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        try:
            running = self._receiver.running
        except NotStartedError as error:
            log.error("receiver_not_started")
            await problem(error)(scope, receive, send)
            return
        faces = self._faces
        if faces is None or faces.running is not running:
            faces = self._faces = self._build(running, only_health=self._only_health)
        if kind == "http":
            path = path_of(scope)
            if faces.front is not None and (address := address_of(path)) is not None:
                await faces.front(address, scope, receive, send)
                return
            if faces.api is not None and (resource := faces.api.find(path, scope)) is not None:
                await resource(scope, receive, send)
                return
        await faces.health(scope, receive, send)

    @staticmethod
    def _build(running: Running, *, only_health: bool = False) -> _Faces:
        health = Health(
            store=running.store,
            keys=running.keys,
            metrics=running.metrics,
            clock=running.clock,
            node=running.node,
            drift=running.drift,
        )
        application = Starlette(
            routes=health.routes,
            exception_handlers={404: _unknown, ReceiverError: _refused, Exception: _broken},
        )
        # A redirect would repeat a token in its Location.
        application.router.redirect_slashes = False
        if only_health:
            return _Faces(running, None, None, application)
        front = Front(ingest=running.ingest, settings=running.settings)
        api = Api(
            store=running.store,
            catalog=running.catalog,
            keys=running.keys,
            proving=running.proving,
            settings=running.settings,
            submit=running.submit,
            cancel=running.cancel,
            replay=running.replay,
            clock=running.clock,
            notify=running.notify,
        )
        return _Faces(running, front, api, application)


async def _unknown(_request: Request, _error: Exception) -> Response:
    return Response(status_code=404, headers=PRIVATE)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ReceiverError)  # noqa: S101  (registered for that)
    return refusal(error)


async def _broken(request: Request, error: Exception) -> Response:
    log.error("request_failed", route=request.scope["path"].split("/")[1], exc_info=error)
    return broken()
