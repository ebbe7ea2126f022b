"""A job that was made of a callback, and the caller's job that it is: one job, one completion."""

import asyncio
from collections.abc import Mapping

import pytest

from receiver.core.asking.exchange import Pending, Seen
from receiver.core.errors import ConflictError, NotFoundError
from receiver.core.handler import HandlerSpec
from receiver.core.model import DAY, HOUR, MINUTE, Job, JobState, Observation, Source
from receiver.storage import spent
from receiver.storage.records import Link
from receiver.storage.retention import Prune
from receiver.storage.united import LATE
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk, held_in

ACCEPTED = Observation(state=JobState.SUBMITTED, remote_id="r1")
SUCCESS = Observation(state=JobState.SUCCEEDED)


async def orphan(desk: Desk, **changes: object) -> Job:
    """A caller's job whose submission nobody answered."""
    return await desk.answer(await desk.submit("wide", metadata={"order": 7}, **changes))


async def adopted(desk: Desk, document: Mapping[str, object] = DONE, *, at: int = NOW + MINUTE) -> Job:
    """The job that is made of its event."""
    receipt = await desk.call_wide({**document, "id": "r1"}, at=at)
    assert receipt.job_id is not None
    return await desk.store.job(receipt.job_id)


def link(one: Job, remote_id: str = "r1", *, at: int = NOW + HOUR) -> Link:
    """What a person knows of a job."""
    return Link(job_id=one.id, provider=one.provider, remote_id=remote_id, now=at)


async def test_what_was_asked_once_for_one_is_not_asked_for_the_other(desk: Desk) -> None:
    """The job that was made of a callback asked a single-use address, and turns out to be the caller's."""
    url = "https://api.wide.example/once"
    one = await orphan(desk)
    other = await adopted(desk, {"status": "done", "result_url": url})
    (claimed,) = await desk.claim(at=NOW + HOUR, provider="wide")
    assert claimed.job.id == other.id
    assert await desk.store.spend(claimed.due, url)
    assert (await desk.store.link(link(one))).id == one.id
    assert await desk.store.read(spent.asked, one.id, url)
    assert desk.count("spent") == 1


async def test_handlers_that_were_called_are_not_called_again(desk: Desk) -> None:
    """The older keeps its id and metadata, and takes outcome, callbacks and timeline; the other's id leads to it."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await orphan(desk)
    other = await adopted(desk)
    ((dispatch, _),) = await desk.work("h", at=NOW + MINUTE)
    assert await desk.finish(dispatch, at=NOW + MINUTE)
    assert (await desk.store.link(link(one))).state is JobState.SUCCEEDED
    record = await desk.store.record(one.id)
    assert (record.job.remote_id, record.job.metadata, record.job.settled_by) == (
        "r1",
        {"order": 7},
        Source.CALLBACK,
    )
    assert await desk.store.result(record.job) == b'{"a": 1}'
    assert (record.dispatches, record.due) == ([], [])
    assert [callback.job_id for callback in record.callbacks] == [one.id]
    assert {"adopted", "succeeded", "linked", "united"} <= {attempt.outcome for attempt in record.attempts}
    assert desk.count("job") == 1
    assert (await desk.store.job(other.id)).id == (await desk.store.record(other.id)).job.id == one.id
    assert await desk.store.resolve(other.id) == one.id
    # A redelivery is one of the same job.
    again = await desk.call_wide(DONE | {"id": "r1"}, at=NOW + 2 * HOUR)
    assert (again.job_id, again.completed, (await desk.store.job(one.id)).callbacks) == (one.id, False, 2)
    assert len((await desk.store.record(one.id)).callbacks) == 2


async def test_handlers_that_are_still_to_be_called_see_the_callers_job(desk: Desk) -> None:
    """Once, with its id and metadata; here it is the repeated submission that tells the name."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await desk.submit("wide", metadata={"order": 7})
    with desk.store.driver.write() as tx:
        tx.run("DELETE FROM due")
    await adopted(desk)
    after = await desk.answer(one, seen=ACCEPTED, at=NOW + 2 * MINUTE)
    assert (after.id, after.state, after.submission) == (one.id, JobState.SUCCEEDED, "sent")
    ((dispatch, job),) = await desk.work("h", at=NOW + 2 * MINUTE)
    assert (dispatch.job_id, job.id, job.metadata) == (one.id, one.id, {"order": 7})


