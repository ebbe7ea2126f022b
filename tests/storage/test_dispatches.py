"""Dispatches and replays."""

import asyncio

import pytest

from receiver.core.asking.exchange import Seen
from receiver.core.errors import ConflictError, NotFoundError
from receiver.core.handler import HandlerSpec
from receiver.core.model import DAY, HOUR, JobState, Observation
from receiver.storage import open_keys
from receiver.storage.claims import Beat
from receiver.storage.dispatches import DispatchClaim
from receiver.storage.nodes import Node
from receiver.storage.open_keys import Looked
from receiver.storage.queries import Page
from tests.core.making import NOW
from tests.storage.making import DONE, FAILED, LEASE, Desk, Wish, transactions


async def test_dispatches_are_claimed_by_handler_and_counted_before_they_run(desk: Desk) -> None:
    """Each handler gets its own, with the job's metadata, once, and the attempt counts from the claim on."""
    await desk.register("a", "b")
    one = await desk.submitted(metadata={"topic": "tea"})
    await desk.call(one, DONE)
    found = await asyncio.gather(*(desk.work("a", at=NOW, owner=f"w{n}") for n in range(5)))
    ((dispatch, job),) = [pair for batch in found for pair in batch]
    assert (dispatch.handler, dispatch.attempt, job.metadata) == ("a", 1, {"topic": "tea"})
    assert dispatch.id == f"{one.id}:a"
    assert desk.rows("SELECT handler, attempt FROM dispatch ORDER BY handler") == [("a", 1), ("b", 0)]
    # Its owner could not record how it ended: the attempt is used up.
    ((again, _),) = await desk.work("a", at=NOW + LEASE, owner=str(dispatch.owner))
    assert (again.attempt, again.lapsed) == (2, False)
    assert not await desk.finish(dispatch, at=NOW + LEASE)
    assert await desk.finish(again, at=NOW + LEASE)
    assert desk.rows("SELECT handler FROM dispatch") == [("b",)]


async def test_the_oldest_dispatch_goes_first(desk: Desk) -> None:
    """Within the slots that a handler has free."""
    await desk.register("h")
    jobs = [await desk.submitted(remote_id=f"r{n}") for n in range(5)]
    for n, one in enumerate(jobs):
        await desk.call(one, DONE, at=NOW + n)
    first = await desk.work("h", at=NOW + 9, limit=2)
    assert {d.job_id for d, _ in first} == {jobs[0].id, jobs[1].id}
    assert len(await desk.work("h", at=NOW + 9, limit=9)) == 3
    assert await desk.work("h", at=NOW + 9) == []


async def test_what_has_ended_and_what_is_claimed_next_share_a_commit(desk: Desk) -> None:
    """On either database one transaction: what has ended is settled first, so it may be claimed again in it."""
    await desk.register("h")
    for n in range(6):
        await desk.call(await desk.submitted(remote_id=f"r{n}"), DONE, at=NOW + n)
    running = await desk.work("h", at=NOW + 9, limit=3)
    commits = transactions(desk.store.driver, "write")
    *settled, claimed = await asyncio.gather(
        *(desk.finish(dispatch, at=NOW + 9) for dispatch, _ in running[1:]),
        desk.finish(running[0][0], "failed", at=NOW + 9, retry_at=NOW),
        desk.work("h", at=NOW + 9, limit=2),
    )
    assert len(commits) == 1
    assert settled == [True] * 3
    assert isinstance(claimed, list)
    again, _new = (dispatch for dispatch, _ in claimed)
    assert (again.job_id, again.attempt) == (running[0][0].job_id, 2)
    assert desk.count("dispatch") == 4


async def test_one_claim_may_be_for_several_handlers(desk: Desk) -> None:
    """Each gets as many as it has slots free, the oldest first; a job that two of them want comes with both."""
    await desk.register("a", "b", "c")
    for n in range(3):
        await desk.call(await desk.submitted(remote_id=f"r{n}", metadata={"n": n}), DONE, at=NOW + n)
    claimed = await desk.store.claim_dispatches(
        DispatchClaim(owner="node", limits={"b": 1, "a": 2}, lease_ms=LEASE, now=NOW + 9)
    )
    assert [(dispatch.handler, job.metadata["n"]) for dispatch, job in claimed] == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
    ]
    assert all(job.result is not None and job.result.content == b'{"a": 1}' for _, job in claimed)
    assert desk.count("dispatch", "owner IS NOT NULL") == 3


