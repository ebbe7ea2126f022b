"""The worker: claims what is due and hands it to the step that does it."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import structlog

from receiver.catalog import Catalog
from receiver.clock import StepWatch
from receiver.core.errors import StoreUnavailableError
from receiver.core.model import DAY, SECOND, Dispatch, Due, Step
from receiver.handlers import Handlers
from receiver.steps.cancel import Cancel
from receiver.steps.dispatch import RunDispatch
from receiver.steps.fetch import Fetch
from receiver.steps.poll import Poll
from receiver.steps.submit import Submit
from receiver.storage.claims import Claim, Claimed, ClockStep, Leases
from receiver.storage.dispatches import DispatchClaim, DispatchSettled
from receiver.storage.retention import Prune
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

#: Without news the worker looks again after at most this many seconds, jittered.
_LONGEST_NAP: Final = 1.0
#: Seconds from one look for what is due to the next, whatever news there is.
_PAUSE: Final = 0.01
#: Seconds for what is being cancelled, or claimed, when the worker stops.
_LAST_CLAIM: Final = 1.0
#: How often, in milliseconds, what was held is released, dispatches without a handler are buried, jobs are pruned.
_HELD_EVERY: Final = SECOND // 4
_CHORES_EVERY: Final = 30 * SECOND
_PRUNE_EVERY: Final = 3600 * SECOND


class Steps:
    """The steps that due rows are handed to."""

    def __init__(
        self, *, submit: Submit, poll: Poll, fetch: Fetch, cancel: Cancel, dispatch: RunDispatch
    ) -> None:
        self.submit = submit
        self.poll = poll
        self.fetch = fetch
        self.cancel = cancel
        self.dispatch = dispatch

    async def take(self, claimed: Claimed) -> object:
        """Do what a due row asks for."""
        match claimed.due.step:
            case Step.SUBMIT:
                return await self.submit.resume(claimed)
            case Step.CANCEL:
                return await self.cancel.send(claimed)
            case Step.LOOK if claimed.due.result_url is not None:
                return await self.fetch(claimed)
            case Step.LOOK:
                return await self.poll(claimed)


class _Allowance:
    """How many requests a provider may still be sent: so many at once, so many a second."""

    def __init__(self, rate: float, now: int) -> None:
        self._rate = rate
        self._tokens = max(rate, 1.0)
        self._at = now

    def take(self, wanted: int, now: int) -> int:
        self._tokens = min(max(self._rate, 1.0), self._tokens + max(now - self._at, 0) * self._rate / SECOND)
        self._at = now
        taken = min(wanted, int(self._tokens))
        self._tokens -= taken
        return taken

    def give_back(self, unused: int) -> None:
        self._tokens += unused


class _Turns:
    """Takes one turn after another: at once while there is more to do, else upon news or after a nap."""

    def __init__(self, turn: Callable[[], Coroutine[Any, Any, bool]], *, pause: float = 0.0) -> None:
        self._turn = turn
        self._pause = pause
        self._news = asyncio.Event()
        self._ending = False

    def notify(self) -> None:
        self._news.set()

    def end(self) -> None:
        """Let the turn that is being taken be the last."""
        self._ending = True
        self._news.set()

    async def run(self) -> None:
        while not self._ending:
            self._news.clear()
            try:
                more = await self._turn()
            except StoreUnavailableError as error:
                log.warning("worker_waits_for_store", reason=str(error))
                more = False
            except Exception:
                log.exception("worker_failed")
                more = False
            if not more:
                if self._pause:
                    await asyncio.sleep(self._pause)
                nap = _LONGEST_NAP * (0.5 + random.random() / 2)
                try:
                    async with asyncio.timeout(nap):
                        await self._news.wait()
                except TimeoutError:
                    continue


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
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._handlers = handlers
        self._steps = steps
        self._clock = clock
        self._owner = owner
        self._watch = watch
        self._to_follow: list[ClockStep] = []
        self._steps_seen = 0
        self._following = asyncio.Lock()
        #: What runs here, or has ended and is not recorded yet, as it was claimed and by its identity: just these
        #: leases are kept alive, and given back at the end.
        self._held: dict[int, Due | Dispatch] = {}
        #: How handlers ended in this turn of the event loop; at its end this is recorded.
        self._unrecorded: list[DispatchSettled] = []
        self._key_id = key_id
        self._lease_ms = lease_ms
        self._keep_days = keep_days
        # Apart, because a claim of dispatches is to share the commit of those that have just ended, while what is
        # due is looked up first, which is not worth its while after every single callback.
        self._dues = _Turns(self._take_due, pause=_PAUSE)
        self._dispatches = _Turns(self._take_dispatches)
        self._turns: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        # Apart, because what runs may be cancelled, and the record of what has ended may not.
        self._records: set[asyncio.Task[None]] = set()
        self._busy: Counter[str] = Counter()
        self._allowances: dict[str, _Allowance] = {}
        self._draining = self._stopping = False
        self._held_at = self._chores_at = self._prune_at = 0

    def notify(self, *, due: bool = True) -> None:
        """Say that there may be work, dispatches or what is *due* too; safe to call from the event loop only."""
        if due:
            self._dues.notify()
        self._dispatches.notify()

    def leases(self) -> Leases:
        """What is being worked on here."""
        held = self._held.values()
        return Leases(
            dues=tuple(one for one in held if isinstance(one, Due)),
            dispatches=tuple(one for one in held if isinstance(one, Dispatch)),
        )

    def start(self) -> None:
        """Begin."""
        self._turns = [asyncio.create_task(one.run()) for one in (self._dues, self._dispatches)]

    async def drain(self, *, patience: float) -> None:
        """Claim nothing more, and let what runs finish for *patience* seconds; what does not keeps its lease."""
        self._draining = True
        self._dues.end()
        self._dispatches.end()
        if self._turns:
            # A claim that is being committed must reach us, or nobody would know whose it is.
            await asyncio.wait(self._turns, timeout=_LAST_CLAIM)
            for turns in self._turns:
                turns.cancel()
        await self._wait(patience)
        self._stopping = True
        for task in list(self._tasks):
            task.cancel()
        # A handler may refuse to be cancelled; the process does not wait for it.
        await self._wait(_LAST_CLAIM)

    async def _wait(self, patience: float) -> None:
        """Wait for what runs, and for what begins when it ends (to record how)."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while (running := self._tasks | self._records) and (left := until - loop.time()) > 0:
            await asyncio.wait(running, timeout=left)

    async def _take_due(self) -> bool:
        # Read before it is seen whether the clock was set: what is old by it is so by no step.
        now = self._clock()
        await self._follow_clock()
        steps = self._steps_seen
        more = await self._claim_due()
        if steps == self._steps_seen:
            await self._chores(now)
        return more

    async def _claim_due(self) -> bool:
        more = False
        for name in await self._store.due_providers(now=self._clock()):
            provider = self._catalog.get(name)
            if provider is None:
                log.error("provider_undescribed", provider=name)
                continue
            # The other turns may have seen meanwhile that the clock was set: a lease goes by the clock as it is.
            await self._follow_clock()
            now = self._clock()
            allowance = self._allowances.setdefault(name, _Allowance(provider.limits.rate, now))
            limit = allowance.take(max(provider.limits.concurrency - self._busy[f"provider {name}"], 0), now)
            if limit == 0:
                continue
            claimed = await self._store.claim(
                Claim(owner=self._owner, provider=name, limit=limit, lease_ms=self._lease_ms, now=now)
            )
            allowance.give_back(limit - len(claimed))
            for one in claimed:
                self._spawn(f"provider {name}", one.due, self._steps.take(one))
            more = more or len(claimed) == limit
        return more

    async def _take_dispatches(self) -> bool:
        await self._follow_clock()
        free = {
            handler.spec.name: handler.concurrency - self._busy[f"handler {handler.spec.name}"]
            for handler in self._handlers
        }
        limits = {name: limit for name, limit in free.items() if limit > 0}
        if not limits:
            return False
        claimed = await self._store.claim_dispatches(
            DispatchClaim(owner=self._owner, limits=limits, lease_ms=self._lease_ms, now=self._clock())
        )
        for dispatch, job in claimed:
            self._spawn(f"handler {dispatch.handler}", dispatch, self._steps.dispatch.run(dispatch, job))
        found = Counter(dispatch.handler for dispatch, _ in claimed)
        return any(found[name] == limit for name, limit in limits.items())

    def _spawn(self, slot: str, lease: Due | Dispatch, work: Coroutine[Any, Any, object]) -> None:
        self._busy[slot] += 1
        self._held[id(lease)] = lease
        _begin(self._keep(slot, lease, work), self._tasks)

    async def _keep(self, slot: str, lease: Due | Dispatch, work: Coroutine[Any, Any, object]) -> None:
        """Do *work*; until its end is recorded its lease is held."""
        ended: object = None
        try:
            ended = await work
        except StoreUnavailableError as error:
            log.warning("work_not_settled", slot=slot, reason=str(error))
        except asyncio.CancelledError:
            if self._stopping:
                # Given back with the others when this node leaves.
                return
            log.exception("work_failed", slot=slot)
        except Exception:
            # The lease lapses and the work comes back; what failed is ours to read.
            log.exception("work_failed", slot=slot)
        finally:
            # A handler's slot is free once it has ended: what is claimed for it shares the commit of its end.
            self._busy[slot] -= 1
            self._dispatches.notify()
            if isinstance(lease, Due):
                self._dues.notify()
        if isinstance(ended, DispatchSettled):
            if not self._unrecorded:
                _begin(self._record(), self._records)
            self._unrecorded.append(ended)
        else:
            del self._held[id(lease)]

    async def _record(self) -> None:
        """Record how handlers ended in one turn of the event loop."""
        ended, self._unrecorded = self._unrecorded, []
        await self._settle(ended)

    async def _settle(self, ended: Sequence[DispatchSettled]) -> None:
        try:
            await self._steps.dispatch.settle(ended)
        except Exception as error:
            if len(ended) > 1:
                # One that cannot be recorded, or whose row another holds, must not take the others with it.
                await asyncio.gather(*(self._settle([one]) for one in ended))
                return
            slot = f"handler {ended[0].dispatch.handler}"
            if isinstance(error, StoreUnavailableError):
                log.warning("work_not_settled", slot=slot, reason=str(error))
            else:
                log.exception("work_failed", slot=slot)
        for one in ended:
            del self._held[id(one.dispatch)]

    async def _follow_clock(self) -> None:
        found = self._watch.look() if self._watch is not None else None
        if found is not None:
            before, now = found
            log.warning("clock_set", by_seconds=(now - before) // SECOND)
            self._to_follow.append(ClockStep(before=before, now=now))
            self._steps_seen += 1
            self._held_at = self._chores_at = self._prune_at = 0
        async with self._following:
            while self._to_follow:
                # Where it cannot be written now it is at the next turn; until then nothing is claimed.
                await self._store.shift(self._to_follow[0])
                del self._to_follow[0]

    async def _chores(self, now: int) -> None:
        if now >= self._held_at:
            self._held_at = now + _HELD_EVERY
            await self._release_held(now)
        if now >= self._chores_at:
            self._chores_at = now + _CHORES_EVERY
            buried = await self._store.reap(now=now)
            if buried:
                log.error("dispatches_without_handler", count=buried)
        if self._keep_days and now >= self._prune_at:
            self._prune_at = now + _PRUNE_EVERY
            await self._prune(now)

    async def _release_held(self, now: int) -> None:
        for callback_id, provider in await self._store.held_due(now=now):
            if provider in self._catalog:
                terms = self._catalog.terms(provider, key_id=self._key_id)
                await self._store.release_held(callback_id, terms=terms, now=now)

    async def _prune(self, now: int) -> None:
        after: str | None = ""
        while after is not None and not self._draining:
            pruned = await self._store.prune(Prune(before=now - self._keep_days * DAY, after=after, now=now))
            after = pruned.after
            if pruned.deleted:
                log.info("jobs_pruned", **pruned.deleted)


def _begin(work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    among.add(task)
    task.add_done_callback(among.discard)
