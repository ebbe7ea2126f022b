"""The worker's turns, on a real store, with a clock that is set."""

import asyncio
from pathlib import Path
from typing import cast

import pytest

from receiver.catalog import Catalog
from receiver.clock import StepWatch
from receiver.core.model import HOUR
from receiver.handlers import Handlers
from receiver.storage.claims import Claimed
from receiver.storage.store import Store
from receiver.worker import Steps, Worker
from tests.core.making import NOW
from tests.storage.making import LEASE, PROVIDERS, Desk


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


@pytest.mark.parametrize("step", [HOUR, -HOUR])
@pytest.mark.parametrize("reading", range(2, 8))
async def test_a_lease_goes_by_the_clock_as_it_is(tmp_path: Path, step: int, reading: int) -> None:
    """Whenever the clock is set, also in the middle of a turn: else work is taken twice, or by nobody for an hour."""
    store = await Store.open(f"sqlite:///{tmp_path}/receiver.db")
    clock, taken = SetClock(step=step, reading=reading), Taken()
    desk = Desk(store)
    await desk.submitted(created_at=NOW - HOUR)
    worker = Worker(
        store=store,
        catalog=Catalog(PROVIDERS),
        handlers=Handlers(),
        steps=cast("Steps", taken),
        clock=clock,
        owner="node",
        key_id="k",
        lease_ms=LEASE,
        keep_days=0,
        watch=StepWatch(clock=clock, steady=lambda: 0),
    )
    worker.start()
    try:
        async with asyncio.timeout(10):
            await taken.some.wait()
            await asyncio.sleep(0.1)
    finally:
        await worker.drain(patience=1)
        await store.close()
    assert [one.due.run_at - clock.now for one in taken.claimed] == [LEASE]