async def test_a_failed_attempt_is_retried_or_dead(desk: Desk) -> None:
    """A retry waits for its time; without one the dispatch is dead with its error, and its attempts are told."""
    await desk.register("h")
    one = await desk.submitted()
    await desk.call(one, DONE)
    ((dispatch, _),) = await desk.work("h", at=NOW)
    assert await desk.finish(dispatch, "failed", at=NOW, retry_at=NOW + HOUR)
    assert await desk.work("h", at=NOW + HOUR - 1) == []
    ((dispatch, _),) = await desk.work("h", at=NOW + HOUR)
    assert await desk.finish(dispatch, "failed", at=NOW + HOUR)
    assert await desk.work("h", at=NOW + 9 * DAY) == []
    (dead,) = await desk.store.dispatches(Page(state="dead"))
    assert (dead.attempt, dead.error and dead.error.code, dead.owner) == (2, "ValueError", None)
    record = await desk.store.record(one.id)
    assert [(a.number, a.outcome) for a in record.attempts if a.step == "dispatch"] == [
        (1, "failed"),
        (2, "failed"),
    ]


async def test_a_dead_letter_is_retried_or_discarded(desk: Desk) -> None:
    """A retry gives it a fresh row of attempts; a discarded one leaves a line; neither works on a live one."""
    await desk.register("h")
    one = await desk.submitted()
    await desk.call(one, DONE)
    ((dispatch, _),) = await desk.work("h", at=NOW)
    assert not await desk.store.retry_dispatch(dispatch, now=NOW)
    assert not await desk.store.discard_dispatch(dispatch, now=NOW)
    await desk.finish(dispatch, "failed", at=NOW)
    assert await desk.store.retry_dispatch(dispatch, now=NOW + 5)
    ((dispatch, _),) = await desk.work("h", at=NOW + 5)
    assert dispatch.attempt == 1
    await desk.finish(dispatch, "failed", at=NOW + 5)
    assert await desk.store.discard_dispatch(dispatch, now=NOW + 6)
    assert not await desk.store.discard_dispatch(dispatch, now=NOW + 6)
    assert desk.count("dispatch") == 0
    assert (await desk.store.record(one.id)).attempts[-1].outcome == "discarded"


async def test_a_dispatch_without_handler_is_dead_after_an_hour(desk: Desk) -> None:
    """One whose handler lives somewhere is left alone, however long it waits."""
    await desk.register("gone", "alive")
    one = await desk.submitted()
    await desk.call(one, DONE)
    await desk.register("alive", now=NOW + HOUR)
    assert await desk.store.reap(now=NOW + HOUR) == 0
    assert await desk.store.reap(now=NOW + HOUR + 1) == 1
    (dead,) = await desk.store.dispatches(Page(state="dead"))
    assert (dead.handler, dead.error and dead.error.code) == ("gone", "handler_missing")
    await desk.register("gone", "alive", now=NOW + 2 * HOUR)
    assert await desk.store.retry_dispatch(dead, now=NOW + 2 * HOUR)
    assert len(await desk.work("gone", at=NOW + 2 * HOUR)) == 1


async def test_a_handler_of_a_node_that_vanished_counts_for_an_hour(desk: Desk) -> None:
    """With several nodes, one's registration does not remove another's; its silence does."""
    await desk.register("theirs", now=NOW, only=False)
    await desk.register("ours", now=NOW, only=False)
    await desk.call(await desk.submitted(), DONE)
    assert desk.count("dispatch") == 2
    await desk.beat(at=NOW + HOUR + 1, handlers=["ours"])
    assert await desk.store.reap(now=NOW + HOUR + 1) == 1
    # Also where there is only one node: a start with other handlers may be a mistake, and is put right later.
    await desk.register("ours", only=True)
    assert [one["name"] for one in await desk.store.handlers()] == ["ours", "theirs"]


async def test_a_handler_that_is_gone_is_forgotten_by_hand(desk: Desk) -> None:
    """Not while a node that has it is alive; then it gets no completion more, and what it has stays until dropped."""
    await desk.register("gone", "stays", only=False)
    one = await desk.submitted(remote_id="r1")
    await desk.call(one, DONE)
    await desk.beat(at=NOW + LEASE, handlers=["stays"])
    for name, now in (("gone", NOW + LEASE - 1), ("stays", NOW + LEASE)):
        with pytest.raises(ConflictError) as refused:
            await desk.store.forget_handler(name, lease_ms=LEASE, now=now)
        assert refused.value.code == "handler_in_use"
    forgotten = await desk.store.forget_handler("gone", lease_ms=LEASE, now=NOW + LEASE)
    assert (forgotten.name, forgotten.seen_at, forgotten.waiting, forgotten.dead) == ("gone", NOW, 1, 0)
    with pytest.raises(NotFoundError) as unknown:
        await desk.store.forget_handler("gone", lease_ms=LEASE, now=NOW + LEASE)
    assert unknown.value.code == "handler_unknown"
    await desk.call(await desk.submitted(remote_id="r2"), DONE)
    assert desk.rows("SELECT handler FROM dispatch ORDER BY handler") == [("gone",), ("stays",), ("stays",)]
    await desk.beat(at=NOW + HOUR + 1, handlers=["stays"])
    assert await desk.store.reap(now=NOW + HOUR + 1) == 1
    (dead,) = await desk.store.dispatches(Page(state="dead"))
    assert (dead.job_id, dead.handler) == (one.id, "gone")
    assert await desk.store.discard_dispatch(dead, now=NOW + HOUR + 1)
    assert [(one.name, one.waiting, one.dead) for one in await desk.store.registered()] == [("stays", 2, 0)]


