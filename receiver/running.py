"""A receiver that is started: its parts, wired by hand; the only module that knows them all."""

import asyncio
import secrets
import socket
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import structlog

from receiver.catalog import Catalog
from receiver.circuits import Circuits
from receiver.clock import DatabaseClock, StepWatch, read_clock
from receiver.console.access import check_settings
from receiver.core.errors import ConfigurationError
from receiver.files.opening import Marking, open_files
from receiver.files.store import FileStoreError
from receiver.files.sweeping import Sweeping
from receiver.handlers import Audience, Handlers
from receiver.keys import Keys
from receiver.metrics import Metrics
from receiver.news import News
from receiver.outbound.allowances import Allowances
from receiver.outbound.certificates import Certificates
from receiver.outbound.client import Outbound
from receiver.outbound.downloads import Downloads
from receiver.outbound.keysets import KeySets
from receiver.settings import Settings
from receiver.sinks.sinks import Sinks
from receiver.steps.cancel import Cancel
from receiver.steps.confirm import Confirm
from receiver.steps.fetch import Fetch
from receiver.steps.follow import Follow
from receiver.steps.gather import Gather
from receiver.steps.keeping import Keeping
from receiver.steps.lending import Lending
from receiver.steps.poll import Poll
from receiver.steps.proving import Proving
from receiver.steps.recording import Recording
from receiver.steps.refuse import Refuse
from receiver.steps.renewing import Renewing
from receiver.steps.replay import Replay
from receiver.steps.settling import Looks, Settling
from receiver.steps.wait import Wait
from receiver.storage import spool
from receiver.storage.arrivals import Quota
from receiver.storage.claims import Leases
from receiver.storage.nodes import Node
from receiver.storage.store import Store
from receiver.worker.alarming import Alarming
from receiver.worker.downloading import Downloading
from receiver.worker.gathering import Gathering
from receiver.worker.needs import Needs
from receiver.worker.presence import Presence
from receiver.worker.steps import Kinds
from receiver.worker.tallying import Tallying
from receiver.worker.worker import Worker

if TYPE_CHECKING:
    import httpx

    from receiver.telemetry import Telemetry

log = structlog.get_logger(__name__)

#: Seconds that submissions get when the process is told to stop, of the ten in which it must have ended: what is
#: answered to one may be all that is known of a job that is paid for. And seconds that other steps and handlers get.
PATIENCE: Final = 8.0
_PATIENCE_WITH_WORK: Final = 6.0


