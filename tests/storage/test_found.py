"""A result that comes after its job was taken for expired: it is taken once, whoever brings it."""

import pytest

from receiver.core.asking.exchange import Gone, Pending, Seen
from receiver.core.handler import HandlerSpec
from receiver.core.job.looking import Lost
from receiver.core.model import DAY, MINUTE, SECOND, Job, JobState, Observation, Source
from receiver.storage.united import FOUND, LATE
from tests.core.making import NOW
from tests.storage.making import DONE, Desk, held_in

RESULT = b'{"a": 1}'
SUCCESS = Observation(state=JobState.SUCCEEDED)


async def expired(desk: Desk, provider: str = "acme", *, at: int = NOW + MINUTE) -> Job:
    """A job whose result was taken for gone, as its handler has heard."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await desk.submitted(provider)
    await desk.look(Lost(), at=at, provider=provider)
    ((dispatch, job),) = await desk.work("h", at=at)
    assert job.state is JobState.EXPIRED
    assert await desk.finish(dispatch, at=at)
    return one


async def told(desk: Desk, *, at: int) -> list[tuple[str, JobState]]:
    """What the handler is told then: the replay ids, and the states of the jobs."""
    return [(dispatch.replay_id, job.state) for dispatch, job in await desk.work("h", at=at)]


async def test_a_signed_callback_that_holds_it_is_the_late_outcome(desk: Desk) -> None:
    """Handlers hear of it once, under the replay id of late results; a repetition is a duplicate."""
    one = await expired(desk)
    assert (await desk.call(one, DONE, at=NOW + DAY)).completed
    assert not (await desk.call(one, DONE, at=NOW + DAY + 1)).completed
    after = await desk.store.job(one.id)
    assert (after.state, after.settled_by, after.error) == (JobState.SUCCEEDED, Source.CALLBACK, None)
    assert await desk.store.result(after) == RESULT
    assert await told(desk, at=NOW + DAY + 1) == [(LATE, JobState.SUCCEEDED)]
    assert desk.count("due") == 0


@pytest.mark.parametrize("provider", ["acme", "waker"])
async def test_a_callback_about_what_has_expired_is_looked_into(desk: Desk, provider: str) -> None:
    """Signed, without the result; or a wake-up. If the provider lags behind its own call it is asked again."""
    one = await expired(desk, provider)
    at = NOW + DAY
    where = {"status": "done", "result_url": "https://api.acme.example/r"} if provider == "acme" else {}
    receipt = await desk.call(one, where, at=at)
    assert (receipt.look, receipt.completed) == (True, False)
    await desk.look(Gone(status=404), at=at, provider=provider)
    (claimed,) = await desk.claim(at=at + 2 * MINUTE, provider=provider)
    found = Seen(seen=SUCCESS, held=held_in(RESULT, claimed.due.attempt), content=RESULT)
    move = await desk.settle(claimed, found, at=at + 2 * MINUTE)
    assert move is not None
    assert (move.completed, move.job.settled_by) == (True, Source.CALLBACK)
    assert await told(desk, at=at + 2 * MINUTE) == [(LATE, JobState.SUCCEEDED)]
    assert desk.count("due") == 0


@pytest.mark.parametrize(("status", "looks"), [(410, 1), (404, 3)])
async def test_what_stays_gone_is_let_be(desk: Desk, status: int, looks: int) -> None:
    """A 410 is final; a 404 is doubted for minutes. Handlers hear nothing new, and nobody asks any more."""
    one = await expired(desk, "waker")
    at, done = NOW + DAY, 0
    await desk.call(one, {}, at=at)
    for after in (SECOND, 2 * MINUTE, 6 * MINUTE):
        for claimed in await desk.claim(at=at + after, provider="waker"):
            done += 1
            await desk.settle(claimed, Gone(status=status), at=at + after)
    known = await desk.store.job(one.id)
    assert (known.state, known.ended_at, known.woken_by) == (JobState.EXPIRED, NOW + MINUTE, None)
    assert (done, desk.count("due"), desk.count("dispatch")) == (looks, 0, 0)


async def test_after_two_ends_it_is_told_under_a_replay_id_of_its_own(desk: Desk) -> None:
    """Timed out, then expired, then found: no handler takes the last for a repetition of the second."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await desk.submitted()
    late = one.deadline_at
    await desk.look(Pending(), at=late)
    await desk.call(one, {"status": "done"}, at=late + 1)
    await desk.look(Gone(status=410), at=late + 2)
    for dispatch, _ in await desk.work("h", at=late + 2):
        assert await desk.finish(dispatch, at=late + 2)
    assert (await desk.store.job(one.id)).state is JobState.EXPIRED
    assert (await desk.call(one, DONE, at=late + 3)).completed
    assert await told(desk, at=late + 3) == [(FOUND, JobState.SUCCEEDED)]
