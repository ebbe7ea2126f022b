"""The receiver, wired by hand: the only module that knows all parts.

``Receiver`` is the library's face; its ``asgi`` is the deployed application.
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, TypeVar

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from receiver.api import Api, Health
from receiver.cancel import Cancel
from receiver.catalog import Catalog
from receiver.clock import DatabaseClock, StepWatch, read_clock
from receiver.core.errors import ConfigurationError, ReceiverError, StoreUnavailableError
from receiver.core.model import Job
from receiver.dispatch import RunDispatch
from receiver.fetch import Fetch
from receiver.front import Front, address_of
from receiver.handlers import Handlers
from receiver.ingest import Ingest
from receiver.keys import Keys
from receiver.keysets import KeySets
from receiver.metrics import Metrics
from receiver.outbound import Outbound
from receiver.poll import Poll
from receiver.presence import Presence
from receiver.proving import Proving
from receiver.replay import Replay, Replayed
from receiver.settings import Settings, from_environment
from receiver.storage.arrivals import Quota
from receiver.storage.claims import Leases
from receiver.storage.nodes import Node
from receiver.storage.store import Store
from receiver.submit import Order, Submit
from receiver.web import PRIVATE, problem
from receiver.worker import Steps, Worker

log = structlog.get_logger(__name__)

F = TypeVar("F", bound=Callable[..., Any])
#: Seconds that running steps and handlers get when the process is told to stop.
PATIENCE: Final = 4.0


class NotStartedError(ReceiverError):
    """The receiver was never started: run its lifespan (``FastAPI(lifespan=receiver.lifespan)``)."""

    code = "receiver_not_started"
    status = 503


class Running:
    """The parts of a receiver that is started."""

    def __init__(
        self, settings: Settings, store: Store, handlers: Handlers, clock: Callable[[], int], role: str
    ) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self.node = Node(name=name, role=role, handlers=tuple(handlers.specs))
        self.keys = Keys(settings)
        self.catalog = Catalog.load(settings)
        self.metrics = Metrics()
        self.outbound = Outbound(
            keys=self.keys, providers=self.catalog.values(), max_result=settings.max_result
        )
        self.key_sets = KeySets(outbound=self.outbound, clock=clock)
        self.proving = Proving(
            keys=self.keys,
            key_sets=self.key_sets,
            store=store,
            public_url=settings.public_url,
            largest=settings.max_body,
        )
        asking: dict[str, Any] = {
            "store": store,
            "catalog": self.catalog,
            "outbound": self.outbound,
            "clock": clock,
            "metrics": self.metrics,
        }
        self.submit = Submit(
            **asking,
            keys=self.keys,
            owner=self.node.name,
            public_url=settings.public_url,
            lease_ms=settings.lease_ms,
            largest=settings.max_result,
        )
        self.cancel = Cancel(**asking, notify=self.notify)
        self.worker: Worker | None = None
        self.presence = Presence(
            store=store, node=self.node, clock=clock, leases=self._leases, lease_ms=settings.lease_ms
        )
        self.steps = Steps(
            submit=self.submit,
            poll=Poll(**asking, largest=settings.max_result),
            fetch=Fetch(**asking),
            cancel=self.cancel,
            dispatch=RunDispatch(store=store, handlers=handlers, clock=clock, metrics=self.metrics),
        )
        self._handlers = handlers
        self.ingest = Ingest(
            store=store,
            catalog=self.catalog,
            keys=self.keys,
            proving=self.proving,
            clock=clock,
            quota=Quota(entries=settings.quarantine),
            notify=self.notify,
            metrics=self.metrics,
        )
        self.replay = Replay(
            store=store, catalog=self.catalog, proving=self.proving, clock=clock, notify=self.notify
        )

    def notify(self) -> None:
        """Tell the worker, if there is one here, that there may be work."""
        if self.worker is not None:
            self.worker.notify()

    def drift(self) -> int:
        """By how many milliseconds this machine's clock is ahead of the database's, where that one counts."""
        return read_clock() - self.clock() if isinstance(self.clock, DatabaseClock) else 0

    def _leases(self) -> Leases:
        return Leases() if self.worker is None else self.worker.leases()

    def start_worker(self) -> None:
        """Begin to do what is due."""
        # Where the database tells the time, it does not matter what this machine's clock is set to.
        watch = StepWatch() if self.clock is read_clock else None
        self.worker = Worker(
            store=self.store,
            catalog=self.catalog,
            handlers=self._handlers,
            steps=self.steps,
            clock=self.clock,
            owner=self.node.name,
            key_id=self.keys.newest.id,
            lease_ms=self.settings.lease_ms,
            keep_days=self.settings.keep_days,
            watch=watch,
        )
        self.worker.start()
        if self.settings.listen:
            loop = asyncio.get_running_loop()

            def heard() -> None:
                loop.call_soon_threadsafe(self.notify)

            self.store.driver.listen(heard)

    async def check(self) -> None:
        """Raise ConfigurationError where something stored, or a handler, needs what is not there."""
        unknown = sorted({one.spec.provider or "" for one in self._handlers} - {"", *self.catalog})
        if unknown:
            raise ConfigurationError(
                f"A handler wants jobs of {unknown[0]!r}, but no provider has that name.",
                code="handler_invalid",
            )
        undescribed = sorted(set(await self.store.open_providers()) - set(self.catalog))
        if undescribed:
            raise ConfigurationError(
                f"Open jobs need the description of {undescribed[0]!r}, which is gone; bring it back until they have "
                "ended.",
                code="description_gone",
            )
        gone = sorted(set(await self.store.open_key_ids()) - {key.id for key in self.keys.masters} - {""})
        if gone:
            raise ConfigurationError(
                f"Open jobs need the master key {gone[0]}, which is not in RECEIVER_SECRET_KEY; add it again, after "
                "the newest, until they have ended.",
                code="secret_key_gone",
            )

    async def stop(self) -> None:
        """Stop doing things and give everything back."""
        submitting = asyncio.ensure_future(self.submit.finish(patience=PATIENCE))
        if self.worker is not None:
            await self.worker.drain(patience=PATIENCE)
        await submitting
        await self.presence.leave()
        self.worker = None
        await self.key_sets.close()
        await self.outbound.close()
        await self.store.close()


class Application:
    """The ASGI face of a receiver.

    Args:
        receiver: Whose face.
        only_health: Whether health and metrics are all that is served: no callbacks, no ``/v1``.
    """

    def __init__(self, receiver: "Receiver", *, only_health: bool = False) -> None:
        self._receiver = receiver
        self._only_health = only_health
        # Starlette speaks the lifespan protocol for us; what it serves is built when the receiver has started.
        self._lifespan = Starlette(lifespan=receiver.lifespan)
        self._built: tuple[Running, Front | None, Starlette] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        try:
            running = self._receiver.running
        except NotStartedError as error:
            log.error("receiver_not_started")
            await problem(error)(scope, receive, send)
            return
        if self._built is None or self._built[0] is not running:
            front = None if self._only_health else Front(ingest=running.ingest, settings=running.settings)
            self._built = running, front, self._build(running, only_health=self._only_health)
        _, front, api = self._built
        if front is None or scope["type"] != "http" or (address := address_of(scope)) is None:
            await api(scope, receive, send)
        else:
            await front(address, scope, receive, send)

    @staticmethod
    def _build(running: Running, *, only_health: bool = False) -> Starlette:
        health = Health(
            store=running.store,
            keys=running.keys,
            metrics=running.metrics,
            clock=running.clock,
            node=running.node,
            drift=running.drift,
        )
        routes = health.routes
        if not only_health:
            routes += Api(
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
            ).routes
        application = Starlette(
            routes=routes,
            exception_handlers={404: _unknown, ReceiverError: _refused, Exception: _broken},
        )
        # A redirect would repeat a token in its Location.
        application.router.redirect_slashes = False
        return application


async def _unknown(_request: Request, _error: Exception) -> Response:
    return Response(status_code=404, headers=PRIVATE)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ReceiverError)  # noqa: S101  (registered for that)
    retry = {"retry-after": "5"} if error.status == 503 else None  # noqa: PLR2004
    return problem(error, headers=retry)


async def _broken(request: Request, error: Exception) -> Response:
    # Never a 4xx: a sender takes that for its own fault and does not try again.
    log.error("request_failed", route=request.scope["path"].split("/")[1], exc_info=error)
    broken = StoreUnavailableError(
        "Something broke in the receiver; it is logged. Try again.", code="internal_error"
    )
    return problem(broken, headers={"retry-after": "5"})


class Receiver:
    """Submits jobs, takes their callbacks, and hands their completions to handlers.

    Args:
        settings: How it is set up; read from the environment, when it starts, if left out.
        clock: Tells the time in milliseconds since the Unix epoch; if left out, the database does where several
            nodes share it, and else this machine.
    """

    def __init__(self, settings: Settings | None = None, *, clock: Callable[[], int] | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._running: Running | None = None
        self.handlers = Handlers()
        #: The deployed application; mounted into another, it needs ``lifespan`` there.
        self.asgi = Application(self)

    @property
    def settings(self) -> Settings:
        """The settings; raises ConfigurationError where one is wrong."""
        if self._settings is None:
            self._settings = from_environment()
        return self._settings

    @property
    def running(self) -> Running:
        """The parts; raises NotStartedError unless started."""
        if self._running is None:
            raise NotStartedError
        return self._running

    def on(self, provider: str | None = None, **options: Any) -> Callable[[F], F]:  # noqa: ANN401
        """Register a handler; see ``handlers.Handlers.on`` for the options."""
        return self.handlers.on(provider, **options)

    async def start(
        self, *, worker: bool = True, serve: bool = True, http: bool = True, migrate: bool = True
    ) -> Running:
        """Open the store and begin.

        Args:
            worker: Whether to do what is due here.
            serve: Whether this is a process that serves the database (SQLite takes one), rather than a
                command that only reads or records something.
            http: Whether callbacks are taken here.
            migrate: Whether the schema may be brought up to this code's (RECEIVER_MIGRATE must not forbid it).

        Raises:
            ConfigurationError: a setting, a key or a description is wrong, or SQLite is served already.
            NotFoundError: there is no database, and none may be made.
            StoreUnavailableError: the database cannot be opened.
        """
        if self._running is not None:
            return self._running
        settings = self.settings
        store = await Store.open(settings.database_url, serve=serve, migrate=migrate and settings.migrate)
        try:
            role = "worker" if not http else "serve" if worker else "ingest"
            running = Running(settings, store, self.handlers, await self._read_clock(store), role)
            if serve:
                _ = running.keys.newest
                await running.check()
                await running.presence.join()
            if worker:
                running.start_worker()
        except BaseException:
            await store.close()
            raise
        self._running = running
        log.info(
            "receiver_started",
            role=role if serve else "command",
            node=running.node.name,
            providers=len(running.catalog),
            handlers=len(self.handlers),
        )
        return running

    async def _read_clock(self, store: Store) -> Callable[[], int]:
        if self._clock is not None:
            return self._clock
        if store.driver.exclusive:
            return read_clock
        clock = DatabaseClock()
        await clock.adjust(store.time)
        return clock

    async def stop(self) -> None:
        """Drain and give everything back; harmless if it was not started."""
        running = self._running
        if running is not None:
            try:
                await running.stop()
            finally:
                # Until then its handlers may still ask it for something.
                self._running = None
            log.info("receiver_stopped")

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Start and stop with an application: ``FastAPI(lifespan=receiver.lifespan)``."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def submit(
        self,
        provider: str,
        request: Mapping[str, Any],
        *,
        operation: str = "",
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> Job:
        """Submit a job; it is recorded before anything is sent.

        Args:
            provider: The provider's name.
            request: What the provider's API takes, without callback URL and secret.
            operation: Which of the provider's operations; its first if left out.
            idempotency_key: The same key with the same request is the same job.
            metadata: Yours; JSON, kept with the job and given to the handlers.
            deadline: Seconds after which the job is given up.

        Raises:
            RequestError: the order cannot be carried out as it stands; nothing was sent.
            ConflictError: the idempotency key was used for another request.
            ConfigurationError: a key or credential is missing; nothing was sent.
            StoreUnavailableError: it could not be recorded; nothing was sent.
        """
        submitted = await self.running.submit(
            Order(
                provider=provider,
                request=dict(request),
                operation=operation,
                idempotency_key=idempotency_key,
                metadata=dict(metadata or {}),
                deadline=deadline,
                local_files=True,
            )
        )
        return submitted.job

    async def job(self, job_id: str) -> Job:
        """A job as it is now; raises NotFoundError."""
        return await self.running.store.job(job_id)

    async def cancel(self, job_id: str) -> Job:
        """Ask the provider to cancel; see ``cancel.Cancel`` for what is raised."""
        return await self.running.cancel(job_id)

    async def replay(self, any_id: str, *, handler: str | None = None, dry_run: bool = False) -> Replayed:
        """Replay a job or a callback; see ``replay.Replay``."""
        return await self.running.replay(any_id, handler=handler, dry_run=dry_run)