async def test_a_forgotten_handler_comes_back_with_its_node(desk: Desk) -> None:
    """A node that was silent for longer than a lease, and alive all the same, has its handlers again."""
    await desk.register(HandlerSpec(name="h", provider="acme", state="any"), "other", only=False)
    await desk.store.forget_handler("h", lease_ms=LEASE, now=NOW + LEASE)
    spec = HandlerSpec(name="h", provider="acme", state="any")
    for role, names in (("ingest", ["other"]), ("worker", ["h", "other"])):
        node = Node(name="n", role=role, handlers=(spec, HandlerSpec(name="other")))
        await desk.store.heartbeat(Beat(node=node, until=NOW + 2 * LEASE, now=NOW + LEASE))
        assert [one.name for one in await desk.store.registered()] == names
    back = (await desk.store.registered())[0]
    assert (back.provider, back.state, back.seen_at) == ("acme", "any", NOW + LEASE)


async def test_the_registered_handlers_are_told_with_what_is_not_finished(desk: Desk) -> None:
    """Waiting and under way are one, dead is another; a handler without either is told too."""
    await desk.register("a", "b")
    for number in range(3):
        await desk.call(await desk.submitted(remote_id=f"r{number}"), DONE)
    await desk.finish((await desk.work("a", at=NOW))[0][0], "failed", at=NOW)
    for dispatch, _ in await desk.work("b", at=NOW):
        await desk.finish(dispatch, at=NOW)
    told = [(one.name, one.waiting, one.dead) for one in await desk.store.registered()]
    assert told == [("a", 2, 1), ("b", 0, 0)]


async def test_a_replay_makes_new_dispatches_and_leaves_the_old(desk: Desk) -> None:
    """For all handlers that want the end, or for one whatever it wants; each replay is its own."""
    await desk.register("a", "b", HandlerSpec(name="failures", state="failed"))
    one = await desk.submitted()
    with pytest.raises(ConflictError):
        await desk.store.replay(one.id, handler=None, replay_id="rpl_0", now=NOW)
    await desk.call(one, DONE)
    ((dispatch, _),) = await desk.work("a", at=NOW)
    await desk.finish(dispatch, "failed", at=NOW)
    before = desk.rows("SELECT * FROM dispatch ORDER BY handler")
    assert await desk.store.replay(one.id, handler=None, replay_id="rpl_1", now=NOW) == ["a", "b"]
    assert await desk.store.replay(one.id, handler="failures", replay_id="rpl_2", now=NOW) == ["failures"]
    assert desk.rows("SELECT * FROM dispatch WHERE replay_id = '' ORDER BY handler") == before
    assert desk.count("dispatch") == 5
    with pytest.raises(NotFoundError):
        await desk.store.replay("job_" + "0" * 32, handler=None, replay_id="rpl_3", now=NOW)


async def test_a_failing_member_does_not_take_the_others_with_it(desk: Desk) -> None:
    """Of wishes committed together, only the impossible ones fail."""
    await desk.register("h")
    jobs = [await desk.submitted(remote_id=f"r{n}") for n in range(5)]
    for one in jobs:
        await desk.call(one, DONE)
    ids = [one.id for one in jobs] + ["job_" + "0" * 32]
    wishes: list[Wish] = [desk.store.replay(i, handler=None, replay_id="rpl_1", now=NOW) for i in ids]
    broken = await desk.submitted(remote_id="x")
    wishes.append(desk.call(broken, DONE, at=2**63))  # more than a column holds
    answers = await asyncio.gather(*wishes, return_exceptions=True)
    assert answers[:5] == [["h"]] * 5
    assert isinstance(answers[5], NotFoundError)
    assert isinstance(answers[6], Exception)  # whatever the database says to that
    assert desk.count("dispatch") == 10


