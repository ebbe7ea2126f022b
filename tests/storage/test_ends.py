"""How jobs end by a look, by a clock, or late: what is stored, dispatched, and looked at from then on."""

import pytest

from receiver.core.asking.exchange import Gone, Pending, Seen
from receiver.core.handler import HandlerSpec
from receiver.core.job.looking import Finding, Lost, Unanswered
from receiver.core.model import DAY, HOUR, MINUTE, JobState, Observation, Source, Step
from receiver.storage.claims import LookClaim
from receiver.storage.united import LATE
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk, held_in

SUCCESS = Observation(state=JobState.SUCCEEDED)
RUNNING = Observation(state=JobState.RUNNING, remote_id="r1")


async def test_a_lost_result_is_the_end(desk: Desk) -> None:
    """A used single-use address without a fresh one: expired, with its own code."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await desk.submitted()
    move = await desk.look(Lost(), at=NOW + MINUTE)
    assert move is not None
    assert move.job.error is not None
    assert (move.job.state, move.job.error.code) == (JobState.EXPIRED, "result_lost")
    assert len((await desk.store.record(one.id)).dispatches) == 1


async def test_a_404_ends_only_what_had_succeeded(desk: Desk) -> None:
    """Before a success it means to look again later; after it that the result is gone, once it was said for long."""
    one = await desk.submitted()
    assert await desk.look(Gone(status=404), at=NOW + MINUTE) is None
    assert [d.run_at for d in (await desk.store.record(one.id)).due] == [NOW + 2 * MINUTE]
    at = NOW + 2 * MINUTE
    await desk.call(one, {"status": "done", "result_url": "https://api.acme.example/r"}, at=at)
    for n in range(2):
        assert await desk.look(Gone(status=404), at=at + n * MINUTE) is None
        (due,) = (await desk.store.record(one.id)).due
        # The next look asks the provider for another address.
        assert (due.result_url, due.doubt_since, due.failures) == (None, at, n + 1)
    move = await desk.look(Gone(status=404), at=at + 2 * MINUTE)
    assert move is not None
    assert move.job.state is JobState.EXPIRED
    assert [a.outcome for a in (await desk.store.record(one.id)).attempts].count("looked") == 3


@pytest.mark.parametrize("found", [Gone(status=404), Unanswered(code="status_503")])
async def test_without_another_address_to_ask_for_the_one_that_failed_is_kept(
    desk: Desk, found: Finding
) -> None:
    """A provider that is not polled named it in its callback, and names no other."""
    one = await desk.submitted()
    await desk.call(one, {"status": "done", "result_url": "https://api.acme.example/r"})
    (claimed,) = await desk.claim(at=NOW + 1)
    await desk.settle(claimed, found, at=NOW + 1, renewable=False)
    (again,) = await desk.claim(at=NOW + HOUR)
    assert again.due.result_url == claimed.due.result_url == "https://api.acme.example/r"


async def test_the_deadline_dispatches(desk: Desk) -> None:
    """A job that was asked about without a word is timed out, handlers hear of it, and it is looked at rarely."""
    await desk.register(HandlerSpec(name="h", state="timed_out"))
    one = await desk.submitted()
    assert await desk.look(Pending(), at=NOW + MINUTE) is None
    move = await desk.look(Pending(), at=one.deadline_at)
    assert move is not None
    assert (move.job.state, move.job.settled_by) == (JobState.TIMED_OUT, Source.DEADLINE)
    record = await desk.store.record(one.id)
    assert len(record.dispatches) == 1
    assert [(due.step, due.run_at) for due in record.due] == [(Step.LOOK, one.deadline_at + 10 * MINUTE)]
    assert [(a.step, a.code) for a in record.attempts if a.step == "deadline"] == [
        ("deadline", "deadline_passed")
    ]
    # It is nothing open: no description and no key is needed for it.
    assert await desk.store.open_providers() == []
    assert (await desk.store.counts(now=NOW))["callbacks_overdue"] == {}


async def test_a_silent_provider_is_asked_again_before_the_deadline_counts(desk: Desk) -> None:
    """For ten minutes from the first question at the deadline on, which the record remembers."""
    one = await desk.submitted()
    at = one.deadline_at + 3 * DAY
    for n in range(3):
        assert await desk.look(Unanswered(code="no_answer"), at=at + n * MINUTE) is None
    (due,) = (await desk.store.record(one.id)).due
    assert (due.doubt_since, due.failures) == (at, 3)
    move = await desk.look(Unanswered(code="no_answer"), at=at + 10 * MINUTE)
    assert move is not None
    assert move.job.state is JobState.TIMED_OUT


async def test_a_late_look_finds_the_outcome(desk: Desk) -> None:
    """Nobody called: the rare look at a job that timed out hears of it, and handlers do, once."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await desk.submitted(keep_ms=DAY)
    await desk.look(Pending(), at=one.deadline_at)
    at = one.deadline_at + 10 * MINUTE
    await desk.look(Seen(seen=RUNNING), at=at)
    (claimed,) = await desk.claim(at=at + 15 * MINUTE)
    finding = Seen(seen=SUCCESS, held=held_in(b"1", claimed.due.attempt), content=b"1")
    move = await desk.settle(claimed, finding, at=at + 15 * MINUTE)
    assert move is not None
    assert (move.completed, move.late, move.job.settled_by) == (True, True, Source.POLL)
    assert desk.count("due") == 0
    assert sorted(d.replay_id for d in (await desk.store.record(one.id)).dispatches) == ["", LATE]


