"""A clock that was set, seen by whoever compares it with a steady one, and moved along with once."""

import pytest

from receiver.core.model import DAY, HOUR, MINUTE, SECOND
from receiver.storage import clocks
from receiver.storage.clocks import Followed, Reading
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk


def read(desk: Desk, *, now: int, steady: int, boot: str = "b", unset_since: int | None = None) -> Followed:
    """What comes of both clocks as they are."""
    reading = Reading(boot=boot, ahead=now - steady, now=now, lease_ms=LEASE, unset_since=unset_since)
    with desk.store.driver.write() as tx:
        return clocks.follow(tx, reading)


@pytest.mark.parametrize("step", [-HOUR, HOUR])
async def test_whoever_comes_sees_that_it_was_set_meanwhile_and_moves_once(desk: Desk, step: int) -> None:
    """Nobody was there, for however long: what lay ahead lies ahead as it did, deadlines too."""
    assert read(desk, now=NOW, steady=0) == Followed(total=0, step=0, known=False, lately=False)
    one = await desk.submitted()
    ((run_at,),) = desk.rows("SELECT run_at FROM due")
    later = 30 * SECOND
    found = read(desk, now=NOW + later + step, steady=later)
    assert (found.total, found.step, found.known) == (step, step, True)
    # What waits may come early where time has leapt.
    assert desk.rows("SELECT run_at FROM due") == [(run_at + min(step, 0),)]
    assert (await desk.store.job(one.id)).deadline_at == one.deadline_at + step
    again = read(desk, now=NOW + later + step + 9, steady=later)
    assert (again.total, again.step) == (step, 0)
    assert (await desk.store.job(one.id)).deadline_at == one.deadline_at + step


@pytest.mark.parametrize("step", [-HOUR, HOUR])
async def test_who_comes_within_a_lease_hears_that_it_was_set(desk: Desk, step: int) -> None:
    """Others may not have seen it yet, and hold leases that they took by the clock as it was."""
    read(desk, now=NOW, steady=0)
    seen = [
        read(desk, now=NOW + at + step, steady=at).lately
        for at in (MINUTE, MINUTE + LEASE - 1, MINUTE + LEASE)
    ]
    assert seen == [True, True, False]


async def test_small_corrections_add_up_to_no_step(desk: Desk) -> None:
    """A clock is put right all the time; a long absence is no step either."""
    read(desk, now=NOW, steady=0)
    for n in range(1, 9):
        assert read(desk, now=NOW + n * (HOUR + 4 * SECOND), steady=n * HOUR).step == 0


async def test_after_a_new_start_of_the_machine_only_a_time_that_was_seen_counts(desk: Desk) -> None:
    """Then nobody knows the steady clock: set forward looks like an absence; set back is seen by what was."""
    read(desk, now=NOW, steady=5)
    assert read(desk, now=NOW + DAY, steady=0, boot="c").step == 0
    assert read(desk, now=NOW - HOUR, steady=0, boot="d").step == -DAY - HOUR


async def test_a_lease_that_was_taken_since_it_was_set_back_is_left(desk: Desk) -> None:
    """Whoever saw the step first took it by the clock as it is; those of before are moved."""
    read(desk, now=NOW, steady=0)
    await desk.submitted()
    await desk.submitted(remote_id="r2", created_at=NOW + MINUTE)
    (before,) = await desk.claim(at=NOW + MINUTE, limit=1)
    with desk.store.driver.write() as tx:
        tx.run("UPDATE due SET owner = 'new', run_at = :at WHERE owner IS NULL", {"at": NOW - DAY + LEASE})
    read(desk, now=NOW - DAY + MINUTE, steady=MINUTE)
    assert sorted(desk.rows("SELECT owner, run_at FROM due")) == [
        ("new", NOW - DAY + LEASE),
        (before.due.owner, before.due.run_at - DAY),
    ]


async def test_who_does_not_know_yet_that_it_was_set_takes_nothing_of_others(desk: Desk) -> None:
    """Dispatches and steps: by its clock their leases have lapsed. What is free is claimed as ever."""
    read(desk, now=NOW, steady=0)
    await desk.register("h")
    await desk.call(await desk.submitted(), DONE)
    await desk.submitted(remote_id="r2")
    assert await desk.work("h", at=NOW, owner="other")
    assert await desk.claim(at=NOW + MINUTE, owner="other")
    read(desk, now=NOW + MINUTE - DAY, steady=MINUTE)
    assert await desk.work("h", at=NOW + MINUTE, set_by=0) == []
    assert await desk.claim(at=NOW + MINUTE, set_by=0) == []
    await desk.call(await desk.submitted(remote_id="r3"), DONE)
    assert len(await desk.work("h", at=NOW + MINUTE, set_by=0)) == 1
    later = NOW + MINUTE - DAY + 2 * LEASE
    assert len(await desk.work("h", at=later, set_by=-DAY)) == 1
    assert len(await desk.claim(at=later, set_by=-DAY)) == 1


async def test_who_came_after_it_was_set_lets_those_tell_who_saw_it(desk: Desk) -> None:
    """It took the clock as it found it for one that was never set; what the others do is not undone."""
    read(desk, now=NOW, steady=0, boot="a")
    read(desk, now=NOW + HOUR, steady=7, boot="b")
    assert read(desk, now=NOW + HOUR + SECOND, steady=SECOND, boot="a").step == HOUR
    told = read(desk, now=NOW + HOUR + SECOND, steady=7 + SECOND, boot="b", unset_since=0)
    assert (told.total, told.step) == (HOUR, 0)
    assert read(desk, now=NOW + HOUR + MINUTE, steady=7 + MINUTE, boot="b").step == 0
