"""The worker: claims what is due and hands it to the step that does it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from receiver.catalog import Catalog
from receiver.circuits import Circuits
from receiver.clock import DatabaseClock, StepWatch
from receiver.core.model import Dispatch, Due
from receiver.handlers import Handlers
from receiver.metrics import Running
from receiver.outbound.allowances import Allowances
from receiver.storage.claims import Claim, Leases
from receiver.storage.dispatches import DispatchClaim, DispatchSettled
from receiver.storage.store import Store
from receiver.worker.alone import Alone
from receiver.worker.chores import Chores
from receiver.worker.downloading import Downloading
from receiver.worker.following import Following
from receiver.worker.leases import Leased
from receiver.worker.pacing import Pacing
from receiver.worker.steps import Steps
from receiver.worker.turns import Turns

log = structlog.get_logger(__name__)

#: Seconds from one look for what is due to the next, whatever news there is.
_PAUSE: Final = 0.01
#: Seconds by which nodes may disagree about the database's time: what one announces is due at another only then.
_CLOCKS_APART: Final = 0.05
#: Seconds for what is being cancelled, or claimed, when the worker stops.
_LAST_CLAIM: Final = 1.0
#: Seconds that a step may take: a request and its answer take no more than a minute, and may be one of several.
_LONGEST_STEP: Final = 300.0


class Worker:
    """Runs until it is drained. One per process."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        handlers: Handlers,
        steps: Steps,
        clock: Callable[[], int],
        owner: str,
        key_id: str,
        lease_ms: int,
        keep_days: int,
        watch: StepWatch | None,
        doubts: Callable[[], int],
        set_by: Callable[[], int | None],
        workers: Callable[[], int],
        allowances: Allowances,
        circuits: Circuits,
        downloading: Downloading | None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._handlers = handlers
        self._steps = steps
        self._clock = clock
        self._owner = owner
        self._lease_ms = lease_ms
        self._doubts = doubts
        self._set_by = set_by
        self._allowances = allowances
        self._circuits = circuits
        #: The handlers that order their completions.
        self._ordering = [one.spec.name for one in handlers if one.spec.ordered_by is not None]
        self._pacing = Pacing(clock=clock, nodes=workers)
        self._chores = Chores(
            store=store,
            catalog=catalog,
            key_id=key_id,
            keep_days=keep_days,
            recover=steps.recover,
            sweep=None if downloading is None else downloading.sweep,
        )
        self._follow_clock = Following(store=store, watch=watch, told=self._chores.hurry, lease_ms=lease_ms)
        # Apart, because a claim of dispatches is to share the commit of those that have just ended, while what is
        # due is looked up first, which is not worth its while after every single callback.
        patient, again = (
            self._follow_clock.be_patient,
            _CLOCKS_APART if isinstance(clock, DatabaseClock) else None,
        )
        self._dues = Turns(self._take_due, away=patient, pause=_PAUSE, again=again)
        self._dispatches = Turns(self._take_dispatches, away=patient, again=again)
        # Apart, too: only a result that links to files makes any, so no callback has them looked for.
        self._downloading = downloading
        self._files = None if downloading is None else Turns(downloading, away=patient)
        if downloading is not None and self._files is not None:
            downloading.freed = self._files.notify
        self._leased = Leased(settle=self._settle, freed=self._freed)
        self._alone = Alone(clock=asyncio.get_running_loop().time)
        self._turns: set[asyncio.Task[None]] = set()
        #: Providers whose description is gone; open jobs of theirs keep a receiver from starting, but one that timed
        #: out may still be due to be looked at for days.
        self._undescribed: set[str] = set()
        #: How many due rows of each provider were claimed.
        self._claimed: Counter[str] = Counter()

    def notify(self, *, due: bool = True) -> None:
        """Say that there may be work, dispatches or what is *due* too; safe to call from the event loop only."""
        if due:
            self._dues.notify()
        self._dispatches.notify()

    def notify_files(self) -> None:
        """Say that there are files to fetch; from the event loop only."""
        if self._files is not None:
            self._files.notify()

    def leases(self) -> Leases:
        """What is being worked on here."""
        return self._leased.leases()

    def running(self) -> list[Running]:
        """How much runs here, and for how long."""
        return self._leased.running()

    def start(self) -> None:
        """Begin."""
        for turns in filter(None, (self._dues, self._dispatches, self._files)):
            self._begin(turns)

    def _begin(self, turns: Turns) -> None:
        task = asyncio.get_running_loop().create_task(turns.run())
        self._turns.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._turns.discard(task)
            if not turns.ending and not task.get_loop().is_closed():
                # A handler may have cancelled every task that there is; without turns nothing would ever be done.
                log.error("worker_cancelled")
                self._begin(turns)

        task.add_done_callback(ended)

    async def drain(self, *, patience: float) -> None:
        """Claim nothing more, and let what runs finish for *patience* seconds; what does not keeps its lease."""
        self._chores.end()
        self._dues.end()
        self._dispatches.end()
        if self._files is not None:
            self._files.end()
        if self._turns:
            # A claim that is being committed must reach us, or nobody would know whose it is.
            await asyncio.wait(self._turns, timeout=_LAST_CLAIM)
            for turns in list(self._turns):
                turns.cancel()
        if self._downloading is not None:
            await self._downloading.drain(patience=_LAST_CLAIM)
        await self._leased.wait(patience)
        self._leased.cancel()
        # A handler may refuse to be cancelled; the process does not wait for it.
        await self._leased.wait(_LAST_CLAIM)

    async def _settle(self, ended: Sequence[DispatchSettled]) -> None:
        await self._steps.dispatch.settle(ended)

    def _freed(self, lease: Due | Dispatch) -> None:
        if isinstance(lease, Dispatch):
            self._alone.ended(lease)
        self.notify(due=isinstance(lease, Due))

    async def _take_due(self) -> bool:
        # The clock is read before it is known whether it was set: so nothing looks old only because of a step.
        now = self._clock()
        self._leased.tell_overdue()
        await self._follow_clock()
        steps = self._follow_clock.steps
        more = await self._claim_due()
        if steps == self._follow_clock.steps:
            await self._chores(now, lapses=self._follow_clock.lapses(now))
        return more

    async def _claim_due(self) -> bool:
        more = False
        for name in await self._store.due_providers(now=self._clock()):
            provider = self._catalog.get(name)
            if provider is None:
                if name not in self._undescribed:
                    self._undescribed.add(name)
                    log.error("provider_undescribed", provider=name)
                continue
            # The other turns may have seen meanwhile that the clock was set: a lease goes by the clock as it is.
            await self._follow_clock()
            # The total is read before the clock: the time may already follow a newer total, never an older one.
            set_by, now = self._set_by(), self._clock()
            allowance = self._allowances.of(provider)
            slot = f"provider {name}"
            # Work that was claimed and has not sent its request yet needs a slot, too.
            limit = min(allowance.concurrency - self._leased.busy(slot), allowance.free())
            if limit <= 0:
                continue
            claimed = await self._store.claim(
                Claim(
                    owner=self._owner,
                    provider=name,
                    limit=limit,
                    lease_ms=self._lease_ms,
                    now=now,
                    turn=self._claimed[name],
                    held=self._leased.keys,
                    lapses=self._follow_clock.lapses(now),
                    set_by=set_by,
                )
            )
            self._claimed[name] += len(claimed)
            for one in claimed:
                self._leased.begin(slot, one.due, self._steps.take(one), expected=_LONGEST_STEP)
            more = more or len(claimed) == limit
        return more

    async def _take_dispatches(self) -> bool:
        await self._follow_clock()
        free = {
            handler.spec.name: self._pacing.free(
                handler, handler.concurrency - self._leased.busy(f"handler {handler.spec.name}")
            )
            for handler in self._handlers
        }
        limits = {name: limit for name, limit in free.items() if limit > 0}
        if not limits:
            return False
        doubts = self._doubts()
        set_by, now = self._set_by(), self._clock()
        ordering = [name for name in self._ordering if name in limits]
        claimed = await self._store.claim_dispatches(
            DispatchClaim(
                owner=self._owner,
                limits=limits,
                lease_ms=self._lease_ms,
                now=now,
                held=self._leased.keys,
                lapses=self._follow_clock.lapses(now),
                set_by=set_by,
                interrupted=self._alone.may_take(),
                ordering=ordering,
                trials=self._circuits.trials(
                    (one for one in self._handlers if one.spec.name in limits), lease_ms=self._lease_ms
                ),
            )
        )
        for dispatch, job in claimed:
            self._alone.took(dispatch)
            handler = self._handlers.get(dispatch.handler)
            assert handler is not None  # noqa: S101  (only ours are claimed)
            self._pacing.began(handler)
            work = self._steps.dispatch.run(
                dispatch, job, handler=handler, doubts=doubts, stopping=self._leased.is_stopping
            )
            self._leased.begin(f"handler {dispatch.handler}", dispatch, work, expected=handler.timeout)
        found = Counter(dispatch.handler for dispatch, _ in claimed)
        return any(found[name] == limit for name, limit in limits.items())
