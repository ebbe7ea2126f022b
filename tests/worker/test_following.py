"""What a clock that was set does to leases, on a database that several nodes share and on one's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.clock import StepWatch
from receiver.core.model import HOUR, MINUTE, SECOND
from receiver.storage.store import Store
from receiver.worker.following import Following
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk


class Clocks:
    """Two clocks that move by hand: one that may be set, and a steady one."""

    def __init__(self) -> None:
        self.now, self.steady = NOW, 0

    def pass_by(self, milliseconds: int) -> None:
        """Let time pass."""
        self.now += milliseconds
        self.steady += milliseconds

    def following(self, store: Store) -> Following:
        """Follow the one that may be set."""
        watch = StepWatch(clock=lambda: self.now, steady=lambda: self.steady)
        return Following(
            store=store, watch=watch, told=lambda: None, lease_ms=LEASE, steady=lambda: self.steady
        )


@pytest.fixture
async def shared(migrated_url: str) -> AsyncIterator[Store]:
    """A database that several nodes may serve."""
    store = await Store.open(migrated_url)
    yield store
    await store.close()


@pytest.mark.parametrize("step", [HOUR, 10 * SECOND, -HOUR])
async def test_nobody_takes_what_another_holds_because_the_shared_clock_was_set(
    shared: Store, step: int
) -> None:
    """For as long as a lease lasts, in which every node that lives learns of it and extends its own."""
    clocks, desk = Clocks(), Desk(shared)
    follow = clocks.following(shared)
    assert follow.lapses(clocks.now)
    await desk.submitted()
    before = desk.rows("SELECT run_at FROM due")
    clocks.now += step
    assert not follow.lapses(clocks.now), "also between the step and the look that notices it"
    await follow()
    clocks.pass_by(LEASE - 1)
    await follow()
    assert not follow.lapses(clocks.now)
    clocks.pass_by(1)
    assert follow.lapses(clocks.now)
    assert desk.rows("SELECT run_at FROM due") == before, "each node would move it once more"


async def test_nobody_takes_what_another_could_not_extend(shared: Store) -> None:
    """While the database was away nobody could: for as long as a lease lasts, those who hold something come first."""
    clocks = Clocks()
    follow = clocks.following(shared)
    clocks.pass_by(HOUR)
    follow.be_patient()
    assert not follow.lapses(clocks.now)
    clocks.pass_by(LEASE)
    assert follow.lapses(clocks.now)


async def test_what_is_planned_follows_a_clock_of_ones_own(tmp_path: Path) -> None:
    """Once; and as nobody else serves the database, nobody can take anything."""
    store = await Store.open(f"sqlite:///{tmp_path}/receiver.db")
    try:
        clocks, desk = Clocks(), Desk(store)
        follow = clocks.following(store)
        await desk.submitted()
        ((run_at,),) = desk.rows("SELECT run_at FROM due")
        clocks.now -= HOUR
        await follow()
        await follow()
        assert desk.rows("SELECT run_at FROM due") == [(run_at - HOUR,)]
        assert follow.lapses(clocks.now)
    finally:
        await store.close()


async def test_leases_that_may_not_have_lapsed_are_left_alone(shared: Store) -> None:
    """Of dispatches, interrupted ones too, and of steps that are due; what is free, or one's own, is claimed."""
    desk = Desk(shared)
    await desk.register("h")
    first = await desk.submitted(remote_id="r1")
    await desk.call(first, DONE)
    assert await desk.work("h", at=NOW, owner="other")
    waiting = await desk.submitted(remote_id="r2")
    assert await desk.claim(at=NOW + HOUR, owner="other")
    later = NOW + 2 * HOUR
    assert await desk.work("h", at=later, lapses=False) == []
    assert await desk.claim(at=later, lapses=False) == []
    third = await desk.submitted(remote_id="r3", created_at=NOW + MINUTE)
    await desk.call(third, DONE, at=later)
    assert [one.job_id for one, _ in await desk.work("h", at=later, lapses=False)] == [third.id]
    assert [one.job_id for one, _ in await desk.work("h", at=later, owner="other", lapses=False)] == [
        first.id
    ]
    assert [one.job.id for one in await desk.claim(at=later)] == [waiting.id]
