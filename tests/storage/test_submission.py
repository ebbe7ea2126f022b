"""A job is recorded before it is submitted, and its answer exactly as it came."""

import asyncio

import pytest
from msgspec.structs import replace

from receiver.core.errors import ConflictError, NotFoundError
from receiver.core.model import DAY, HOUR, MINUTE, Failure, JobState, Observation, Source, Step
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk, held_in, new_job


async def test_job_submission_and_lease_are_one_commit(desk: Desk) -> None:
    """Before anything is sent there is the job, what is to be sent, and a lease on sending it."""
    one = await desk.submit(request=b'{"q": 1}', metadata={"topic": "tea"}, key="k1")
    record = await desk.store.record(one.id)
    assert record.job == one
    assert record.job.metadata == {"topic": "tea"}
    assert record.submission is not None
    assert (record.submission.request, record.submission.idempotency_key) == (b'{"q": 1}', "k1")
    assert record.due == [desk.sending(one)]
    assert await desk.claim(at=NOW + LEASE - 1) == []


async def test_the_same_key_and_request_is_the_same_job(desk: Desk) -> None:
    """A repeated order gets the job that there is, with its metadata, and nothing is recorded."""
    one = await desk.submit(key="k1", metadata={"topic": "tea"})
    again, created = await desk.store.submit(new_job(key="k1"))
    assert (again, created) == (one, False)
    assert desk.count("job") == desk.count("submission") == desk.count("due") == 1


async def test_the_same_key_for_another_request_is_refused(desk: Desk) -> None:
    """Nothing is recorded for it."""
    await desk.submit(key="k1")
    with pytest.raises(ConflictError) as refused:
        await desk.store.submit(new_job(key="k1", request=b'{"other": 1}'))
    assert refused.value.code == "idempotency_key_reused"
    assert desk.count("job") == 1


async def test_one_key_at_once_makes_one_job(desk: Desk) -> None:
    """Fifty orders with one key, at the same moment: one job; those with another request are refused."""
    orders = [new_job(key="k1", request=b"{}" if n % 2 else b"[]") for n in range(50)]
    answers = await asyncio.gather(*map(desk.store.submit, orders), return_exceptions=True)
    taken = [one for one in answers if not isinstance(one, BaseException)]
    assert sum(created for _, created in taken) == 1
    assert len({one.id for one, _ in taken}) == 1
    assert sum(isinstance(one, ConflictError) for one in answers) == 25
    assert desk.count("job") == desk.count("submission") == desk.count("due") == 1


async def test_orders_without_a_key_are_jobs_of_their_own(desk: Desk) -> None:
    """Nothing but the key makes two orders one."""
    await asyncio.gather(*(desk.submit() for _ in range(50)))
    assert desk.count("job") == 50


async def test_an_accepted_submission_is_looked_at_next(desk: Desk) -> None:
    """The id and the addresses are stored; the row for sending gives way to one for looking."""
    one = await desk.submit()
    seen = Observation(state=JobState.SUBMITTED, remote_id="r1", response_url="https://api.acme.example/r1")
    after = await desk.answer(one, seen=seen, at=NOW + 5, answer_status=202, answer_body=b"ok\xff")
    assert (after.state, after.remote_id, after.submission) == (JobState.SUBMITTED, "r1", "sent")
    assert (after.submitted_at, after.response_url) == (NOW + 5, seen.response_url)
    record = await desk.store.record(one.id)
    assert record.submission is not None
    assert (record.submission.answer_status, record.submission.answer_body) == (202, b"ok\xff")
    (due,) = record.due
    assert (due.step, due.run_at, due.owner) == (Step.LOOK, NOW + 5 + MINUTE, None)


async def test_an_address_in_the_submit_answer_is_not_forgotten(desk: Desk) -> None:
    """A provider that answers at once where the result is has it fetched from there at once."""
    one = await desk.submit()
    seen = Observation(state=JobState.SUCCEEDED, remote_id="r1", result_url="https://api.acme.example/r")
    assert (await desk.answer(one, seen=seen)).state is JobState.FETCHING
    (due,) = (await desk.store.record(one.id)).due
    assert (due.step, due.run_at, due.result_url) == (Step.LOOK, NOW, seen.result_url)