async def test_a_handler_that_runs_meanwhile_is_let_finish(desk: Desk) -> None:
    """Its lease is kept alive and its end is recorded, although its job has another id by now."""
    await desk.register("h")
    one = await orphan(desk)
    other = await adopted(desk)
    (running,) = await desk.work("h", at=NOW + MINUTE)
    await desk.store.link(link(one, at=NOW + MINUTE))
    await desk.beat(running, at=NOW + 2 * MINUTE)
    assert await desk.work("h", at=NOW + 2 * MINUTE + LEASE - 1) == []
    assert running[0].job_id == other.id
    assert await desk.finish(running[0], at=NOW + 3 * MINUTE)
    record = await desk.store.record(one.id)
    assert record.dispatches == []
    assert [a.handler for a in record.attempts if a.step == "dispatch"] == ["h"]
    assert await desk.work("h", at=NOW + DAY) == []


async def test_a_result_that_was_fetched_comes_along(desk: Desk) -> None:
    """Its chunks are the older job's, and a look at the younger that is under way settles nothing."""
    one = await orphan(desk)
    await adopted(desk, {"status": "done"})
    (claimed,) = await desk.claim(at=NOW + MINUTE, provider="wide")
    found = Seen(seen=SUCCESS, held=held_in(b"fetched", claimed.due.attempt), content=b"fetched")
    await desk.settle(claimed, found, at=NOW + MINUTE)
    await desk.store.link(link(one))
    assert await desk.store.result(await desk.store.job(one.id)) == b"fetched"
    assert await desk.settle(claimed, found, at=NOW + HOUR) is None
    assert desk.count("result_chunk") == 1


async def test_a_result_that_waits_is_fetched_under_the_older_name(desk: Desk) -> None:
    """From the address that the callback named, at once."""
    one = await orphan(desk)
    other = await adopted(desk, {"status": "done", "result_url": "https://api.acme.example/r"})
    (claimed,) = await desk.claim(at=NOW + MINUTE, provider="wide")
    assert claimed.job.id == other.id
    await desk.store.link(link(one))
    assert await desk.settle(claimed, Pending(), at=NOW + HOUR) is None
    (claimed,) = await desk.claim(at=NOW + HOUR, provider="wide")
    assert (claimed.job.id, claimed.job.state) == (one.id, JobState.FETCHING)
    assert claimed.due.result_url == "https://api.acme.example/r"
    assert desk.count("due") == 1


@pytest.mark.parametrize("handled", ["before", "after"])
async def test_two_results_of_one_job_are_one_completion(desk: Desk, handled: str) -> None:
    """The job's own callback brings another result than the event did: the first stands, and is handled once."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await orphan(desk)
    await adopted(desk)
    if handled == "before":
        ((dispatch, _),) = await desk.work("h", at=NOW + MINUTE)
        assert await desk.finish(dispatch, at=NOW + MINUTE)
    own = {**DONE, "id": "r1", "result": {"b": 2}}
    receipt = await desk.call(one, own, at=NOW + 2 * MINUTE)
    assert (receipt.job_id, receipt.completed) == (one.id, False)
    if handled == "after":
        ((dispatch, job),) = await desk.work("h", at=NOW + 3 * MINUTE)
        assert (job.id, job.metadata) == (one.id, {"order": 7})
        assert await desk.finish(dispatch, at=NOW + 3 * MINUTE)
    assert await desk.work("h", at=NOW + DAY) == []
    record = await desk.store.record(one.id)
    assert (record.job.state, record.job.callbacks) == (JobState.SUCCEEDED, 2)
    assert await desk.store.result(record.job) == b'{"a": 1}'
    assert desk.count("job") == desk.count("completion") + desk.count("unplaced") == 1


async def test_what_comes_out_after_a_time_out_is_late(desk: Desk) -> None:
    """The caller's job had timed out, which handlers heard; the outcome that came under another id is told as late."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await orphan(desk)
    await desk.look(Pending(), at=one.deadline_at, provider="wide")
    await adopted(desk, at=one.deadline_at + 1)
    await desk.store.link(link(one, at=one.deadline_at + 2))
    record = await desk.store.record(one.id)
    assert record.job.state is JobState.SUCCEEDED
    assert sorted(dispatch.replay_id for dispatch in record.dispatches) == ["", LATE]


