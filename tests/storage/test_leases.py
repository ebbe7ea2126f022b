"""Leases of what is due, of every kind: nobody else has it meanwhile, and what nobody does any more comes back."""

import pytest

from receiver.core.job.urgency import lane
from receiver.core.model import Due, Step
from receiver.storage import rows
from receiver.storage.claims import Claimed
from tests.core.making import NOW
from tests.storage.making import LEASE, Desk, leases


async def held(desk: Desk, step: Step) -> Claimed:
    """A row of that kind, claimed by a process."""
    one = await desk.submitted()
    due = Due(
        job_id=one.id,
        step=step,
        provider=one.provider,
        run_at=NOW,
        lane=lane(one, run_at=NOW, urgent_at=None),
    )
    with desk.store.driver.write() as tx:
        tx.run("DELETE FROM due")
        tx.insert("due", rows.DUE, [rows.due_params(due)])
    (claimed,) = await desk.claim(at=NOW, owner="gone")
    assert claimed.due.step is step
    return claimed


@pytest.mark.parametrize("step", Step)
async def test_what_a_process_held_that_is_gone_comes_back(desk: Desk, step: Step) -> None:
    """When its lease has lapsed and not before; whoever takes it then is told that it may have been begun."""
    before = await held(desk, step)
    assert await desk.claim(at=NOW + LEASE - 1, owner="other") == []
    (after,) = await desk.claim(at=NOW + LEASE, owner="other")
    assert (after.due.step, after.lapsed, after.due.attempt) == (step, True, before.due.attempt + 1)


@pytest.mark.parametrize("step", Step)
async def test_the_only_process_that_starts_again_waits_for_no_lease(desk: Desk, step: Step) -> None:
    """Whoever held it is gone for certain. Only of a submission it still matters that somebody may have sent it."""
    await held(desk, step)
    await desk.store.release_all(now=NOW + 1)
    (after,) = await desk.claim(at=NOW + 1, owner="other")
    assert (after.due.step, after.lapsed) == (step, step is Step.SUBMIT)


@pytest.mark.parametrize("step", Step)
async def test_a_process_that_ends_gives_it_back(desk: Desk, step: Step) -> None:
    """At once, to whoever is there."""
    before = await held(desk, step)
    await desk.store.release(leases(before), lease_ms=LEASE, now=NOW + 1)
    (after,) = await desk.claim(at=NOW + 1, owner="other")
    assert (after.due.step, after.lapsed) == (step, step is Step.SUBMIT)