async def test_a_result_in_the_submit_answer_is_the_end(desk: Desk) -> None:
    """It is stored and dispatched in the same commit."""
    await desk.register("h")
    one = await desk.submit()
    seen = Observation(state=JobState.SUCCEEDED, remote_id="r1")
    after = await desk.answer(one, seen=seen, held=held_in(b"result", 0), content=b"result")
    assert (after.state, after.settled_by) == (JobState.SUCCEEDED, Source.SUBMIT)
    assert await desk.store.result(after) == b"result"
    record = await desk.store.record(one.id)
    assert record.due == []
    assert len(record.dispatches) == 1


async def test_a_refused_submission_is_the_end(desk: Desk) -> None:
    """The job failed with the provider's words."""
    one = await desk.submit()
    after = await desk.answer(one, refused=Failure(code="submission_refused_400", text="no credit"))
    assert (after.state, after.error) == (
        JobState.FAILED,
        Failure(code="submission_refused_400", text="no credit"),
    )
    assert (await desk.store.record(one.id)).due == []


async def test_a_submission_that_did_not_arrive_is_tried_again(desk: Desk) -> None:
    """It comes back at its time, and not as somebody's lapsed lease: nobody can have been heard."""
    one = await desk.submit()
    await desk.answer(one, retry_at=NOW + 9_000)
    assert await desk.claim(at=NOW + 8_999) == []
    (claimed,) = await desk.claim(at=NOW + 9_000)
    assert (claimed.due.attempt, claimed.due.failures, claimed.lapsed) == (2, 1, False)


async def test_a_lapsed_submission_says_so(desk: Desk) -> None:
    """Whoever takes over learns that it may have been sent, also after a restart that gives leases back."""
    one = await desk.submit()
    await desk.store.release_all(now=NOW + 1)
    (claimed,) = await desk.claim(at=NOW + 1, owner="other")
    assert (claimed.job.id, claimed.lapsed) == (one.id, True)
    (again,) = await desk.claim(at=NOW + 1 + LEASE, owner="third")
    assert again.lapsed


async def test_an_order_that_was_held_is_whoever_comes_first_s(desk: Desk) -> None:
    """Nobody has sent it, so nobody may have been heard, whether or not it was recorded before; it is free once."""
    absent = replace(new_job(), again=True, free=True)
    present = replace(absent, job=await desk.submit(created_at=NOW))
    for held in (absent, present):
        assert (await desk.store.submit(held))[1]
    for held in (absent, present):
        assert not (await desk.store.submit(held))[1]
    found = {(one.job.id, one.due.attempt, one.lapsed) for one in await desk.claim(at=NOW, owner="other")}
    assert found == {(one.job.id, 1, False) for one in (absent, present)}
    for held in (absent, present):
        assert not (await desk.store.submit(held))[1]
    assert await desk.claim(at=NOW) == []


async def test_a_start_takes_no_submission_from_a_command(desk: Desk) -> None:
    """A command that waits for an answer keeps its lease; what a serving process held before is given back."""
    await desk.register()
    kept, given = await desk.submit(), await desk.submit()
    with desk.store.driver.write() as tx:
        tx.update("due", "owner", [("command/submit", kept.id), ("n/submit", given.id)], key="job_id")
    await desk.store.release_all(now=NOW + 1)
    (claimed,) = await desk.claim(at=NOW + 1, owner="other")
    assert (claimed.job.id, claimed.lapsed) == (given.id, True)
    (lapsed,) = await desk.claim(at=NOW + 1 + LEASE, owner="other", limit=1)
    assert lapsed.lapsed


async def test_an_unknown_outcome_waits_for_the_deadline(desk: Desk) -> None:
    """Nothing is sent again; the job is looked at when its deadline passes, unless its id became known."""
    one = await desk.submit()
    after = await desk.answer(one)
    assert (after.state, after.submission) == (JobState.SUBMITTING, "unknown")
    (due,) = (await desk.store.record(one.id)).due
    assert (due.step, due.run_at) == (Step.LOOK, one.deadline_at)
    known = await desk.submit()
    await desk.call(known, {"status": "working", "id": "r2"})
    await desk.answer(known)
    assert [d.run_at for d in (await desk.store.record(known.id)).due] == [NOW + MINUTE]


async def test_a_refusal_of_a_job_that_runs_leaves_it_somebody_who_moves_it_on(desk: Desk) -> None:
    """A callback said that it runs, the answer says refused: the job is not forgotten, its wait ends."""
    one = await desk.submit()
    await desk.call(one, {"status": "working", "id": "r1"})
    after = await desk.answer(one, refused=Failure(code="submission_refused_409"))
    assert (after.state, after.submission) == (JobState.RUNNING, "refused")
    (due,) = (await desk.store.record(one.id)).due
    assert (due.step, due.run_at) == (Step.LOOK, NOW + MINUTE)


