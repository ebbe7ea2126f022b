"""A job's name at its provider, learned from anyone: one place does what follows."""

import pytest

from receiver.core.asking.exchange import Seen
from receiver.core.handler import HandlerSpec
from receiver.core.model import HOUR, MINUTE, Job, JobState, Observation, Step, Verdict
from tests.core.making import NOW
from tests.storage.making import DONE, Desk

WORKING = {"id": "r1", "status": "working"}


async def unknown(desk: Desk, provider: str = "acme") -> Job:
    """A job whose submission nobody answered."""
    one = await desk.submit(provider)
    return await desk.answer(one)


async def steps(desk: Desk, one: Job) -> dict[Step, int]:
    """When what is due for a job."""
    return {due.step: due.run_at for due in (await desk.store.record(one.id)).due}


@pytest.mark.parametrize("by", ["a callback", "a look", "the submit answer"])
async def test_whoever_tells_the_name_the_job_is_asked_about_and_canceled(desk: Desk, by: str) -> None:
    """The look is planned, and the wish to cancel that was made earlier is sent, once."""
    if by == "the submit answer":
        one = await desk.submit()
    else:
        one = await unknown(desk, "waker" if by == "a look" else "acme")
        assert await steps(desk, one) == {Step.LOOK: one.deadline_at}
    await desk.store.cancel(one.id, now=NOW + 1)
    assert Step.CANCEL not in await steps(desk, one)
    if by == "a callback":
        await desk.call(one, WORKING, at=NOW + 2)
        look_at = NOW + 2 + 10 * MINUTE
    elif by == "the submit answer":
        await desk.answer(one, seen=Observation(state=JobState.SUBMITTED, remote_id="r1"), at=NOW + 2)
        look_at = NOW + 2 + MINUTE
    else:
        await desk.call(one, {"id": "r1"}, at=NOW + 2)
        seen = Observation(state=JobState.RUNNING, remote_id="r1")
        await desk.look(Seen(seen=seen), at=NOW + 2, provider="waker")
        look_at = NOW + 2 + MINUTE
    assert (await desk.store.job(one.id)).remote_id == "r1"
    due = await steps(desk, one)
    assert due == {Step.LOOK: look_at, Step.CANCEL: due[Step.CANCEL]}
    (wish, *_) = await desk.claim(at=NOW + 2, provider=one.provider)
    assert wish.due.step is Step.CANCEL
    # Told again, nothing follows from it.
    await desk.call(one, {"id": "r1"} if by == "a look" else WORKING, at=NOW + 3)
    assert (await desk.store.record(one.id)).due[0].attempt <= 1


async def test_what_was_held_for_it_is_its_own(desk: Desk) -> None:
    """A callback at the account-wide address came first, while another job of that provider was being submitted."""
    await desk.register(HandlerSpec(name="h", state="any"))
    one = await unknown(desk, "wide")
    await desk.submit("wide")
    assert (await desk.call_wide(DONE | {"id": "r1"}, at=NOW + 1)).code == "held"
    assert (await desk.call(one, WORKING, at=NOW + 2)).verdict is Verdict.ACCEPTED
    assert (await desk.store.job(one.id)).state is JobState.SUCCEEDED
    assert desk.count("held") == 0
    assert desk.count("dispatch") == 1
    assert len((await desk.store.record(one.id)).callbacks) == 2


async def test_a_job_that_timed_out_is_looked_at_once_its_name_is_known(desk: Desk) -> None:
    """There was nothing to ask with before; now there is, rarely, as for others of its kind."""
    one = await unknown(desk)
    await desk.store.abandon(one.id, now=NOW + 1)
    with desk.store.driver.write() as tx:
        tx.run("DELETE FROM due")
    await desk.call(one, WORKING, at=NOW + HOUR)
    assert list(await steps(desk, one)) == [Step.LOOK]
