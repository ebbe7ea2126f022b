"""The worker on a real store: a clock that is set in mid-turn, and how long a lease is held."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest

from receiver.catalog import Catalog
from receiver.circuits import Circuits
from receiver.clock import StepWatch
from receiver.core.model import HOUR, Job
from receiver.files.folder import Folder
from receiver.handlers import Handlers
from receiver.metrics import Metrics
from receiver.outbound.allowances import Allowances
from receiver.steps.dispatch import RunDispatch
from receiver.steps.lending import Lending
from receiver.storage.claims import Claimed, Leases
from receiver.storage.dispatches import DispatchSettled
from receiver.storage.postgres import driver as postgres
from receiver.storage.store import Store
from receiver.worker.leases import Leased
from receiver.worker.worker import Worker
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, PROVIDERS, Desk


class SetClock:
    """A clock that stands still, and is set by *step* milliseconds when it is read for the *reading*-th time."""

    def __init__(self, *, step: int, reading: int) -> None:
        self.now = NOW
        self._step = step
        self._left = reading

    def __call__(self) -> int:
        """The time."""
        self._left -= 1
        if self._left == 0:
            self.now += self._step
        return self.now


class Taken:
    """Takes what is claimed and does nothing with it."""

    def __init__(self) -> None:
        self.claimed: list[Claimed] = []
        self.some = asyncio.Event()

    async def take(self, claimed: Claimed) -> None:
        """Note it."""
        self.claimed.append(claimed)
        self.some.set()


def made(store: Store, *, steps: Any, handlers: Handlers, clock: Callable[[], int]) -> Worker:  # noqa: ANN401  (some of them)
    """A worker that is not started yet."""

    async def recover() -> None:
        """Find no answers that were left behind."""

    steps.recover = recover
    return Worker(
        store=store,
        catalog=Catalog(PROVIDERS),
        handlers=handlers,
        steps=steps,
        clock=clock,
        owner="node",
        key_id="k",
        lease_ms=LEASE,
        keep_days=0,
        watch=StepWatch(clock=clock, steady=lambda: 0),
        doubts=lambda: 0,
        set_by=lambda: None,
        workers=lambda: 1,
        allowances=Allowances(PROVIDERS.values(), clock=clock),
        circuits=Circuits(),
        downloading=None,
    )


@pytest.mark.parametrize("step", [HOUR, -HOUR])
@pytest.mark.parametrize("reading", range(2, 8))
async def test_a_lease_goes_by_the_clock_as_it_is(tmp_path: Path, step: int, reading: int) -> None:
    """Whenever the clock is set, also in the middle of a turn: else work is taken twice, or by nobody for an hour."""
    store = await Store.open(f"sqlite:///{tmp_path}/receiver.db")
    clock, taken = SetClock(step=step, reading=reading), Taken()
    desk = Desk(store)
    await desk.submitted(created_at=NOW - HOUR)
    worker = made(store, steps=taken, handlers=Handlers(), clock=clock)
    worker.start()
    try:
        async with asyncio.timeout(40):
            await taken.some.wait()
            await asyncio.sleep(0.1)
    finally:
        await worker.drain(patience=1)
        await store.close()
    assert [one.due.run_at - clock.now for one in taken.claimed] == [LEASE]


async def test_a_step_that_is_cancelled_by_its_own_doing_gives_its_lease_up(tmp_path: Path) -> None:
    """The lease lapses and the work comes back; held for ever, it would come back to nobody."""
    store = await Store.open(f"sqlite:///{tmp_path}/receiver.db")
    await Desk(store).submitted(created_at=NOW - HOUR)
    cancelled = asyncio.Event()

    async def take(_claimed: Claimed) -> None:
        cancelled.set()
        raise asyncio.CancelledError

    steps = SimpleNamespace(take=take)
    worker = made(store, steps=steps, handlers=Handlers(), clock=lambda: NOW)
    worker.start()
    try:
        async with asyncio.timeout(40):
            await cancelled.wait()
    finally:
        await worker.drain(patience=1)
        await store.close()
    assert worker.leases() == Leases()


class Refusing(RunDispatch):
    """Runs handlers, and fails to record how those called *bad* ended."""

    async def settle(self, ended: Sequence[DispatchSettled]) -> None:
        """Record all of them or none."""
        if any(one.dispatch.handler == "bad" for one in ended):
            raise ValueError("it cannot be stored")
        await super().settle(ended)


def _recorded(desk: Desk) -> list[tuple[str, str]]:
    return desk.rows("SELECT handler, outcome FROM attempt WHERE step = 'dispatch' ORDER BY handler")


@asynccontextmanager
async def dispatching(
    url: Path | str, run: type[RunDispatch], *names: str, jobs: int = 1
) -> AsyncIterator[tuple[Worker, Desk, asyncio.Event]]:
    """A worker that runs handlers of those names for a job; all have begun, and end upon the event.

    One that is called *tidy* ends well when it is cancelled, too.
    """
    store = await Store.open(url if isinstance(url, str) else f"sqlite:///{url}/receiver.db")
    handlers, begun, end = Handlers(), asyncio.Event(), asyncio.Event()
    waiting: list[str] = []

    def made_handler(name: str) -> Callable[[Job], Awaitable[None]]:
        async def handler(job: Job) -> None:
            waiting.append(job.id)
            if len(waiting) == len(names) * jobs:
                begun.set()
            try:
                await end.wait()
            except asyncio.CancelledError:
                if name != "tidy":
                    raise
                await asyncio.sleep(0.02)

        return handler

    for name in names:
        handlers.on(name=name)(made_handler(name))
    desk = Desk(store)
    await desk.register(*names)
    for number in range(jobs):
        await desk.call(await desk.submitted(remote_id=f"r{number}"), DONE)
    dispatch = run(
        store=store,
        lending=Lending(store, files=Folder(Path("nowhere"), floor=0)),
        clock=lambda: NOW,
        metrics=Metrics(),
        doubts=lambda: 0,
        confirm=None,
        circuits=Circuits(),
    )
    worker = made(store, steps=SimpleNamespace(dispatch=dispatch), handlers=handlers, clock=lambda: NOW)
    worker.start()
    try:
        async with asyncio.timeout(40):
            await begun.wait()
            yield worker, desk, end
    finally:
        await worker.drain(patience=1)
        await store.close()


async def test_an_end_that_cannot_be_recorded_takes_no_other_with_it(tmp_path: Path) -> None:
    """Handlers that end at the same time are recorded together; the lease of the one that cannot be lapses."""
    async with dispatching(tmp_path, Refusing, "bad", "fine", "good") as (worker, desk, end):
        end.set()
        await worker.drain(patience=5)
        assert worker.leases() == Leases()
        assert desk.rows("SELECT handler FROM dispatch") == [("bad",)]
        assert _recorded(desk) == [("fine", "succeeded"), ("good", "succeeded")]


async def test_a_handler_that_ends_while_the_worker_drains_is_recorded(tmp_path: Path) -> None:
    """It has run; not recorded it would run again at the next start."""
    async with dispatching(tmp_path, RunDispatch, "slow") as (worker, desk, end):
        draining = asyncio.create_task(worker.drain(patience=5))
        await asyncio.sleep(0.05)
        assert [one.handler for one in worker.leases().dispatches] == ["slow"]
        end.set()
        await draining
        assert worker.leases() == Leases()
        assert desk.count("dispatch") == 0


class Impatient(Leased):
    """Loses patience in the very turn of the loop in which a handler ends, before that is recorded."""

    end: asyncio.Event

    async def wait(self, patience: float) -> None:
        """Wait, but not the first time."""
        if not self.end.is_set():
            self.end.set()
            await asyncio.sleep(0)
            return
        await super().wait(patience)


async def test_what_has_ended_is_recorded_although_patience_is_lost(tmp_path: Path) -> None:
    """A function that has returned is not to run again: what is cancelled then is what still runs."""
    async with dispatching(tmp_path, RunDispatch, "quick", "tidy") as (worker, desk, end):
        leased = worker._leased
        leased.__class__, cast("Impatient", leased).end = Impatient, end
        await worker.drain(patience=5)
        assert _recorded(desk) == [("quick", "succeeded"), ("tidy", "succeeded")]
        assert desk.count("dispatch") == 0


async def test_a_row_that_another_holds_keeps_no_other_end_from_the_record(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL an end that cannot be recorded now is the only one to run again."""
    monkeypatch.setitem(postgres._LIMITS, "lock_timeout", 100)
    async with dispatching(migrated_url, RunDispatch, "h", jobs=3) as (worker, desk, end):
        with psycopg.connect(migrated_url) as other:
            other.execute("SELECT 1 FROM dispatch ORDER BY job_id LIMIT 1 FOR UPDATE")
            end.set()
            await worker.drain(patience=5)
            other.rollback()
        assert _recorded(desk) == [("h", "succeeded")] * 2
        assert desk.count("dispatch") == 1
