"""Leases: the work that was claimed by this process, from its begin until its end is recorded."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import structlog

from receiver.core.errors import StoreUnavailableError
from receiver.core.model import Dispatch, Due
from receiver.metrics import Running
from receiver.storage.claims import Leases
from receiver.storage.dispatches import DispatchSettled

log = structlog.get_logger(__name__)

#: Seconds that work may take longer than it should before anybody is told.
_GRACE: Final = 2.0
#: Seconds between attempts to record how a handler ended while the store cannot be written; the last one again and
#: again, until the process stops.
_STORE_WAITS: Final = (0.5, 1, 2, 4, 8)


class _Begun:
    """When work began, and when it is told of if it has not ended by then."""

    __slots__ = ("at", "overdue", "slot", "tell_at")

    def __init__(self, slot: str, at: float, tell_at: float) -> None:
        self.slot = slot
        self.at = at
        self.tell_at = tell_at
        self.overdue = False


class Leased:
    """Does what was claimed.

    Args:
        settle: Records how handlers ended; raises where it cannot.
        freed: Called when what was claimed has ended, so that its slot is free again.
    """

    def __init__(
        self,
        *,
        settle: Callable[[Sequence[DispatchSettled]], Coroutine[Any, Any, None]],
        freed: Callable[[Due | Dispatch], None],
    ) -> None:
        self._settle_all = settle
        self._freed = freed
        #: What runs here, or has ended and is not recorded yet, as it was claimed and by its identity: just these
        #: leases are kept alive, and given back at the end.
        self._held: dict[int, Due | Dispatch] = {}
        #: Their keys: no claim takes what is held here already.
        self.keys: set[tuple[str, ...]] = set()
        #: How handlers ended in this turn of the event loop; at its end this is recorded.
        #: When each of them began.
        self._began: dict[int, _Begun] = {}
        self._unrecorded: list[DispatchSettled] = []
        self._tasks: set[asyncio.Task[None]] = set()
        # Apart, because what runs may be cancelled, and the record of what has ended may not.
        self._records: set[asyncio.Task[None]] = set()
        self._busy: Counter[str] = Counter()
        self._stopping = asyncio.Event()

    def busy(self, slot: str) -> int:
        """How much runs in *slot*."""
        return self._busy[slot]

    def is_stopping(self) -> bool:
        """Whether what runs is being interrupted."""
        return self._stopping.is_set()

    def leases(self) -> Leases:
        """What is being worked on here; safe to call from any thread."""
        held = list(self._held.values())
        return Leases(
            dues=tuple(one for one in held if isinstance(one, Due)),
            dispatches=tuple(one for one in held if isinstance(one, Dispatch)),
        )

    def begin(
        self, slot: str, lease: Due | Dispatch, work: Coroutine[Any, Any, object], *, expected: float
    ) -> None:
        """Do *work* in *slot*, for *expected* seconds at most, and hold its *lease* until its end is recorded."""
        self._busy[slot] += 1
        self._held[id(lease)] = lease
        now = asyncio.get_running_loop().time()
        self._began[id(lease)] = _Begun(slot, now, now + expected + _GRACE)
        self.keys.add(_key(lease))
        _begin(self._keep(slot, lease, work), self._tasks)

    def tell_overdue(self) -> None:
        """Log what takes longer than it should, once it does, and again whenever that has doubled."""
        now = asyncio.get_running_loop().time()
        for identity, begun in self._began.items():
            lease = self._held[identity]
            if now < begun.tell_at:
                continue
            begun.overdue = True
            begun.tell_at = now + (now - begun.at)
            facts = {"slot": begun.slot, "job": lease.job_id, "seconds": round(now - begun.at)}
            if isinstance(lease, Dispatch):
                log.warning("handler_hangs", handler=lease.handler, attempt=lease.attempt, **facts)
            else:
                log.warning("step_hangs", step=lease.step.value, **facts)

    def running(self) -> list[Running]:
        """How much runs in each slot, and for how long."""
        now = asyncio.get_running_loop().time()
        slots: dict[str, list[_Begun]] = {}
        for begun in self._began.values():
            slots.setdefault(begun.slot, []).append(begun)
        return [
            Running(
                slot=slot,
                many=len(those),
                longest=max(now - one.at for one in those),
                overdue=sum(one.overdue for one in those),
            )
            for slot, those in sorted(slots.items())
        ]

    async def wait(self, patience: float) -> None:
        """Wait for what runs, and for what begins when it ends (to record how)."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while (running := self._tasks | self._records) and (left := until - loop.time()) > 0:
            await asyncio.wait(running, timeout=left)

    def cancel(self) -> None:
        """Interrupt what still runs: it keeps its lease, and what cannot be recorded is not tried again."""
        self._stopping.set()
        for task in list(self._tasks):
            task.cancel()

    async def _keep(self, slot: str, lease: Due | Dispatch, work: Coroutine[Any, Any, object]) -> None:
        """Do *work*; its lease is held until its end is recorded, however it ended."""
        ended: object = None
        interrupted = False
        try:
            ended = await work
        except StoreUnavailableError as error:
            log.warning("work_not_settled", slot=slot, reason=str(error))
        except asyncio.CancelledError:
            # Given back with the others when this node leaves.
            interrupted = self._stopping.is_set()
            if not interrupted:
                log.exception("work_failed", slot=slot)
        except GeneratorExit:
            raise  # the event loop is gone
        except BaseException:
            # The lease lapses and the work comes back; the failure is our own mistake, so it is logged.
            log.exception("work_failed", slot=slot)
        finally:
            # A handler's slot is free once it has ended: what is claimed for it shares the commit of its end.
            self._busy[slot] -= 1
            if not isinstance(ended, DispatchSettled) and not interrupted:
                self._let_go(lease)
            self._freed(lease)
        if isinstance(ended, DispatchSettled):
            if not self._unrecorded:
                _begin(self._record(), self._records)
            self._unrecorded.append(ended)

    async def _record(self) -> None:
        """Record how handlers ended in one turn of the event loop."""
        ended, self._unrecorded = self._unrecorded, []
        await self._settle(ended)

    async def _settle(self, ended: Sequence[DispatchSettled]) -> None:
        """Record *ended*, however long the store cannot be written; then, come what may, it is held no more."""
        if len(ended) > 1:
            try:
                await self._settle_all(ended)
            except Exception as error:  # noqa: BLE001  (told, if it is so again, of the one that it is about)
                # One that cannot be recorded, or whose row another holds, must not take the others with it.
                log.info("work_settled_singly", count=len(ended), reason=str(error))
                await asyncio.gather(*(self._settle([one]) for one in ended))
            else:
                for one in ended:
                    self._let_go(one.dispatch)
            return
        try:
            await self._settle_patiently(ended)
        finally:
            self._let_go(ended[0].dispatch)

    async def _settle_patiently(self, ended: Sequence[DispatchSettled]) -> None:
        slot = f"handler {ended[0].dispatch.handler}"
        for number in itertools.count():
            try:
                await self._settle_all(ended)
            except StoreUnavailableError as error:
                log.warning("work_not_settled", slot=slot, reason=str(error))
            except Exception:
                log.exception("work_failed", slot=slot)
                return
            else:
                return
            wait = _STORE_WAITS[min(number, len(_STORE_WAITS) - 1)]
            try:
                async with asyncio.timeout(wait):
                    await self._stopping.wait()
            except TimeoutError:
                continue
            return

    def _let_go(self, lease: Due | Dispatch) -> None:
        self._began.pop(id(lease), None)
        if self._held.pop(id(lease), None) is not None:
            self.keys.discard(_key(lease))


def _key(lease: Due | Dispatch) -> tuple[str, ...]:
    if isinstance(lease, Due):
        return lease.job_id, lease.step.value
    return lease.job_id, lease.handler, lease.replay_id


def _begin(work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    among.add(task)
    task.add_done_callback(among.discard)