async def test_lists_are_paged_and_ids_found_by_prefix(desk: Desk) -> None:
    """The newest first, a cursor for the next page; a unique beginning is enough to name one."""
    jobs = [await desk.submitted(remote_id=f"r{n}", created_at=NOW + n) for n in range(7)]
    first = await desk.store.jobs(Page(limit=3))
    second = await desk.store.jobs(Page(limit=3, before=first[-1].id))
    assert [one.id for one in [*first, *second]] == [one.id for one in reversed(jobs)][:6]
    assert [one.id for one in await desk.store.jobs(Page(since=NOW + 5))] == [jobs[6].id, jobs[5].id]
    await desk.call(jobs[0], DONE)
    assert [one.id for one in await desk.store.jobs(Page(state="succeeded"))] == [jobs[0].id]
    assert len(await desk.store.jobs(Page(state="open", provider="acme"))) == 6
    assert await desk.store.resolve(jobs[3].id[:-3]) == jobs[3].id
    with pytest.raises(NotFoundError):
        await desk.store.resolve("job_ffffffff")


async def test_no_open_job_is_missing_from_their_list(desk: Desk) -> None:
    """Whatever is due for it, one thing or two; and no job that has ended is in it, though it be looked at late."""
    sending = await desk.submit(created_at=NOW + 1)
    doubtful = await desk.submit(created_at=NOW + 2)
    await desk.answer(doubtful)
    overtaken = await desk.submit("waker", created_at=NOW + 3)
    await desk.call(overtaken, {})
    canceled = await desk.submitted(remote_id="r4", created_at=NOW + 4)
    await desk.store.cancel(canceled.id, now=NOW + 5)
    adopted = await desk.call_wide({"status": "working", "id": "r5"}, at=NOW + 6)
    ended = await desk.submitted(remote_id="r7", created_at=NOW + 7)
    await desk.call(ended, DONE)
    given_up = await desk.submitted("waker", remote_id="r8", created_at=NOW + 8)
    await desk.store.abandon(given_up.id, now=NOW + 9)
    assert (await desk.call(given_up, {})).look
    assert desk.count("due", f"job_id = '{given_up.id}'") == 1
    assert desk.count("due", f"job_id = '{canceled.id}'") == 2
    acme = [canceled.id, doubtful.id, sending.id]
    assert [one.id for one in await desk.store.jobs(Page(state="open", provider="acme"))] == acme
    everyone = [adopted.job_id, canceled.id, overtaken.id, doubtful.id, sending.id]
    assert [one.id for one in await desk.store.jobs(Page(state="open"))] == everyone
    assert desk.count("job", "ended_at IS NULL") == len(everyone)
    page = Page(state="open", limit=2, before=canceled.id, since=NOW + 2)
    assert [one.id for one in await desk.store.jobs(page)] == [overtaken.id, doubtful.id]
    for state in JobState:
        stored = {row[0] for row in desk.rows("SELECT id FROM job WHERE state = :state", state=state.value)}
        listed = [one.id for one in await desk.store.jobs(Page(state=state.value))]
        assert (set(listed), len(listed)) == (stored, len(stored))
        counted = sum(
            one["count"] for one in (await desk.store.counts(now=NOW))["jobs"] if one["state"] == state
        )
        assert counted == (0 if state is JobState.SUCCEEDED else len(stored))


async def test_open_jobs_name_the_keys_they_need(desk: Desk) -> None:
    """Ended ones do not, though one of them may still be looked at."""
    given_up = await desk.submitted("waker", remote_id="r8", key_id="cccccccc")
    await desk.store.abandon(given_up.id, now=NOW)
    assert (await desk.call(given_up, {})).look
    await desk.submitted(key_id="aaaaaaaa")
    done = await desk.submitted(key_id="bbbbbbbb")
    await desk.call(done, FAILED)
    assert await desk.store.read(open_keys.look) == Looked(keys=frozenset({"aaaaaaaa"}), more=False)
    assert [one async for one in open_keys.ranges(desk.store.read)] == [{"aaaaaaaa"}]
    counts = await desk.store.counts(now=NOW + 3 * HOUR)
    assert {(j["state"], j["count"], j["overdue"]) for j in counts["jobs"] if j["state"] == "submitted"} == {
        ("submitted", 1, 1)
    }


async def test_a_success_without_result_here_is_not_dispatched(desk: Desk) -> None:
    """Handlers hear of a success in the commit that stores its result, not before."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await desk.submitted()
    assert not (await desk.call(one, {"status": "done"})).completed
    assert desk.count("dispatch") == 0
    move = await desk.look(Seen(seen=Observation(state=JobState.RUNNING)), at=NOW)
    assert move is not None
    assert move.job.state is JobState.FETCHING
