"""Callbacks into the record."""

import asyncio
import random

import pytest

from receiver.core.asking.exchange import Pending, Seen
from receiver.core.handler import HandlerSpec
from receiver.core.job.admission import MOST_KEPT, terms_for
from receiver.core.model import DAY, HOUR, MINUTE, JobState, Observation, Source, Step, Verdict
from receiver.storage.arrivals import HOLD, TOKEN_LIFE
from tests.core.making import NOW
from tests.storage.making import ACME, DONE, FAILED, WIDE, Desk, Wish, arrival, callback, held_in, new_job


async def test_a_completion_is_one_commit(desk: Desk) -> None:
    """The callback, the job's end, its result and one dispatch for each handler that wants it."""
    await desk.register(
        "all",
        HandlerSpec(name="acme", provider="acme"),
        HandlerSpec(name="wide", provider="wide"),
        HandlerSpec(name="any", state="any"),
        HandlerSpec(name="failed", state="failed"),
    )
    one = await desk.submitted()
    receipt = await desk.call(one, DONE, at=NOW + 5)
    assert (receipt.verdict, receipt.job_id, receipt.state, receipt.completed) == (
        Verdict.ACCEPTED,
        one.id,
        JobState.SUCCEEDED,
        True,
    )
    record = await desk.store.record(one.id)
    assert (record.job.ended_at, record.job.settled_by) == (NOW + 5, Source.CALLBACK)
    assert [d.handler for d in record.dispatches] == ["acme", "all", "any"]
    assert record.due == []
    assert await desk.store.result(record.job) == b'{"a": 1}'


async def test_a_callback_is_kept_byte_for_byte(desk: Desk) -> None:
    """Method, query, the header list with order, duplicates and odd bytes, and the body."""
    one = await desk.submitted()
    sent = callback(
        ACME, b'{"status": "working"}\r\n \xf0\x9f\x98\x80'.replace(b"\xf0\x9f\x98\x80", b""), job_id=one.id
    )
    await desk.store.ingest(arrival(sent))
    kept = await desk.store.callback(sent.id)
    assert (kept.method, kept.query, kept.headers, kept.body) == (
        sent.method,
        sent.query,
        sent.headers,
        sent.body,
    )
    assert (kept.key_id, kept.received_at, kept.route) == ("k", NOW, "callbacks")


async def test_a_hundred_copies_at_once_complete_once(desk: Desk) -> None:
    """One completion, one dispatch for each handler; the first twenty are kept whole, the rest counted."""
    await desk.register("h1", "h2")
    one = await desk.submitted()
    receipts = await asyncio.gather(*(desk.call(one, DONE, at=NOW + n) for n in range(100)))
    assert sum(r.completed for r in receipts) == 1
    assert {r.verdict for r in receipts} == {Verdict.ACCEPTED, Verdict.DUPLICATE}
    assert sum(r.verdict is Verdict.ACCEPTED for r in receipts) == 1
    assert desk.count("dispatch") == 2
    assert desk.count("callback") == MOST_KEPT
    assert (await desk.store.job(one.id)).callbacks == 100


async def test_copies_at_the_account_wide_address_complete_once(desk: Desk) -> None:
    """Also where the job was nobody's until the first of them came."""
    await desk.register("h")
    receipts = await asyncio.gather(*(desk.call_wide(DONE | {"id": "r9"}, at=NOW + n) for n in range(100)))
    assert len({r.job_id for r in receipts}) == 1
    assert sum(r.completed for r in receipts) == 1
    assert (desk.count("job"), desk.count("dispatch"), desk.count("callback")) == (1, 1, MOST_KEPT)


