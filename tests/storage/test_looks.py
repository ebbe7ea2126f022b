"""Polls and fetches: claimed by lease, settled by whoever holds it, stored before they are read."""

import asyncio

import pytest
from msgspec.structs import replace

from receiver.core.asking.exchange import Gone, Pending, Seen
from receiver.core.handler import HandlerSpec
from receiver.core.job.looking import Interrupted, Lost, Unanswered
from receiver.core.model import DAY, HOUR, MINUTE, JobState, Observation, Source, Step
from receiver.storage import spent
from receiver.storage.claims import Claimed
from receiver.storage.clocks import ClockStep
from receiver.storage.results import CHUNK
from receiver.storage.retention import Prune
from receiver.storage.settlements import CancelSettled
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk, held_in, leases, log_of

SUCCESS = Observation(state=JobState.SUCCEEDED)
RUNNING = Observation(state=JobState.RUNNING, remote_id="r1")


async def test_what_is_claimed_is_nobody_elses(desk: Desk) -> None:
    """Until its lease ends; then it is due again, and says that its owner vanished."""
    one = await desk.submitted()
    (mine,) = await desk.claim(at=NOW + MINUTE, owner="a")
    assert await desk.claim(at=NOW + MINUTE + LEASE - 1, owner="b") == []
    (theirs,) = await desk.claim(at=NOW + MINUTE + LEASE, owner="b")
    assert (mine.job.id, theirs.job.id) == (one.id, one.id)
    assert (mine.lapsed, theirs.lapsed) == (False, True)
    assert (mine.due.attempt, theirs.due.attempt) == (1, 2)


async def test_claims_at_once_share_nothing(desk: Desk) -> None:
    """Ten workers that ask at the same moment get every row once."""
    for n in range(40):
        await desk.submitted(remote_id=f"r{n}")
    found = await asyncio.gather(*(desk.claim(at=NOW + MINUTE, owner=f"w{n}", limit=5) for n in range(10)))
    claimed = [c.job.id for batch in found for c in batch]
    assert len(claimed) == len(set(claimed)) == 40


async def test_a_zombie_settles_nothing(desk: Desk) -> None:
    """A worker frozen past its lease neither moves the job nor the row, whether its successor is done or not."""
    one = await desk.submitted()
    (zombie,) = await desk.claim(at=NOW + MINUTE, owner="a")
    (heir,) = await desk.claim(at=NOW + MINUTE + LEASE, owner="a")
    finding = Seen(seen=Observation(state=JobState.FAILED))
    assert await desk.settle(zombie, finding, at=NOW + HOUR) is None
    assert (await desk.store.job(one.id)).state is JobState.SUBMITTED
    assert not await desk.store.spend(zombie.due, "https://a.example/")
    await desk.settle(heir, Pending(), at=NOW + HOUR, next_at=NOW + DAY)
    assert await desk.settle(zombie, finding, at=NOW + HOUR) is None
    assert (await desk.store.job(one.id)).state is JobState.SUBMITTED
    assert [d.run_at for d in (await desk.store.record(one.id)).due] == [NOW + DAY]


async def test_what_is_deleted_first_is_fetched_first(desk: Desk) -> None:
    """Of results that wait the earliest goes first, and those without an expiry last; a provider's limit is its own."""
    keeps = {"late": 9 * DAY, "early": HOUR, "middle": DAY, "never": None}
    jobs = {}
    for name, keep in keeps.items():
        jobs[name] = await desk.submitted(remote_id=name, keep_ms=keep)
        await desk.call(jobs[name], {"status": "done"}, at=NOW)
    running = await desk.submitted(remote_id="running", created_at=NOW - DAY)
    await desk.submitted("waker", created_at=NOW - DAY)
    order = [jobs["early"].id, jobs["middle"].id, jobs["late"].id, jobs["never"].id, running.id]
    first = await desk.claim(at=NOW + MINUTE, limit=2)
    rest = await desk.claim(at=NOW + MINUTE, limit=10)
    assert [c.job.id for c in [*first, *rest]] == order
    assert sorted(await desk.store.due_providers(now=NOW + MINUTE)) == ["waker"]


