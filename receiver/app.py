"""The library's face: ``Receiver``; its ``asgi`` is the deployed application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from receiver import logs
from receiver.asgi import AlreadyStartedError, Application, NotStartedError
from receiver.clock import DatabaseClock, read_clock
from receiver.core.file import When
from receiver.core.model import Job
from receiver.files.stored import StoredFile
from receiver.handlers import Handlers
from receiver.running import Running
from receiver.settings import Settings, from_environment
from receiver.sinks.sinks import Sinks
from receiver.steps.follow import place_of
from receiver.steps.order import Order
from receiver.steps.replay import Replayed
from receiver.storage.feed import Wanted
from receiver.storage.glance import soonest
from receiver.storage.store import Store
from receiver.threads import off_loop
from receiver.views.completion import CompletionDocument, completion_document

if TYPE_CHECKING:
    import httpx

log = structlog.get_logger(__name__)

F = TypeVar("F", bound=Callable[..., Any])
#: Seconds between looks for whether something is still due.
_IDLE_LOOK: Final = 0.005


class Receiver:
    """Submits jobs, takes their callbacks, and hands their completions to handlers.

    Args:
        settings: How it is set up; read from the environment, when it starts, if left out.
        clock: Tells the time in milliseconds since the Unix epoch; if left out, the database does where several
            nodes share it, and else this machine.
        transport: Carries requests to providers in place of the network; the testing kit answers them with it.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Callable[[], int] | None = None,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._transport = transport
        #: Whether it begins when it is first used.
        self._on_demand = False
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
        logs.be_discreet()
        settings = self.settings
        store = await Store.open(settings.database_url, serve=serve, migrate=migrate and settings.migrate)
        try:
            role = "worker" if not http else "serve" if worker else "ingest"
            clock = await self._read_clock(store)
            sinks = Sinks(settings, clock=clock) if serve else None
            if sinks is not None:
                sinks.join(self.handlers)
            running = Running(settings, store, self.handlers, clock, role, sinks, self._transport)
            if serve:
                _ = running.keys.newest
                await running.check()
                await running.presence.join()
                running.tallying.start()
                store.counting.begin(now=clock())
                running.alarming.start()
                if running.telemetry is not None:
                    running.telemetry.start()
                await self._tell_absent(running)
                await running.look_at_files()
                # Before anything is claimed: what was answered already is not sent again.
                await running.submit.recover()
                running.needs.begin()
            if worker:
                running.start_worker()
        except BaseException:
            await store.close()
            raise
        self.handlers.in_use = True
        self._running = running
        log.info(
            "receiver_started",
            role=role if serve else "command",
            node=running.node.name,
            providers=len(running.catalog),
            handlers=len(self.handlers),
        )
        return running

    async def _tell_absent(self, running: Running) -> None:
        """Log a warning for each registered handler that this process lacks: its completions wait for it."""
        if not running.store.driver.exclusive:
            return
        for one in await running.store.registered():
            if self.handlers.get(one.name) is None:
                log.warning(
                    "handler_absent",
                    handler=one.name,
                    waiting=one.waiting,
                    more=one.more_waiting,
                    see=f"bring it back, or: receiver handlers forget {one.name}",
                )

    async def _read_clock(self, store: Store) -> Callable[[], int]:
        if self._clock is not None:
            return self._clock
        if store.driver.exclusive:
            return read_clock
        clock = DatabaseClock()
        await off_loop(clock.adjust, store.driver.time)
        return clock

    @contextlib.contextmanager
    def staged(
        self,
        settings: Settings,
        *,
        clock: Callable[[], int] | None = None,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> Iterator[None]:
        """Have the receiver run with other settings for a while, and begin when it is first used: for tests.

        Handlers that are registered meanwhile are forgotten at the end.

        Raises:
            ReceiverError: it runs already, or still does at the end.
        """
        if self._running is not None:
            raise AlreadyStartedError
        before = self._settings, self._clock, self._transport, self._on_demand
        handlers = self.handlers.snapshot()
        self._settings, self._clock, self._transport, self._on_demand = settings, clock, transport, True
        try:
            yield
            if self._running is not None:
                raise AlreadyStartedError
        finally:
            self._settings, self._clock, self._transport, self._on_demand = before
            self.handlers.restore(handlers)

    async def _begun(self) -> Running:
        """The parts; raises NotStartedError unless started, or begun on demand."""
        return await self.start() if self._on_demand and self._running is None else self.running

    async def idle(self, *, timeout: float = 30.0) -> int | None:  # noqa: ASYNC109
        """Return once nothing is due any more: for tests and scripts, as a service is never idle for long.

        Returns when something will be due, in milliseconds since the Unix epoch; ``None`` if nothing will.

        Raises:
            TimeoutError: something was due, or was still being done, after *timeout* seconds.
        """
        running = await self._begun()
        handlers, lease = [one.spec.name for one in self.handlers], running.settings.lease_ms
        async with asyncio.timeout(timeout):
            while True:
                running.notify()
                now = running.clock()
                upcoming = await running.store.read(soonest, handlers=handlers, now=now, until=now + lease)
                if not running.busy and (upcoming is None or upcoming > running.clock()):
                    return upcoming
                await asyncio.sleep(_IDLE_LOOK)

    def begin_stop(self) -> None:
        """Begin to stop: nothing more is claimed, while requests in flight are still answered; ``stop`` ends it."""
        if self._running is not None:
            self._running.begin_stop()

    async def stop(self) -> None:
        """Drain and give everything back; harmless if it was not started."""
        running = self._running
        if running is not None:
            try:
                await running.stop()
            finally:
                # Handlers that are still ending may use the receiver until then.
                self._running = None
                self.handlers.in_use = False
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
        callback: bool = True,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        traceparent: str | None = None,
        files: When = "before",
    ) -> Job:
        """Submit a job; it is recorded before anything is sent.

        Args:
            provider: The provider's name.
            request: What the provider's API takes, without callback URL and secret. Where it wants a file, ``file`` is
                a path, or ``{"name": …, "content": base64}``.
            operation: Which of the provider's operations; its first if left out.
            idempotency_key: The same key with the same request is the same job.
            metadata: Yours; JSON, kept with the job and given to the handlers.
            deadline: Seconds after which the job is given up.
            callback: Whether to ask for a callback, where the provider makes any; else the job is polled.
            headers: Headers of this submission, of those that the provider's description lets a job set.
            query: Fields of the submission's address, likewise.
            traceparent: The place in a distributed trace that it belongs to (W3C), kept with the job; where
                RECEIVER_OTEL is set it is the current span's if left out.
            files: Whether its handlers wait for the files that its result links to (``before``), are called while they
                are fetched (``beside``), or whether the files are not fetched at all (``never``).

        Raises:
            RequestError: the order cannot be carried out as it stands; nothing was sent.
            ConflictError: the idempotency key was used for another request.
            ConfigurationError: a key or credential is missing; nothing was sent.
            NothingSentError: it could not be recorded, so nothing was sent; try again.
            OutcomeUnknownError: it is recorded, and its outcome is not known yet; do not send it again, ask for the
                job by the error's ``job_id``.
        """
        running = await self._begun()
        submitted = await running.submit(
            Order(
                provider=provider,
                request=dict(request),
                operation=operation,
                idempotency_key=idempotency_key,
                metadata=dict(metadata or {}),
                deadline=deadline,
                callback=callback,
                headers=dict(headers or {}),
                query=dict(query or {}),
                traceparent=traceparent,
                files=files,
                local_files=True,
            )
        )
        return submitted.job

    async def run(
        self,
        provider: str,
        request: Mapping[str, Any],
        *,
        timeout: float | None = None,  # noqa: ASYNC109  (what is given up is the wait)
        **options: Any,  # noqa: ANN401  (those of submit)
    ) -> Job:
        """Submit a job and wait for its end: the job, with its result.

        Args:
            provider: The provider's name.
            request: As for ``submit``.
            timeout: Seconds after which the wait is given up; the job goes on.
            **options: As for ``submit``.

        Raises:
            WaitTimeoutError: it has not ended in time; ``error.job`` is the job, for ``wait``.
            ReceiverError: whatever ``submit`` raises.
        """
        job = await self.submit(provider, request, **options)
        return await self.wait(job.id, timeout=timeout)

    async def wait(self, job_id: str, *, timeout: float | None = None) -> Job:  # noqa: ASYNC109
        """Wait for the end of a job, whichever process settles it: the job, with its result.

        Raises:
            NotFoundError: there is no such job.
            WaitTimeoutError: it has not ended within *timeout* seconds; it goes on.
        """
        running = await self._begun()
        return await running.wait(job_id, timeout=timeout)

    async def completions(
        self, *, after: str = "0", provider: str | None = None, state: str | None = None
    ) -> AsyncIterator[CompletionDocument]:
        """Every completion after the cursor *after*, in one order that never changes, and then those that come.

        Whoever has handled one keeps its ``cursor`` and goes on after it: nothing is missed, and nothing comes twice.

        Raises:
            RequestError: *after* is no cursor.
            CursorGoneError: some of what comes after was pruned; ``error.oldest`` still works.
        """
        wanted = Wanted(after=place_of(after), provider=provider, state=state)
        running = await self._begun()
        async for one in running.follow.follow(wanted):
            yield completion_document(one)

    async def job(self, job_id: str) -> Job:
        """A job as it is now; raises NotFoundError."""
        running = await self._begun()
        return await running.store.job(job_id)

    async def files(self, job_id: str) -> tuple[StoredFile, ...]:
        """The files of a job as they are now, which can be opened once they are stored; raises NotFoundError."""
        await self.running.store.job(job_id)
        return await self.running.lending.files(job_id)

    async def cancel(self, job_id: str) -> Job:
        """Ask the provider to cancel; see ``cancel.Cancel`` for what is raised."""
        running = await self._begun()
        return await running.cancel(job_id)

    async def replay(self, any_id: str, *, handler: str | None = None, dry_run: bool = False) -> Replayed:
        """Replay a job or a callback; see ``replay.Replay``."""
        running = await self._begun()
        return await running.replay(any_id, handler=handler, dry_run=dry_run)