async def test_an_acceptance_counts_after_its_lease_lapsed(desk: Desk) -> None:
    """It is how the remote id is learned; a late refusal or silence of the same sender settles nothing."""
    one = await desk.submit()
    (taken,) = await desk.claim(at=NOW + LEASE, owner="other")
    late = await desk.answer(one, refused=Failure(code="submission_refused_400"))
    assert late.state is JobState.SUBMITTING
    assert (await desk.answer(one)).submission == "sending"
    assert (await desk.answer(one, retry_at=NOW)).submission == "sending"
    after = await desk.answer(one, seen=Observation(state=JobState.SUBMITTED, remote_id="r1"))
    assert (after.state, after.remote_id) == (JobState.SUBMITTED, "r1")
    # The other one's own outcome comes too late then.
    other = await desk.answer(one, due=taken.due, refused=Failure(code="x"))
    assert other.state is JobState.SUBMITTED


async def test_a_callback_before_the_answer_is_not_undone_by_it(desk: Desk) -> None:
    """The early outcome is the job's; the answer adds that it was sent, and overwrites no stored result."""
    await desk.register("h")
    one = await desk.submit()
    assert (await desk.call(one, DONE)).completed
    seen = Observation(state=JobState.SUCCEEDED, remote_id="r1")
    after = await desk.answer(one, seen=seen, held=held_in(b"other", 0), content=b"other")
    assert (after.state, after.settled_by, after.submission) == (JobState.SUCCEEDED, Source.CALLBACK, "sent")
    assert await desk.store.result(after) == b'{"a": 1}'
    assert desk.count("dispatch") == 1
    assert desk.count("due") == desk.count("result_chunk") == 0


async def test_another_id_in_the_answer_than_in_the_callback_is_noted(desk: Desk) -> None:
    """The first one stays, and the timeline shows the contradiction."""
    one = await desk.submit()
    await desk.call(one, {"status": "working", "id": "r1"})
    after = await desk.answer(one, seen=Observation(state=JobState.SUBMITTED, remote_id="r2"))
    assert after.remote_id == "r1"
    assert "remote_id_conflict" in [a.code for a in (await desk.store.record(one.id)).attempts]


async def test_a_cancellation_is_sent_once_the_id_is_known(desk: Desk) -> None:
    """The wish is recorded at once and waits for the submit answer; wished twice, it is sent once."""
    one = await desk.submit()
    assert (await desk.store.cancel(one.id, now=NOW + 1)).cancel_requested_at == NOW + 1
    assert (await desk.store.cancel(one.id, now=NOW + 2)).cancel_requested_at == NOW + 1
    assert [d.step for d in (await desk.store.record(one.id)).due] == [Step.SUBMIT]
    await desk.answer(one, seen=Observation(state=JobState.SUBMITTED, remote_id="r1"))
    assert {d.step for d in (await desk.store.record(one.id)).due} == {Step.CANCEL, Step.LOOK}
    (claimed,) = await desk.claim(at=NOW)
    assert claimed.due.step is Step.CANCEL


async def test_giving_up_by_hand_ends_a_job_once(desk: Desk) -> None:
    """It is timed out, dispatched and looked at rarely like any other of these; a second time changes nothing."""
    one = await desk.submitted()
    assert (await desk.store.abandon(one.id, now=NOW)).state is JobState.TIMED_OUT
    assert (await desk.store.abandon(one.id, now=NOW + HOUR)).ended_at == NOW
    assert [due.run_at for due in (await desk.store.record(one.id)).due] == [NOW + 10 * MINUTE]
    with pytest.raises(NotFoundError):
        await desk.store.abandon("job_" + "0" * 32, now=NOW)


async def test_only_an_unknown_submission_is_sent_again_by_hand(desk: Desk) -> None:
    """A job that was sent, runs or ended would be billed twice."""
    one = await desk.submit()
    with pytest.raises(ConflictError):
        await desk.store.resubmit(one.id, now=NOW)
    await desk.answer(one)
    assert (await desk.store.resubmit(one.id, now=NOW + DAY)).submission == "sending"
    with pytest.raises(ConflictError):
        await desk.store.resubmit(one.id, now=NOW + DAY)
    claimed = await desk.claim(at=NOW + DAY)
    assert (Step.SUBMIT, False) in [(c.due.step, c.lapsed) for c in claimed]
