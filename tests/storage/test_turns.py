"""Turns: in which order what is due is claimed, and that a claim reads what it takes."""

from collections import Counter

from receiver.core.asking.exchange import Seen
from receiver.core.job.transition import FOLLOWED
from receiver.core.job.urgency import AWAITED, NEAR_DELETION, ROUTINE
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, JobState, Observation, Step
from tests.core.making import NOW
from tests.storage.making import Desk, transactions

RUNNING = Seen(seen=Observation(state=JobState.RUNNING))


async def test_jobs_that_all_expire_are_polled_in_turn(desk: Desk) -> None:
    """The oldest are not polled for ever while later ones never are: each comes once before any comes twice."""
    jobs = [
        await desk.submitted(
            remote_id=f"r{n}", created_at=NOW + n, keep_ms=DAY, keep_from="submission", deadline_at=NOW + DAY
        )
        for n in range(12)
    ]
    seen, at, turn = Counter[str](), NOW + MINUTE + SECOND, 0
    for _ in range(12):
        for claimed in await desk.claim(at=at, limit=2, turn=turn):
            seen[claimed.job.id] += 1
            turn += 1
            await desk.settle(claimed, RUNNING, at=at, next_at=at + SECOND)
        at += SECOND
    assert seen == {one.id: 2 for one in jobs}


async def test_cancellations_and_submissions_wait_for_no_look(desk: Desk) -> None:
    """Also behind looks that have been due for long; but not all of what is taken is theirs."""
    for n in range(8):
        await desk.submitted(remote_id=f"r{n}", created_at=NOW - DAY, deadline_at=NOW + DAY)
    wished = await desk.submitted(remote_id="wished", created_at=NOW, deadline_at=NOW + DAY)
    await desk.store.cancel(wished.id, now=NOW + HOUR)
    again = await desk.submit(created_at=NOW)
    await desk.answer(again, retry_at=NOW + HOUR)
    claimed = await desk.claim(at=NOW + HOUR, limit=4)
    assert {(one.job.id, one.due.step) for one in claimed[:2]} == {
        (wished.id, Step.CANCEL),
        (again.id, Step.SUBMIT),
    }
    assert [one.due.step for one in claimed[2:]] == [Step.LOOK] * 2


async def test_what_comes_near_its_deletion_while_it_waits_is_urgent(desk: Desk) -> None:
    """Nobody writes to a row that waits in a long queue, and still its time comes."""
    for n in range(20):
        await desk.submitted(remote_id=f"r{n}", created_at=NOW - DAY, deadline_at=NOW + 9 * DAY)
    kept = await desk.submitted(
        remote_id="kept", created_at=NOW, keep_ms=DAY, keep_from="submission", deadline_at=NOW + 9 * DAY
    )
    (first,) = await desk.claim(at=NOW + HOUR, limit=1)
    assert first.job.id != kept.id
    (now,) = await desk.claim(at=NOW + 23 * HOUR, limit=1)
    assert (now.job.id, now.due.lane) == (kept.id, NEAR_DELETION)
    await desk.settle(now, RUNNING, at=NOW + 23 * HOUR)
    assert [one.lane for one in (await desk.store.record(kept.id)).due] == [NEAR_DELETION]


async def test_what_is_near_its_deletion_does_not_hold_up_the_rest(desk: Desk) -> None:
    """Of four looks one goes to what has waited longest, also where one is taken at a time."""
    for n in range(30):
        await desk.submitted(
            remote_id=f"u{n}", created_at=NOW, keep_ms=DAY, keep_from="submission", deadline_at=NOW + 9 * DAY
        )
    waiting = [
        await desk.submitted(remote_id=f"r{n}", created_at=NOW - HOUR + n, deadline_at=NOW + 9 * DAY)
        for n in range(3)
    ]
    taken: list[str] = []
    for turn in range(12):
        taken += [one.job.id for one in await desk.claim(at=NOW + 23 * HOUR, limit=1, turn=turn)]
    assert [taken[place] for place in (3, 7, 11)] == [one.id for one in waiting]


async def test_a_callback_moves_its_job_to_the_front(desk: Desk) -> None:
    """A look that a callback asks for waits for none that the clock asks for; once it was followed, the clock rules."""
    for n in range(20):
        await desk.submitted("waker", remote_id=f"r{n}", created_at=NOW - DAY)
    called = await desk.submitted("waker", remote_id="called", created_at=NOW)
    await desk.call(called, {}, at=NOW + MINUTE)
    (claimed,) = await desk.claim(at=NOW + MINUTE, provider="waker", limit=1)
    assert (claimed.job.id, claimed.due.lane) == (called.id, AWAITED)
    await desk.settle(claimed, RUNNING, at=NOW + MINUTE + FOLLOWED)
    assert [one.lane for one in (await desk.store.record(called.id)).due] == [ROUTINE]


async def test_a_claim_reads_what_it_takes(desk: Desk) -> None:
    """However much is due, the rows that a claim reads are bounded by what it takes."""
    for n in range(400):
        await desk.submitted(
            remote_id=f"r{n}", created_at=NOW + n, keep_ms=DAY, keep_from="submission", deadline_at=NOW + DAY
        )
    opened = transactions(desk.store.driver, "write")
    for at in (NOW + HOUR, NOW + 24 * HOUR):
        assert len(await desk.claim(at=at, limit=3)) == 3
    assert len(opened) == 2
    assert desk.count("due", f"lane = {NEAR_DELETION}") <= 64


async def test_the_providers_of_what_is_due_are_found(desk: Desk) -> None:
    """Each once, in whichever lane something of theirs is due."""
    assert await desk.store.due_providers(now=NOW) == []
    for provider in ("acme", "waker", "wide"):
        for n in range(3):
            await desk.submitted(provider, remote_id=f"r{n}")
    assert await desk.store.due_providers(now=NOW) == []
    assert await desk.store.due_providers(now=NOW + MINUTE) == ["acme", "waker", "wide"]
    wished = await desk.submitted(remote_id="r9")
    await desk.store.cancel(wished.id, now=NOW + 1)
    assert await desk.store.due_providers(now=NOW + 1) == ["acme"]
    assert await desk.store.open_providers() == ["acme", "waker", "wide"]