async def test_a_name_can_be_told_only_where_none_is_known(desk: Desk) -> None:
    """Not to a job that has one, that has ended, or that of another submission; said again, it changes nothing."""
    named = await desk.submitted("wide", remote_id="r9")
    one = await orphan(desk)
    for job, remote_id, code in ((named, "r1", "remote_id_known"), (one, "r9", "remote_id_taken")):
        with pytest.raises(ConflictError) as refusal:
            await desk.store.link(link(job, remote_id))
        assert refusal.value.code == code
    refused = await desk.answer(await desk.submit("wide"), refused=None)
    await desk.store.link(link(refused, "r2"))
    known = await desk.store.job(refused.id)
    assert (known.remote_id, known.state) == ("r2", JobState.SUBMITTED)
    assert [due.run_at for due in (await desk.store.record(refused.id)).due] == [NOW + HOUR]
    assert (await desk.store.link(link(refused, "r2"))).id == refused.id
    assert [one.outcome for one in (await desk.store.record(refused.id)).attempts].count("linked") == 1
    with pytest.raises(NotFoundError):
        await desk.store.link(Link(job_id="job_" + "0" * 32, provider="wide", remote_id="r1", now=NOW))


async def test_a_mark_tells_whose_job_an_event_is_about(desk: Desk) -> None:
    """No second job is made; one that is somebody else's, or has another name, is not believed."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await orphan(desk)
    receipt = await desk.call_wide(DONE | {"id": "r1", "mark": one.id}, at=NOW + MINUTE)
    assert (receipt.job_id, receipt.completed) == (one.id, True)
    assert (await desk.store.job(one.id)).remote_id == "r1"
    assert desk.count("job") == 1
    ((_, job),) = await desk.work("h", at=NOW + MINUTE)
    assert job.metadata == {"order": 7}
    for mark in (one.id, "job_" + "0" * 32, "mine"):
        other = await desk.call_wide(DONE | {"id": f"r-{mark}", "mark": mark}, at=NOW + 2 * MINUTE)
        assert other.job_id != one.id


async def test_a_mark_in_an_answer_tells_whose_job_it_is(desk: Desk) -> None:
    """The event says only the provider's id; what it answers about the job that was made of it names the caller's."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await orphan(desk)
    other = await adopted(desk, {"status": "done"})
    (claimed,) = await desk.claim(at=NOW + MINUTE, provider="wide")
    seen = Observation(state=JobState.SUCCEEDED, remote_id="r1", mark=one.id)
    found = Seen(seen=seen, held=held_in(b"1", claimed.due.attempt), content=b"1")
    assert await desk.settle(claimed, found, at=NOW + MINUTE) is None
    assert (await desk.store.job(other.id)).id == one.id
    assert desk.count("dispatch") == 0
    (claimed,) = await desk.claim(at=NOW + MINUTE, provider="wide")
    assert claimed.job.id == one.id
    found = Seen(seen=seen, held=held_in(b"1", claimed.due.attempt), content=b"1")
    move = await desk.settle(claimed, found, at=NOW + MINUTE)
    assert move is not None
    assert (move.job.id, move.completed) == (one.id, True)
    assert (desk.count("dispatch"), desk.count("result_chunk")) == (1, 1)


async def test_callbacks_of_one_commit_come_together(desk: Desk) -> None:
    """The event and the callback that names its job, in one transaction and in either order."""
    await desk.register(HandlerSpec(name="h", state="any"))
    for number in range(10):
        at = NOW + number * DAY
        one = await desk.answer(await desk.submit("wide", created_at=at), at=at)
        name = {"id": f"r{number}"}
        calls = [
            desk.call(one, {"status": "working"} | name, at=at + 1),
            desk.call_wide(DONE | name, at=at + 1),
        ]
        await asyncio.gather(*(reversed(calls) if number % 2 else calls))
        record = await desk.store.record(one.id)
        assert (record.job.state, record.job.callbacks, len(record.callbacks)) == (JobState.SUCCEEDED, 2, 2)
        assert len(record.dispatches) == 1
    assert desk.count("job") == 10


async def test_orphans_are_listed_beside_what_came_of_nobodys(desk: Desk) -> None:
    """Those that nobody can name, with the jobs that callbacks made of the same provider in their time."""
    one = await orphan(desk)
    other = await adopted(desk)
    await desk.submitted("wide", remote_id="r5")
    (found,) = await desk.store.orphans(since=NOW - DAY)
    assert (found.job.id, [each.id for each in found.adopted]) == (one.id, [other.id])
    assert await desk.store.orphans(since=NOW + DAY) == []
    await desk.store.link(link(one))
    assert await desk.store.orphans(since=NOW - DAY) == []


async def test_what_leads_to_a_job_is_pruned_with_it(desk: Desk) -> None:
    """Nothing of either is left."""
    one = await orphan(desk)
    other = await adopted(desk)
    await desk.store.link(link(one))
    await desk.store.prune(Prune(before=NOW + 20 * DAY, now=NOW + 30 * DAY))
    assert (desk.count("united"), desk.count("job"), desk.count("callback")) == (0, 0, 0)
    with pytest.raises(NotFoundError):
        await desk.store.job(other.id)