class Running:
    """The parts of a receiver that is started."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        handlers: Handlers,
        clock: Callable[[], int],
        role: str,
        sinks: Sinks | None,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self.node = Node(
            name=f"{socket.gethostname()}-{secrets.token_hex(4)}",
            role=role,
            handlers=tuple(handlers.specs),
        )
        self.keys = Keys(settings)
        self.catalog = Catalog.load(settings)
        self.needs = Needs(store=store, catalog=self.catalog, keys=self.keys)
        self.metrics = Metrics()
        self.allowances = Allowances(self.catalog.values(), clock=clock, paused=self._paused)
        self.outbound = Outbound(
            allowances=self.allowances,
            keys=self.keys,
            providers=self.catalog.values(),
            max_result=settings.max_result,
            settings=settings,
            transport=transport,
        )
        self.files = open_files(settings)
        #: What keeps files from being fetched here.
        self._files_trouble: str | None = None
        self.marking = Marking(store=store, files=self.files)
        self.sweeping = Sweeping(store=store, kept=self.files, marking=self.marking)
        self.lending = Lending(store, files=self.files)
        self.downloads = Downloads(
            login=self.outbound.login, providers=self.catalog.values(), settings=settings, transport=transport
        )
        self.key_sets = KeySets(outbound=self.outbound, clock=clock)
        self.proving = Proving(
            keys=self.keys,
            key_sets=self.key_sets,
            certificates=Certificates(outbound=self.outbound, clock=clock),
            store=store,
            public_url=settings.public_url,
            largest=settings.max_body,
        )
        told: dict[str, Any] = {
            "store": store,
            "catalog": self.catalog,
            "clock": clock,
            "metrics": self.metrics,
        }
        asking = told | {"outbound": self.outbound}
        claiming: dict[str, Any] = {"owner": self.node.name, "lease_ms": settings.lease_ms}
        self.gathering = Gathering(store=store, metrics=self.metrics, clock=clock)
        self.telemetry = self._telemetry() if settings.otel else None
        self._kinds = kinds = Kinds() if self.telemetry is None else self.telemetry.kinds
        self.submit = kinds.submit(
            **asking,
            **claiming,
            largest=settings.max_result,
            keys=self.keys,
            recording=Recording(store=store, spool=spool.orders(settings.spool_folder), clock=clock),
            spool=spool.answers(settings.spool_folder),
            public_url=settings.public_url,
        )
        self.cancel = Cancel(**asking, notify=self.notify)
        self.worker: Worker | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._draining: asyncio.Task[None] | None = None
        self._stop_at = 0.0
        self.tallying = Tallying(store=store, metrics=self.metrics, clock=clock, node=self.node.name)
        audience = Audience()
        self.metrics.is_wanted = audience.wants
        self.circuits = Circuits()
        self.metrics.circuits = self.circuits.holding
        self.metrics.notified = lambda: store.driver.notified
        self.presence = Presence(
            store=store,
            node=self.node,
            clock=clock,
            leases=self._leases,
            lease_ms=settings.lease_ms,
            stood=self.metrics.stood,
            audience=audience,
            allowances=self.allowances,
            circuits=self.circuits,
        )
        looks = Looks(**asking, largest=settings.max_result, settling=Settling(**told))
        keeping = Keeping(looks, **claiming, spool=spool.results(settings.spool_folder))
        self.steps = kinds.steps(
            keeping=keeping,
            submit=self.submit,
            poll=Poll(looks),
            fetch=Fetch(looks, keeping=keeping),
            gather=Gather(
                store=store,
                catalog=self.catalog,
                clock=clock,
                metrics=self.metrics,
                most=settings.max_files,
                largest=settings.max_file,
                notify=self._files_found,
            ),
            collect=kinds.collect(looks, most=settings.max_pages, keeping=keeping),
            cancel=self.cancel,
            dispatch=kinds.dispatch(
                store=store,
                lending=self.lending,
                clock=clock,
                metrics=self.metrics,
                doubts=self.presence.doubts,
                # Where one process serves a database nobody else can take what it holds.
                confirm=None if store.driver.exclusive else self.presence.confirm,
                circuits=self.circuits,
            ),
        )
        self.alarming = Alarming(
            store=store,
            catalog=self.catalog,
            keys=self.keys,
            settings=settings,
            sinks=sinks,
            clock=clock,
            node=self.node,
        )
        self.news = News()
        self.wait = Wait(store=store, lending=self.lending, news=self.news)
        self.follow = Follow(store=store, news=self.news)
        self._handlers = handlers
        self._sinks = sinks
        self.ingest = kinds.ingest(
            store=store,
            catalog=self.catalog,
            keys=self.keys,
            proving=self.proving,
            clock=clock,
            quota=Quota(entries=settings.quarantine),
            notify=self.notify,
            metrics=self.metrics,
        )
        self.confirm = Confirm(keys=self.keys, outbound=self.outbound, resolve=settings.resolve)
        self.refuse = Refuse(store=store, clock=clock, notify=self.notify)
        self.replay = Replay(
            store=store, catalog=self.catalog, proving=self.proving, clock=clock, notify=self.notify
        )

    def _telemetry(self) -> "Telemetry":
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
            raise ConfigurationError(
                "RECEIVER_OTEL is 1, and OpenTelemetry is not installed: in receiver's folder, pip install '.[otel]'.",
                code="otel_missing",
            )
        from receiver.telemetry import Telemetry

        return Telemetry(
            store=self.store, clock=self.clock, gather=self.gathering, environ=self.settings.environ
        )

    def notify(self, *, due: bool = True) -> None:
        """Tell the worker, if there is one here, that there may be work: only dispatches, unless something is *due*."""
        self.news.tell()
        if self.worker is not None:
            self.worker.notify(due=due)

    def _completed(self) -> None:
        self.notify(due=False)

    def _files_found(self) -> None:
        if self.worker is not None:
            self.worker.notify_files()

    def warnings(self) -> list[str]:
        """What keeps no callback out, but deserves a look: unusable keys beside usable ones, trouble with files."""
        found = [sentence for one in self.catalog.values() for sentence in self.keys.remarks(one).warnings]
        files = self._files_trouble or (self.downloading.trouble if self.worker is not None else None)
        return [*found, *(trouble for trouble in (files, self.needs.trouble) if trouble is not None)]

    async def look_at_files(self) -> None:
        """Say so where the file store is not the one of this record; callbacks are taken all the same."""
        try:
            await self.marking.check()
        except FileStoreError as error:
            self._files_trouble = str(error)
            log.error("files_unusable", code=error.code, reason=str(error))

    def drift(self) -> int:
        """By how many milliseconds this machine's clock is ahead of the database's, where that one counts."""
        return read_clock() - self.clock() if isinstance(self.clock, DatabaseClock) else 0

    def _paused(self, provider: str, until: int) -> None:
        """Have every node leave a provider alone that asked for it."""
        telling = asyncio.ensure_future(self.store.pause(provider, until=until))
        self._telling.add(telling)

        def told(telling: "asyncio.Task[None]") -> None:
            self._telling.discard(telling)
            if not telling.cancelled() and telling.exception() is not None:
                # This node knows it anyway, and the others will be asked the same.
                log.info("pause_not_passed_on", provider=provider)

        telling.add_done_callback(told)

    @property
    def busy(self) -> bool:
        """Whether something that was claimed here is being done."""
        leases = self._leases()
        return bool(leases.dues or leases.dispatches)

    def _leases(self) -> Leases:
        return Leases() if self.worker is None else self.worker.leases()

    def start_worker(self) -> None:
        """Begin to do what is due."""
        settings = self.settings
        self.downloading = Downloading(
            store=self.store,
            step=self._kinds.download(
                store=self.store,
                catalog=self.catalog,
                source=self.downloads,
                kept=self.files,
                marking=self.marking,
                renewing=Renewing(
                    store=self.store,
                    outbound=self.outbound,
                    clock=self.clock,
                    largest=settings.max_result,
                    most=settings.max_files,
                ),
                clock=self.clock,
                metrics=self.metrics,
                lease_ms=settings.lease_ms,
                bytes_of_job=settings.max_files_size,
            ),
            kept=self.files,
            clock=self.clock,
            owner=self.node.name,
            lease_ms=settings.lease_ms,
            floor=settings.disk_floor,
            sweeping=self.sweeping,
            completed=self._completed,
        )
        self.metrics.downloads_paused = lambda: self.downloading.paused
        watched = self.clock is read_clock or isinstance(self.clock, DatabaseClock)
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
            watch=StepWatch(clock=self.clock) if watched else None,
            doubts=self.presence.doubts,
            workers=lambda: self.presence.workers,
            set_by=self.presence.set_by,
            allowances=self.allowances,
            circuits=self.circuits,
            downloading=self.downloading,
        )
        self.metrics.running = self.worker.running
        self.worker.start()
        if self.settings.listen:
            loop = asyncio.get_running_loop()
            self.store.driver.listen(lambda: loop.call_soon_threadsafe(self.notify))

    async def check(self) -> None:
        """Raise ConfigurationError where something stored, or a handler, needs what is not there."""
        check_settings(self.settings)
        self.keys.refuse_unusable(self.catalog.values())
        for sentence in self.warnings():
            log.warning("key_unusable", reason=sentence)
        for one in self._handlers:
            if one.spec.provider is None or one.spec.provider in self.catalog:
                continue
            raise ConfigurationError(
                f"{one.spec.name} wants jobs of {one.spec.provider!r}, but no provider has that name.",
                code="handler_invalid",
            )
        await self.needs.check()

    def begin_stop(self) -> "asyncio.Task[None]":
        """Claim nothing more, and let what runs come to its end; once, however often it is asked for."""
        if self._draining is None:
            self._stop_at = asyncio.get_running_loop().time() + PATIENCE
            self.news.end()
            self._draining = asyncio.ensure_future(self._drain())
        return self._draining

    async def _drain(self) -> None:
        submitting = asyncio.ensure_future(self.submit.finish(patience=PATIENCE))
        if self.worker is not None:
            await self.worker.drain(patience=_PATIENCE_WITH_WORK)
        await submitting

    async def stop(self) -> None:
        """Stop doing things and give everything back."""
        await self.begin_stop()
        # A request that was in flight may have begun another submission meanwhile.
        left = self._stop_at - asyncio.get_running_loop().time()
        await self.submit.finish(patience=max(left, 0.0))
        await self.submit.close()
        await self.needs.end()
        await self.alarming.stop()
        await self.tallying.stop()
        if self.telemetry is not None:
            await self.telemetry.stop()
        await self.presence.leave()
        self.worker = None
        if self._sinks is not None:
            await self._sinks.close()
        await self.key_sets.close()
        await self.outbound.close()
        await self.downloads.close()
        await self.files.close()
        await self.store.close()
