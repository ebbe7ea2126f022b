"""The ASGI face of a receiver: callbacks and the API ahead of every router, then health and metrics."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from receiver.api import Api, Health
from receiver.api.resource import refusal
from receiver.console import Console, Parts
from receiver.core.errors import ReceiverError
from receiver.running import Running
from receiver.wire.front import Front, address_of
from receiver.wire.refusals import Refusals
from receiver.wire.web import PRIVATE, broken, path_of, problem

log = structlog.get_logger(__name__)

_NOT_FOUND: Final = 404
#: A prefix that no path has.
_NOTHING: Final = "\0"


class Served(Protocol):
    """What of a receiver this application needs."""

    @property
    def running(self) -> Running:
        """Its parts; raises NotStartedError unless it is started."""
        ...

    def lifespan(self, app: object = None, /) -> AbstractAsyncContextManager[None]:
        """Start and stop it with an application."""
        ...


class NotStartedError(ReceiverError):
    """The receiver is not started: give its application lifespan=receiver.lifespan, or enter receiver.lifespan()."""

    code = "receiver_not_started"
    status = 503


class AlreadyStartedError(ReceiverError):
    """The receiver runs: stop it first, or leave its lifespan."""

    code = "receiver_running"
    status = 500


class _Faces(NamedTuple):
    """What answers for a receiver that runs."""

    running: Running
    #: ``None`` where only health and metrics are served.
    front: Front | None
    api: Api | None
    health: Starlette
    refusals: Refusals
    #: The public URL's own path, which paths may begin with; where it has none, something that no path begins with.
    base: str
    #: ``None`` where it is left out.
    console: Console | None = None

    def seen(self, scope: Scope) -> Scope:
        """A request as its browser knows it: a proxy may have taken the public URL's own path away."""
        if scope.get("root_path") or self.base == _NOTHING:
            return scope
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        ours = urlsplit(self.running.settings.public_url or "").netloc.encode()
        return {**scope, "root_path": self.base.rstrip("/")} if host == ours else scope


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
        #: What is being noted of requests that never were any.
        self._noting: set[asyncio.Future[None]] = set()

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
            faces = self._made(running)
        if kind == "http":
            path = path_of(scope)
            if path.startswith(faces.base) and await self._below(faces, path, scope, receive, send):
                return
            if faces.front is not None and (address := address_of(path)) is not None:
                await faces.front(address, scope, receive, send)
                return
            if faces.api is not None and (resource := faces.api.find(path, scope)) is not None:
                await resource(scope, receive, faces.refusals.noting("v1", send))
                return
            if faces.console is not None and _is_console(path):
                await faces.console(
                    path.removeprefix("/console"),
                    faces.seen(scope),
                    receive,
                    faces.refusals.noting("console", send),
                )
                return
            await self._others(faces, path, scope, receive, send)

    async def _below(self, faces: _Faces, path: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """Serve a path below that of the public URL, if it is one, and return whether it was."""
        path = path[len(faces.base) - 1 :]
        if faces.front is not None and (address := address_of(path)) is not None:
            await faces.front(address, scope, receive, send)
        elif faces.api is not None and (resource := faces.api.find(path, scope)) is not None:
            await resource(scope, receive, faces.refusals.noting("v1", send))
        elif any(path == getattr(route, "path", None) for route in faces.health.routes):
            await faces.health({**scope, "path": path, "root_path": ""}, receive, send)
        elif faces.console is not None and _is_console(path):
            below = {**scope, "path": path, "root_path": faces.base.rstrip("/")}
            await faces.console(
                path.removeprefix("/console"), below, receive, faces.refusals.noting("console", send)
            )
        else:
            return False
        return True

    @staticmethod
    async def _others(faces: _Faces, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve health and metrics, and answer 404 to everything else."""
        unknown = []

        def refused(status: int) -> None:
            if status == _NOT_FOUND and faces.front is not None:
                unknown.append(path)
            else:
                faces.refusals.note("other", status)

        await faces.health(scope, receive, faces.refusals.noting("other", send, then=refused))
        if unknown and faces.front is not None:
            await faces.front.missed(scope, path)

    def malformed(self, status: int, reason: str, scope: Scope | None = None) -> None:
        """Be told of bytes that came to the server and were no request; *scope* is what is known of them."""
        try:
            running = self._receiver.running
        except NotStartedError:
            return
        faces = self._faces
        if faces is None or faces.running is not running:
            faces = self._made(running)
        faces.refusals.malformed(status, reason)
        if scope is None or faces.front is None:
            return
        path: str = scope["path"]
        below = path[len(faces.base) - 1 :] if path.startswith(faces.base) else path
        address = address_of(below) or address_of(path)
        if address is not None:
            task = asyncio.ensure_future(faces.front.malformed(address, scope, status))
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)

    def _made(self, running: Running) -> _Faces:
        """What answers for *running*, from now on."""
        faces = self._faces = self._build(running, only_health=self._only_health)
        return faces

    @staticmethod
    def _build(running: Running, *, only_health: bool = False) -> _Faces:
        health = Health(
            store=running.store,
            keys=running.keys,
            gather=running.gathering,
            clock=running.clock,
            node=running.node,
            drift=running.drift,
            warnings=running.warnings,
        )
        application = Starlette(
            routes=health.routes,
            exception_handlers={404: _unknown, ReceiverError: _refused, Exception: _broken},
        )
        # A redirect would repeat a token in its Location.
        application.router.redirect_slashes = False
        refusals = Refusals(running.metrics)
        if only_health:
            return _Faces(running, None, None, application, refusals, _base(running.settings.public_url))
        front = Front(
            ingest=running.ingest,
            confirm=running.confirm,
            refuse=running.refuse,
            refusals=refusals,
            settings=running.settings,
        )
        api = Api(
            files=running.files,
            store=running.store,
            catalog=running.catalog,
            keys=running.keys,
            proving=running.proving,
            settings=running.settings,
            submit=running.submit,
            cancel=running.cancel,
            replay=running.replay,
            wait=running.wait,
            follow=running.follow,
            refusals=refusals,
            clock=running.clock,
            notify=running.notify,
        )
        console = _console(running) if running.settings.console else None
        return _Faces(running, front, api, application, refusals, _base(running.settings.public_url), console)


def _base(public_url: str | None) -> str:
    path = unquote(urlsplit(public_url or "").path).strip("/")
    return f"/{path}/" if path else _NOTHING


def _is_console(path: str) -> bool:
    return path == "/console" or path.startswith("/console/")


def _console(running: Running) -> Console:
    return Console(
        Parts(
            store=running.store,
            files=running.files,
            catalog=running.catalog,
            keys=running.keys,
            proving=running.proving,
            settings=running.settings,
            submit=running.submit,
            cancel=running.cancel,
            replay=running.replay,
            clock=running.clock,
            notify=running.notify,
            tally=running.tallying.add,
            ending=lambda: running.news.ending,
        )
    )


async def _unknown(_request: Request, _error: Exception) -> Response:
    return Response(status_code=404, headers=PRIVATE)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ReceiverError)  # noqa: S101  (registered for that)
    return refusal(error)


async def _broken(request: Request, error: Exception) -> Response:
    log.error("request_failed", route=request.scope["path"].split("/")[1], exc_info=error)
    return broken()