@pytest.mark.parametrize("state", [JobState.TIMED_OUT, JobState.EXPIRED])
async def test_a_person_may_have_ended_jobs_looked_at(desk: Desk, state: JobState) -> None:
    """When nothing is planned any more, too; what is found replaces the end that no provider told us, once."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await desk.submitted()
    if state is JobState.TIMED_OUT:
        await desk.look(Pending(), at=one.deadline_at)
        with desk.store.driver.write() as tx:
            tx.run("DELETE FROM due")
    else:
        await desk.look(Lost(), at=NOW + MINUTE)
    wish = LookClaim(job_id=one.id, owner="person", lease_ms=LEASE, now=NOW + 30 * DAY)
    claimed = await desk.store.claim_look(wish)
    assert claimed is not None
    assert await desk.store.claim_look(wish) is None
    await desk.settle(claimed, Seen(seen=RUNNING), at=NOW + 30 * DAY)
    assert desk.count("due") == 0
    claimed = await desk.store.claim_look(wish)
    assert claimed is not None
    where = Observation(state=JobState.SUCCEEDED, result_url="https://api.acme.example/r")
    await desk.settle(claimed, Seen(seen=where), at=NOW + 30 * DAY)
    claimed = await desk.store.claim_look(wish)
    assert claimed is not None
    assert claimed.due.result_url == where.result_url
    move = await desk.settle(
        claimed, Seen(seen=SUCCESS, held=held_in(b"1", claimed.due.attempt)), at=NOW + 30 * DAY
    )
    assert move is not None
    assert (move.job.state, move.job.error) == (JobState.SUCCEEDED, None)
    assert await desk.store.claim_look(wish) is None
    assert sorted(d.replay_id for d in (await desk.store.record(one.id)).dispatches) == ["", LATE]


async def test_nobody_looks_at_what_ended_by_the_providers_word(desk: Desk) -> None:
    """A person who asks is told that there is nothing to look at."""
    one = await desk.submitted()
    await desk.call(one, DONE)
    assert await desk.store.claim_look(LookClaim(job_id=one.id, owner="p", lease_ms=LEASE, now=NOW)) is None
    assert desk.count("due") == 0


async def test_a_late_outcome_is_dispatched_once_more(desk: Desk) -> None:
    """After a time-out one later outcome replaces it, with dispatches of its own; a second one does not."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await desk.submitted()
    await desk.look(Pending(), at=one.deadline_at)
    assert (await desk.call(one, DONE, at=one.deadline_at + 1)).completed
    assert not (await desk.call(one, {"status": "error"}, at=one.deadline_at + 2)).completed
    record = await desk.store.record(one.id)
    assert record.job.state is JobState.SUCCEEDED
    assert sorted(d.replay_id for d in record.dispatches) == ["", LATE]


async def test_a_late_wake_up_is_followed_for_minutes(desk: Desk) -> None:
    """The provider's answer decides; if it lags behind its own call it is asked again, and then rarely as before."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await desk.submitted("waker", keep_ms=HOUR)
    late = one.deadline_at
    await desk.look(Pending(), at=late, provider="waker")
    assert (await desk.call(one, {}, at=late + 1)).look
    await desk.look(Unanswered(code="x"), at=late + 1, provider="waker")
    await desk.look(Seen(seen=RUNNING), at=late + 2 * MINUTE, provider="waker")
    assert (await desk.store.job(one.id)).woken_by is not None
    await desk.look(Seen(seen=RUNNING), at=late + 2 * HOUR, provider="waker")
    record = await desk.store.record(one.id)
    assert (record.due, record.job.woken_by, record.job.state) == ([], None, JobState.TIMED_OUT)
    assert (await desk.call(one, {}, at=late + 2 * HOUR)).look
    seen = Observation(state=JobState.SUCCEEDED, result_url="https://api.acme.example/r")
    await desk.look(Seen(seen=seen), at=late + 2 * HOUR, provider="waker")
    (claimed,) = await desk.claim(at=late + 2 * HOUR, provider="waker")
    assert claimed.due.result_url == seen.result_url
    move = await desk.settle(
        claimed, Seen(seen=SUCCESS, held=held_in(b"1", claimed.due.attempt)), at=late + 3 * HOUR
    )
    assert move is not None
    assert (move.completed, move.late, move.job.settled_by) == (True, True, Source.CALLBACK)
    assert desk.count("dispatch") == 2


async def test_a_provider_that_never_answers_a_late_look_is_given_up(desk: Desk) -> None:
    """Past the retention nobody asks about a job that timed out."""
    one = await desk.submitted("waker", keep_ms=DAY)
    await desk.look(Pending(), at=one.deadline_at, provider="waker")
    await desk.call(one, {}, at=one.deadline_at + 1)
    await desk.look(Unanswered(code="x"), at=one.deadline_at + DAY - 1, provider="waker")
    assert desk.count("due") == 1
    await desk.look(Unanswered(code="x"), at=one.deadline_at + 2 * DAY, provider="waker")
    assert desk.count("due") == 0
