"""Attempts that did not end: whose process is gone, or was told to stop."""

from receiver.core.model import SECOND, Attempt, Dispatch, Failure, Job
from receiver.storage.claims import INTERRUPTED, Claim, Leases
from receiver.storage.dispatches import DispatchClaim, DispatchSettled
from receiver.storage.queries import Page
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk


async def interrupted(desk: Desk, dispatch: Dispatch, *, at: int, retry_at: int | None) -> None:
    """Record that the process of *dispatch* is gone."""
    log = Attempt(
        id=f"att_{at}_{dispatch.job_id}",
        job_id=dispatch.job_id,
        step="dispatch",
        handler=dispatch.handler,
        number=dispatch.attempt,
        started_at=at,
        outcome=INTERRUPTED,
        code="process_ended",
    )
    settled = DispatchSettled(
        dispatch=dispatch, log=log, retry_at=retry_at, error=Failure(code="process_ended")
    )
    assert await desk.store.settle_dispatches([settled]) == [True]


async def claimed(
    desk: Desk, *, at: int, alone: bool, owner: str = "next", limit: int = 10
) -> list[tuple[Dispatch, Job]]:
    """Claim what the handler *h* may be given."""
    return await desk.store.claim_dispatches(
        DispatchClaim(owner=owner, limits={"h": limit}, lease_ms=LEASE, now=at, interrupted=alone)
    )


async def test_what_a_process_held_that_is_gone_is_seen_as_such(desk: Desk) -> None:
    """The next claim is told, the attempt keeps its number, and the interruption counts apart from failures."""
    await desk.register("h")
    await desk.call(await desk.submitted(), DONE)
    ((lost, _),) = await desk.work("h", at=NOW, owner="gone")
    ((found, _),) = await claimed(desk, at=NOW + LEASE, alone=False)
    assert (found.lapsed, found.attempt, found.interruptions) == (True, lost.attempt, 0)
    assert not await desk.finish(lost, at=NOW + LEASE)
    await interrupted(desk, found, at=NOW + LEASE, retry_at=NOW + LEASE + SECOND)
    assert desk.rows("SELECT attempt, failures, interruptions, owner FROM dispatch") == [(1, 0, 1, None)]
    ((again, _),) = await claimed(desk, at=NOW + LEASE + SECOND, alone=True)
    assert (again.lapsed, again.attempt, again.interruptions) == (False, 2, 1)


async def test_a_restart_of_the_only_process_is_seen_as_an_interruption(desk: Desk) -> None:
    """Its leases are given back at once, and still it is known that somebody held them."""
    await desk.register("h")
    await desk.call(await desk.submitted(), DONE)
    await desk.work("h", at=NOW, owner="gone")
    await desk.store.release_all(now=NOW + 1)
    ((found, _),) = await claimed(desk, at=NOW + 1, alone=False)
    assert found.lapsed


async def test_what_was_interrupted_is_claimed_alone_and_lets_the_others_pass(desk: Desk) -> None:
    """One at a time and only where it is asked for; what never was interrupted does not wait behind it."""
    await desk.register("h")
    jobs = [await desk.submitted(remote_id=f"r{n}") for n in range(4)]
    for one in jobs[:3]:
        await desk.call(one, DONE)
    await desk.work("h", at=NOW, owner="gone")
    for dispatch, _ in await claimed(desk, at=NOW + LEASE, alone=False):
        await interrupted(desk, dispatch, at=NOW + LEASE, retry_at=NOW + LEASE)
    await desk.call(jobs[3], DONE, at=NOW + LEASE)
    fresh = await claimed(desk, at=NOW + LEASE, alone=False, limit=1)
    assert [one.job_id for one, _ in fresh] == [jobs[3].id]
    alone = await claimed(desk, at=NOW + LEASE, alone=True)
    assert [one.interruptions for one, _ in alone] == [1]


async def test_a_process_never_claims_what_it_holds(desk: Desk) -> None:
    """Its lease has lapsed because it could not say that it is alive: it is renewed, and stays the same attempt."""
    await desk.register("h")
    one = await desk.submitted()
    await desk.call(one, DONE)
    ((held, _),) = await desk.work("h", at=NOW, owner="us")
    look = await desk.submitted(remote_id="r2")
    ((ours),) = await desk.claim(at=NOW + LEASE, owner="us")
    later = NOW + 3 * LEASE
    key = (held.job_id, held.handler, held.replay_id)
    assert not await desk.store.claim_dispatches(
        DispatchClaim(owner="us", limits={"h": 5}, lease_ms=LEASE, now=later, held={key})
    )
    wish = Claim(
        owner="us",
        provider="acme",
        limit=5,
        lease_ms=LEASE,
        now=later,
        held={(ours.due.job_id, ours.due.step.value)},
    )
    assert await desk.store.claim(wish) == []
    assert desk.rows("SELECT attempt, run_at FROM dispatch") == [(held.attempt, later + LEASE)]
    assert desk.rows("SELECT run_at FROM due WHERE job_id = :id", id=look.id) == [(later + LEASE,)]
    assert await desk.finish(held, at=later)
    # What it lost without having held it to the end, it may claim again.
    assert not await claimed(desk, at=later, alone=True)


async def test_a_process_that_is_told_to_stop_gives_back_without_blame(desk: Desk) -> None:
    """Whoever runs it next is told of no interruption, the timeline is, and no restart makes a dead letter of it."""
    await desk.register("h")
    one = await desk.submitted()
    await desk.call(one, DONE)
    for number in range(1, 10):
        ((held, _),) = await desk.work("h", at=NOW + number, owner=f"node {number}")
        assert (held.lapsed, held.attempt, held.failures, held.interruptions) == (False, number, 0, 0)
        await desk.store.release(Leases(dispatches=(held,)), lease_ms=LEASE, now=NOW + number + 1)
    assert await desk.store.dispatches(Page(state="dead")) == []
    record = await desk.store.record(one.id)
    lines = [(run.number, run.outcome, run.code) for run in record.attempts if run.step == "dispatch"]
    assert lines == [(number, INTERRUPTED, "process_stopped") for number in range(1, 10)]
    assert {run.duration_ms for run in record.attempts if run.step == "dispatch"} == {1}


async def test_a_retried_dead_letter_has_a_clean_record(desk: Desk) -> None:
    """Failures and interruptions begin anew."""
    await desk.register("h")
    await desk.call(await desk.submitted(), DONE)
    await desk.work("h", at=NOW, owner="gone")
    ((found, _),) = await claimed(desk, at=NOW + LEASE, alone=False)
    await interrupted(desk, found, at=NOW + LEASE, retry_at=None)
    (dead,) = await desk.store.dispatches(Page(state="dead"))
    assert dead.interruptions == 1
    assert await desk.store.retry_dispatch(dead, now=NOW + LEASE)
    ((again, _),) = await claimed(desk, at=NOW + LEASE, alone=False)
    assert (again.attempt, again.failures, again.interruptions) == (1, 0, 0)