@pytest.mark.parametrize("first", ["callback", "poll"])
async def test_a_race_of_callback_and_poll_has_one_winner(desk: Desk, first: str) -> None:
    """Whoever commits first decides; the other outcome is kept as evidence."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await desk.submitted()
    (claimed,) = await desk.claim(at=NOW + MINUTE)
    finding = Seen(seen=Observation(state=JobState.SUCCEEDED), held=held_in(b"1", 1), content=b"1")
    if first == "poll":
        move = await desk.settle(claimed, finding, at=NOW + MINUTE)
        assert move is not None
        assert move.completed
    receipt = await desk.call(one, FAILED, at=NOW + MINUTE)
    record = await desk.store.record(one.id)
    if first == "poll":
        assert (receipt.verdict, receipt.code) == (Verdict.DUPLICATE, "conflicting_outcome")
        assert (record.job.state, record.job.settled_by) == (JobState.SUCCEEDED, Source.POLL)
        assert [c.code for c in record.callbacks] == ["conflicting_outcome"]
    else:
        assert await desk.settle(claimed, finding, at=NOW + MINUTE) is None
        record = await desk.store.record(one.id)
        assert (record.job.state, record.job.settled_by) == (JobState.FAILED, Source.CALLBACK)
        assert "superseded" in [a.outcome for a in record.attempts]
        assert desk.count("result_chunk") == 0
    assert len(record.dispatches) == 1


async def test_callback_and_poll_at_the_same_moment(desk: Desk) -> None:
    """In the same group commit, too, there is one completion and one dispatch."""
    await desk.register(HandlerSpec(name="h", state="any"))
    jobs = [await desk.submitted(remote_id=f"r{n}") for n in range(20)]
    claimed = {c.job.id: c for c in await desk.claim(at=NOW + MINUTE, limit=50)}
    finding = Seen(seen=Observation(state=JobState.CANCELED))
    wishes: list[Wish] = [desk.call(one, FAILED, at=NOW + MINUTE) for one in jobs]
    wishes += [desk.settle(claimed[one.id], finding, at=NOW + MINUTE) for one in jobs]
    random.shuffle(wishes)
    await asyncio.gather(*wishes)
    assert desk.count("dispatch") == 20
    assert desk.count("job", "ended_at IS NOT NULL") == 20
    assert desk.count("due") == 0


async def test_an_early_callback_is_taken_by_its_token(desk: Desk) -> None:
    """Before the submit answer was stored, the job ends all the same, and nothing is sent again."""
    await desk.register("h")
    one = await desk.submit()
    receipt = await desk.call(one, DONE | {"id": "r1"})
    assert (receipt.state, receipt.completed) == (JobState.SUCCEEDED, True)
    record = await desk.store.record(one.id)
    assert record.due == []
    assert record.job.remote_id == "r1"


async def test_an_early_account_wide_callback_is_held(desk: Desk) -> None:
    """While a job of its provider is being submitted, it waits undispatched, acknowledged and kept."""
    await desk.register("h")
    await desk.submit("wide")
    receipt = await desk.call_wide(DONE | {"id": "r1"}, at=NOW + 1)
    assert (receipt.verdict, receipt.code, receipt.job_id) == (Verdict.ACCEPTED, "held", None)
    assert (desk.count("job"), desk.count("callback"), desk.count("dispatch"), desk.count("held")) == (
        1,
        1,
        0,
        1,
    )
    assert await desk.store.held_due(now=NOW + HOLD) == []
    assert [p for _, p in await desk.store.held_due(now=NOW + 1 + HOLD)] == ["wide"]


async def test_the_submit_answer_claims_what_was_held(desk: Desk) -> None:
    """In one commit with the id that it tells: the job ends with the held callback's result."""
    await desk.register("h")
    one = await desk.submit("wide")
    other = await desk.submit("wide")
    for n in range(3):
        await desk.call_wide(DONE | {"id": "r1"}, at=NOW + n)
    await desk.answer(other, seen=Observation(state=JobState.SUBMITTED, remote_id="r2"))
    assert desk.count("held") == 3
    after = await desk.answer(one, seen=Observation(state=JobState.SUBMITTED, remote_id="r1"), at=NOW + 9)
    assert (after.state, after.settled_by, after.callbacks) == (JobState.SUCCEEDED, Source.CALLBACK, 3)
    assert await desk.store.result(after) == b'{"a": 1}'
    record = await desk.store.record(one.id)
    assert [c.verdict for c in record.callbacks] == [Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.DUPLICATE]
    assert record.due == []
    assert (desk.count("held"), desk.count("dispatch"), desk.count("job")) == (0, 1, 2)
    assert [
        r.verdict
        for r in [
            await desk.store.release_held(c.id, terms=terms_for(WIDE, key_id="k"), now=NOW)
            for c in record.callbacks
        ]
    ] == [None] * 3


async def test_held_and_answered_at_the_same_moment(desk: Desk) -> None:
    """Whichever comes first within one group commit, each job completes once."""
    await desk.register("h")
    jobs = [await desk.submit("wide") for _ in range(20)]
    wishes: list[Wish] = [desk.call_wide(DONE | {"id": f"r{n}"}) for n in range(20)]
    wishes += [
        desk.answer(one, seen=Observation(state=JobState.SUBMITTED, remote_id=f"r{n}"))
        for n, one in enumerate(jobs)
    ]
    random.shuffle(wishes)
    await asyncio.gather(*wishes)
    assert desk.count("job") == desk.count("dispatch") == desk.count("job", "state = 'succeeded'") == 20
    assert desk.count("held") == 0