async def test_a_heartbeat_extends_and_a_release_returns(desk: Desk) -> None:
    """Just the leases that are named, of every kind of work, and only while they are whose they were."""
    await desk.register("h")
    for n in range(2):
        await desk.submitted(remote_id=f"r{n}")
    done = await desk.submitted(remote_id="r3")
    await desk.call(done, DONE)
    ours = await desk.claim(at=NOW + MINUTE, owner="a", limit=1)
    await desk.claim(at=NOW + MINUTE, owner="b", limit=1)
    running = await desk.work("h", at=NOW + MINUTE, owner="a")
    await desk.beat(*ours, *running, at=NOW + 2 * MINUTE, handlers=["h"])
    (taken,) = await desk.claim(at=NOW + 2 * MINUTE + 1, owner="c")
    late = Claimed(due=replace(taken.due, owner="b", attempt=1), job=taken.job, lapsed=False)
    await desk.beat(late, at=NOW + 5 * MINUTE)
    assert desk.count("due", f"run_at > {NOW + 4 * MINUTE}") == 0
    assert await desk.claim(at=NOW + 3 * MINUTE - 1, owner="c") == []
    assert await desk.work("h", at=NOW + 3 * MINUTE - 1) == []
    assert (await desk.store.handlers())[0]["seen_at"] == NOW + 2 * MINUTE
    await desk.store.release(leases(*ours, *running), lease_ms=LEASE, now=NOW + 2 * MINUTE)
    (returned,) = await desk.claim(at=NOW + 2 * MINUTE, owner="d")
    assert not returned.lapsed
    assert len(await desk.work("h", at=NOW + 2 * MINUTE)) == 1