async def test_what_nobody_claims_becomes_a_job_of_its_own(desk: Desk) -> None:
    """After the hold each remote id has one job, also where several callbacks of it are released at once."""
    await desk.register("h")
    await desk.submit("wide")
    for n in range(4):
        await desk.call_wide(DONE | {"id": "r7" if n % 2 else "r8"}, at=NOW + n)
    due = await desk.store.held_due(now=NOW + HOUR)
    terms = terms_for(WIDE, key_id="k")
    receipts = await asyncio.gather(
        *(desk.store.release_held(one, terms=terms, now=NOW + HOUR) for one, _ in due)
    )
    assert len({r.job_id for r in receipts}) == 2
    assert sum(r.completed for r in receipts) == 2
    assert (desk.count("job"), desk.count("dispatch"), desk.count("held")) == (3, 2, 0)
    assert desk.count("callback", "job_id IS NULL") == 0


async def test_an_unknown_remote_id_is_a_job_of_its_own(desk: Desk) -> None:
    """A verified callback that no submission of ours explains is recorded with a deadline and a timeline."""
    await desk.register("h")
    receipt = await desk.call_wide({"id": "r1", "status": "working"})
    assert receipt.job_id is not None
    record = await desk.store.record(receipt.job_id)
    assert (record.job.state, record.job.submission, record.job.remote_id) == (JobState.RUNNING, "none", "r1")
    (due,) = record.due
    assert due.step is Step.LOOK
    assert due.run_at < record.job.deadline_at
    assert record.submission is None
    assert [a.outcome for a in record.attempts] == ["adopted"]
    assert (await desk.call_wide(DONE | {"id": "r1"})).job_id == receipt.job_id
    assert desk.count("dispatch") == 1


async def test_a_token_of_a_lost_record_is_a_job_again(desk: Desk) -> None:
    """After a restored backup the job is recorded anew under its own id; twice in one moment, once."""
    await desk.register("h")
    lost = new_job().job
    receipts = await asyncio.gather(desk.call(lost, DONE), desk.call(lost, DONE))
    assert [r.job_id for r in receipts] == [lost.id] * 2
    assert (desk.count("job"), desk.count("dispatch")) == (1, 1)


async def test_a_remote_id_used_again_means_the_newest_open_job(desk: Desk) -> None:
    """The ended namesake is left alone; with none open, the newest gets the duplicate."""
    old = await desk.submitted("wide", remote_id="r1", created_at=NOW - DAY)
    await desk.call_wide(DONE | {"id": "r1"})
    middle = await desk.submitted("wide", remote_id="r1", created_at=NOW - HOUR)
    newest = await desk.submitted("wide", remote_id="r1", created_at=NOW)
    assert (await desk.call_wide(FAILED | {"id": "r1"})).job_id == newest.id
    assert (await desk.call_wide(FAILED | {"id": "r1"})).job_id == middle.id
    receipt = await desk.call_wide(FAILED | {"id": "r1"})
    assert (receipt.job_id, receipt.verdict) == (newest.id, Verdict.DUPLICATE)
    assert (await desk.store.job(old.id)).state is JobState.SUCCEEDED


async def test_an_ended_namesake_in_the_same_moment_is_left_alone(desk: Desk) -> None:
    """A duplicate for the old job's token does not draw the new job's callback to it."""
    old = await desk.submitted("wide", remote_id="r1", created_at=NOW - DAY)
    await desk.call_wide(DONE | {"id": "r1"})
    new = await desk.submitted("wide", remote_id="r1", created_at=NOW)
    receipts = await asyncio.gather(desk.call(old, DONE), desk.call_wide(FAILED | {"id": "r1"}))
    assert [r.job_id for r in receipts] == [old.id, new.id]
    assert (await desk.store.job(new.id)).state is JobState.FAILED


async def test_a_retired_token_keeps_nothing(desk: Desk) -> None:
    """Up to four days after the job's end a callback is a duplicate, after that nothing is known of it."""
    one = await desk.submitted()
    await desk.call(one, DONE, at=NOW + HOUR)
    assert (await desk.call(one, DONE, at=NOW + HOUR + TOKEN_LIFE)).verdict is Verdict.DUPLICATE
    before = desk.count("callback")
    late = NOW + HOUR + TOKEN_LIFE + 1
    assert (await desk.call(one, DONE, at=late)).verdict is None
    rejected = callback(ACME, DONE, job_id=one.id, at=late, rejected="signature_mismatch")
    assert (await desk.store.ingest(arrival(rejected))).verdict is None
    gone = new_job().job
    assert (await desk.call(gone, DONE, at=NOW + TOKEN_LIFE + 1)).verdict is None
    assert (desk.count("callback"), desk.count("job")) == (before, 1)


async def test_an_open_job_keeps_its_token(desk: Desk) -> None:
    """However long it takes, the token lives until four days after the end."""
    one = await desk.submitted(deadline_at=NOW + 300 * DAY)
    assert (await desk.call(one, DONE, at=NOW + 200 * DAY)).completed