async def test_a_polls_success_is_stored_with_its_result(desk: Desk) -> None:
    """State, result and dispatches are one commit, and the row is gone."""
    await desk.register("h")
    one = await desk.submitted()
    content = b"0123456789" * (CHUNK // 4)
    move = await desk.look(Seen(seen=SUCCESS, held=held_in(content, 1), content=content), at=NOW + MINUTE)
    assert move is not None
    assert move.completed
    record = await desk.store.record(one.id)
    assert (record.job.state, record.job.settled_by) == (JobState.SUCCEEDED, Source.POLL)
    assert len(record.dispatches) == 1
    assert record.due == []
    assert await desk.store.result(record.job) == content
    assert record.job.held is not None
    pieces = [piece async for piece in desk.store.result_chunks(one.id, record.job.held)]
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= CHUNK


async def test_an_inline_result_is_read_from_the_callback(desk: Desk) -> None:
    """Not stored twice; large ones come in chunks as well, empty ones as nothing."""
    one = await desk.submitted()
    text = "x\u00e9" * CHUNK
    await desk.call(one, {"status": "done", "result": text})
    job = await desk.store.job(one.id)
    whole = await desk.store.result(job)
    assert len(whole) > 2 * CHUNK
    assert job.held is not None
    assert b"".join([piece async for piece in desk.store.result_chunks(one.id, job.held)]) == whole
    assert desk.count("result_chunk") == 0


async def test_a_fetch_arrives_in_pieces(desk: Desk) -> None:
    """Chunks are stored as they come; only the settlement makes them the result."""
    one = await desk.submitted()
    await desk.call(one, {"status": "done", "result_url": "https://api.acme.example/r"})
    (claimed,) = await desk.claim(at=NOW + 1)
    for number in range(3):
        await desk.store.write_chunks(one.id, part=claimed.due.attempt, first=number, content=b"%d" % number)
    held = held_in(b"012", claimed.due.attempt)
    await desk.settle(claimed, Seen(seen=SUCCESS, held=held), at=NOW + 2)
    job = await desk.store.job(one.id)
    assert (job.state, job.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
    assert await desk.store.result(job) == b"012"


async def test_failed_fetches_leave_nothing_behind(desk: Desk) -> None:
    """Of twenty broken-off fetches no chunk is left, nor of one that a callback overtook."""
    one = await desk.submitted()
    await desk.call(one, {"status": "done", "result_url": "https://api.acme.example/r"})
    for n in range(20):
        at = NOW + n * HOUR
        (claimed,) = await desk.claim(at=at)
        await desk.store.write_chunks(one.id, part=claimed.due.attempt, first=0, content=b"x" * 3 * CHUNK)
        await desk.settle(claimed, Unanswered(code="x"), at=at)
        assert desk.count("result_chunk") == 0
    (claimed,) = await desk.claim(at=NOW + DAY)
    await desk.store.write_chunks(one.id, part=claimed.due.attempt, first=0, content=b"x" * CHUNK)
    assert (await desk.call(one, DONE, at=NOW + DAY)).completed
    assert desk.count("result_chunk") == 0
    await desk.store.write_chunks(one.id, part=claimed.due.attempt, first=1, content=b"y")
    await desk.settle(claimed, Seen(seen=SUCCESS, held=held_in(b"xy", claimed.due.attempt)), at=NOW + DAY)
    assert desk.count("result_chunk") == 0
    assert await desk.store.result(await desk.store.job(one.id)) == b'{"a": 1}'


async def test_the_use_of_a_single_use_address_is_committed_first(desk: Desk) -> None:
    """Whoever takes over after a crash sees that it was begun; a surely unused one may be asked again."""
    one = await desk.submitted()
    url = "https://api.acme.example/once"
    await desk.call(one, {"status": "done", "result_url": url})
    (claimed,) = await desk.claim(at=NOW + 1)
    assert await desk.store.spend(claimed.due, url)
    (heir,) = await desk.claim(at=NOW + 1 + LEASE)
    assert heir.due.spent_url == heir.due.result_url == url
    await desk.settle(heir, Interrupted(), at=NOW + HOUR)
    (due,) = (await desk.store.record(one.id)).due
    assert (due.spent_url, due.result_url) == (url, None)
    (claimed,) = await desk.claim(at=NOW + 2 * HOUR)
    await desk.settle(claimed, Unanswered(code="x", unspent=True), at=NOW + 2 * HOUR)
    assert [d.spent_url for d in (await desk.store.record(one.id)).due] == [None]


async def test_what_was_asked_once_stays_on_record_as_long_as_its_job(desk: Desk) -> None:
    """The row that was due is gone with the end of the job; whoever looks again, by another row, is told."""
    one = await desk.submitted()
    url = "https://api.acme.example/once"
    await desk.call(one, {"status": "done", "result_url": url})
    (claimed,) = await desk.claim(at=NOW + 1)
    assert not await desk.store.read(spent.asked, one.id, url)
    assert await desk.store.spend(claimed.due, url)
    await desk.settle(claimed, Lost(), at=NOW + 2)
    assert (await desk.store.record(one.id)).due == []
    assert await desk.store.read(spent.asked, one.id, url)
    assert not await desk.store.read(spent.asked, one.id, f"{url}/other")
    assert not await desk.store.read(spent.asked, (await desk.submitted(remote_id="r2")).id, url)
    await desk.store.prune(Prune(before=NOW + 20 * DAY, now=NOW + 30 * DAY))
    assert desk.count("spent") == 0


async def test_what_was_asked_before_it_was_kept_by_its_job_is_known(desk: Desk) -> None:
    """A node of the version before wrote it into the row that is due alone."""
    one = await desk.submitted()
    url = "https://api.acme.example/once"
    await desk.call(one, {"status": "done", "result_url": url})
    (claimed,) = await desk.claim(at=NOW + 1)
    assert await desk.store.spend(claimed.due, url)
    with desk.store.driver.write() as tx:
        tx.run("DELETE FROM spent", {})
    assert await desk.store.read(spent.asked, one.id, url)


async def test_a_single_use_address_that_is_not_there_yet_is_not_used_up(desk: Desk) -> None:
    """A 404 gave nothing away, so the same address may be named, and asked, again."""
    one = await desk.submitted()
    url = "https://api.acme.example/once"
    await desk.call(one, {"status": "done", "result_url": url})
    (claimed,) = await desk.claim(at=NOW + 1)
    assert await desk.store.spend(claimed.due, url)
    await desk.settle(claimed, Gone(status=404), at=NOW + 1)
    record = await desk.store.record(one.id)
    assert record.job.state == "fetching"
    assert [d.spent_url for d in record.due] == [None]
    assert not await desk.store.read(spent.asked, one.id, url)


async def test_an_address_that_came_during_a_failing_fetch_is_tried_next(desk: Desk) -> None:
    """The failed address is dropped, the one that a callback named meanwhile is not."""
    one = await desk.submitted()
    await desk.call(one, {"status": "done", "result_url": "https://api.acme.example/1"})
    (claimed,) = await desk.claim(at=NOW + 1)
    await desk.call(one, {"status": "done", "result_url": "https://api.acme.example/2"}, at=NOW + 2)
    await desk.settle(claimed, Unanswered(code="x"), at=NOW + 3)
    (again,) = await desk.claim(at=NOW + 3)
    assert again.due.result_url == "https://api.acme.example/2"


async def test_failures_are_counted_in_a_row_and_do_not_fill_the_timeline(desk: Desk) -> None:
    """A success sets the count back; of many failures the first three are told."""
    one = await desk.submitted(deadline_at=NOW + 30 * DAY)
    at = NOW + MINUTE
    for n in range(10):
        await desk.look(Unanswered(code="x"), at=at + n * HOUR)
    assert [d.failures for d in (await desk.store.record(one.id)).due] == [10]
    assert sum(a.outcome == "looked" for a in (await desk.store.record(one.id)).attempts) == 3
    await desk.look(Seen(seen=RUNNING), at=at + 10 * HOUR)
    for n in range(11, 200):
        await desk.look(Seen(seen=RUNNING), at=at + n * HOUR)
    record = await desk.store.record(one.id)
    assert [d.failures for d in record.due] == [0]
    assert sum(a.outcome == "looked" for a in record.attempts) == 4


async def test_a_candidate_is_adopted_once_the_provider_confirms_it(desk: Desk) -> None:
    """The submit answer was lost, a wake-up names an id, and the authenticated answer bears it."""
    one = await desk.submit("waker")
    await desk.answer(one)
    await desk.call(one, {"id": "c1"}, at=NOW + 1)
    (claimed,) = await desk.claim(at=NOW + 1, provider="waker")
    assert (claimed.due.candidate_id, claimed.job.remote_id) == ("c1", None)
    await desk.settle(claimed, Seen(seen=Observation(state=JobState.RUNNING, remote_id="c1")), at=NOW + 2)
    record = await desk.store.record(one.id)
    assert (record.job.remote_id, record.job.state) == ("c1", JobState.RUNNING)
    assert [d.candidate_id for d in record.due] == [None]


@pytest.mark.parametrize("ended", [False, True])
async def test_the_id_of_another_job_of_ours_is_not_adopted(desk: Desk, ended: bool) -> None:  # noqa: FBT001
    """Whoever holds one job's token cannot give it another job's outcome."""
    other = await desk.submitted("waker", remote_id="c1", created_at=NOW - MINUTE)
    if ended:
        await desk.look(Seen(seen=SUCCESS, held=held_in(b"1", 1), content=b"1"), at=NOW, provider="waker")
    one = await desk.submit("waker")
    await desk.answer(one)
    await desk.call(one, {"id": "c1"}, at=NOW + 1)
    claimed = {c.job.id: c for c in await desk.claim(at=NOW + 1, provider="waker")}
    finding = Seen(seen=Observation(state=JobState.FAILED, remote_id="c1"))
    await desk.settle(claimed[one.id], finding, at=NOW + 2)
    record = await desk.store.record(one.id)
    assert (record.job.remote_id, record.job.state) == (None, JobState.SUBMITTING)
    assert "answer_for_another_job" in [a.code for a in record.attempts]
    assert (await desk.store.job(other.id)).remote_id == "c1"


async def test_two_jobs_do_not_adopt_one_id_at_once(desk: Desk) -> None:
    """Not even in the same group commit."""
    jobs = []
    for _ in range(10):
        jobs.append(await desk.submit("waker"))
        await desk.answer(jobs[-1])
        await desk.call(jobs[-1], {"id": "c1"}, at=NOW + 1)
    claimed = await desk.claim(at=NOW + 1, provider="waker")
    finding = Seen(seen=Observation(state=JobState.RUNNING, remote_id="c1"))
    await asyncio.gather(*(desk.settle(c, finding, at=NOW + 2) for c in claimed))
    assert desk.count("job", "remote_id = 'c1'") == 1


async def test_a_cancellation_is_repeated_observed_or_polled(desk: Desk) -> None:
    """A failure comes back; an answer that confirms ends the job; any other is followed by a look."""
    await desk.register(HandlerSpec(name="h", state="canceled"))
    jobs = [await desk.submitted(remote_id=f"r{n}") for n in range(2)]
    for one in jobs:
        await desk.store.cancel(one.id, now=NOW + 1)
    first, second = sorted(await desk.claim(at=NOW + 1), key=lambda c: c.job.id)
    log = log_of(first.due, "failed", NOW)
    await desk.store.settle_cancel(CancelSettled(due=first.due, retry_at=NOW + 9, log=log, now=NOW + 1))
    (again,) = await desk.claim(at=NOW + 9)
    assert (again.due.step, again.due.failures) == (Step.CANCEL, 1)
    seen = Observation(state=JobState.CANCELED)
    after = await desk.store.settle_cancel(
        CancelSettled(due=again.due, seen=seen, log=log_of(again.due, "asked", NOW), now=NOW + 9)
    )
    assert (after.state, after.settled_by) == (JobState.CANCELED, Source.CANCEL)
    assert desk.count("dispatch") == 1
    await desk.store.settle_cancel(
        CancelSettled(due=second.due, log=log_of(second.due, "asked", NOW), now=NOW + 9)
    )
    (look,) = await desk.claim(at=NOW + 9)
    assert (look.due.step, look.job.id) == (Step.LOOK, second.job.id)


async def test_a_clock_that_is_set_back_delays_nothing(desk: Desk) -> None:
    """What lay ahead comes as soon as it would have: looks, leases, dispatches, deadlines; what was due stays due."""
    await desk.register("h", "k")
    one, two = [await desk.submitted(remote_id=f"r{n}", created_at=NOW + n * HOUR) for n in range(2)]
    await desk.call(await desk.submitted(remote_id="r9"), DONE)
    (leased,) = await desk.claim(at=NOW + MINUTE)
    ((dispatch, _),) = await desk.work("h", at=NOW + MINUTE)
    await desk.store.shift(ClockStep(before=NOW + MINUTE, now=NOW + MINUTE - DAY))
    assert len(await desk.work("k", at=NOW + MINUTE - DAY)) == 1
    at = NOW + MINUTE - DAY + LEASE
    assert await desk.work("h", at=at - 1) == []
    assert [again.id for again, _ in await desk.work("h", at=at)] == [dispatch.id]
    assert await desk.claim(at=at - 1) == []
    assert [c.job.id for c in await desk.claim(at=at)] == [leased.job.id] == [one.id]
    assert await desk.claim(at=NOW + HOUR + MINUTE - DAY - 1, provider="acme", limit=1, owner="b") != []
    assert [c.job.id for c in await desk.claim(at=NOW + HOUR + MINUTE - DAY)] == [two.id]
    assert (await desk.store.job(two.id)).deadline_at == two.deadline_at - DAY


async def test_a_clock_that_is_set_forward_takes_nothing_away(desk: Desk) -> None:
    """Leases and the deadlines of open jobs move along; what waits may come early, and ended jobs stay as they are."""
    await desk.register("h")
    one = await desk.submitted()
    done = await desk.submitted(remote_id="r9", created_at=NOW - MINUTE)
    await desk.call(done, DONE)
    given_up = await desk.submitted("waker", remote_id="r8")
    await desk.store.abandon(given_up.id, now=NOW)
    assert (await desk.call(given_up, {})).look
    (leased,) = await desk.claim(at=NOW + MINUTE)
    ((dispatch, _),) = await desk.work("h", at=NOW + MINUTE)
    await desk.store.shift(ClockStep(before=NOW + MINUTE, now=NOW + MINUTE + DAY))
    at = NOW + MINUTE + DAY + LEASE
    assert await desk.claim(at=at - 1) == []
    assert await desk.work("h", at=at - 1) == []
    assert (await desk.store.job(one.id)).deadline_at == one.deadline_at + DAY
    for ended in (done, given_up):
        assert (await desk.store.job(ended.id)).deadline_at == ended.deadline_at
    assert await desk.finish(dispatch, at=at)
    assert await desk.settle(leased, Seen(seen=Observation(state=JobState.FAILED)), at=at) is not None