async def test_many_wake_ups_make_one_look(desk: Desk) -> None:
    """It is due at once, its outcome is not theirs, only one is news, and only the first twenty are heeded at all."""
    one = await desk.submitted("waker")
    receipts = await asyncio.gather(*(desk.call(one, {"id": "r1"}, at=NOW + 5) for _ in range(50)))
    assert sum(r.verdict is Verdict.ACCEPTED for r in receipts) == 1
    assert sum(r.look for r in receipts) == MOST_KEPT
    record = await desk.store.record(one.id)
    assert (record.job.state, record.job.callbacks) == (JobState.SUBMITTED, 50)
    assert [(d.step, d.run_at) for d in record.due] == [(Step.LOOK, NOW + 5)]
    assert desk.count("callback") == MOST_KEPT
    await desk.look(Pending(), at=NOW + 5, provider="waker")
    assert not (await desk.call(one, {"id": "r1"}, at=NOW + 6)).look


async def test_a_wake_up_during_a_look_is_not_lost(desk: Desk) -> None:
    """The look under way may have asked too early, so another one follows at once."""
    one = await desk.submitted("waker")
    (claimed,) = await desk.claim(at=NOW + MINUTE, provider="waker")
    assert (await desk.call(one, {}, at=NOW + MINUTE + 1)).look
    assert await desk.claim(at=NOW + MINUTE + 1, provider="waker") == []
    await desk.settle(claimed, Pending(), at=NOW + MINUTE + 2)
    (again,) = await desk.claim(at=NOW + MINUTE + 2, provider="waker")
    assert again.job.woken_by is not None
    move = await desk.settle(again, Seen(seen=Observation(state=JobState.FAILED)), at=NOW + MINUTE + 3)
    assert move is not None
    assert move.job.settled_by is Source.CALLBACK


async def test_an_unreadable_callback_is_kept_and_counted(desk: Desk) -> None:
    """It was acknowledged, so it is kept with its reason; the job is untouched."""
    one = await desk.submitted()
    receipt = await desk.call(one, b'{"status": NaN}')
    assert (receipt.verdict, receipt.code, receipt.job_id) == (
        Verdict.UNREADABLE,
        "json_number_range",
        one.id,
    )
    mismatch = await desk.call(one, DONE | {"id": "another"})
    assert (mismatch.verdict, mismatch.code) == (Verdict.UNREADABLE, "job_id_mismatch")
    nameless = await desk.call_wide({"status": "done"})
    assert (nameless.verdict, nameless.code, nameless.job_id) == (Verdict.UNREADABLE, "job_unnamed", None)
    broken = await desk.call_wide(b"<html>")
    assert broken.code == "body_not_json"
    assert desk.count("callback", "verdict = 'unreadable'") == 4
    job = await desk.store.job(one.id)
    assert (job.state, job.callbacks) == (JobState.SUBMITTED, 2)


async def test_news_after_many_duplicates_is_kept(desk: Desk) -> None:
    """Twenty duplicates do not hide what came after them: an unreadable outcome is acknowledged, so it is kept."""
    one = await desk.submitted()
    for n in range(30):
        await desk.call(one, {"status": "working"}, at=NOW + n)
    assert desk.count("callback") == MOST_KEPT
    receipts = await asyncio.gather(*(desk.call(one, b"<html>", at=NOW + 50) for _ in range(30)))
    assert {r.verdict for r in receipts} == {Verdict.UNREADABLE}
    assert desk.count("callback", "verdict = 'unreadable'") == MOST_KEPT
    assert (await desk.call(one, DONE, at=NOW + 99)).completed
    assert desk.count("callback") == 2 * MOST_KEPT + 1


async def test_a_foreign_address_is_noted(desk: Desk) -> None:
    """The timeline says that it was not followed, for the first callbacks only."""
    one = await desk.submitted("waker")
    for n in range(30):
        await desk.call(one, {"response_url": "https://evil.example/"}, at=NOW + n)
    notes = [a for a in (await desk.store.record(one.id)).attempts if a.code == "fetch_refused"]
    assert len(notes) == MOST_KEPT
    assert notes[0].detail["callback"].startswith("cb_")


async def test_repeated_success_with_an_address_is_bounded(desk: Desk) -> None:
    """A hundred signed copies that name an address make one fetch, and twenty of them are kept."""
    one = await desk.submitted()
    document = {"status": "done", "result_url": "https://api.acme.example/r"}
    await asyncio.gather(*(desk.call(one, document, at=NOW + 5) for _ in range(100)))
    record = await desk.store.record(one.id)
    assert record.job.state is JobState.FETCHING
    assert [(d.run_at, d.result_url) for d in record.due] == [(NOW + 5, document["result_url"])]
    assert desk.count("callback") == MOST_KEPT
