"""Requests with a good token that were refused before their body was here: what the record keeps of them."""

import asyncio

from msgspec.structs import replace

from receiver.core.job.admission import MOST_KEPT
from receiver.core.model import DAY, HOUR, MINUTE, Delivery, Job
from receiver.storage.refusals import Refusal
from tests.core.making import NOW
from tests.storage.making import DONE, Desk

TOO_LARGE = "body_too_large"


def refusal(one: Job, *, at: int = NOW + 1, wakes: bool = True, askable: bool = True) -> Refusal:
    """A body over the limit."""
    return Refusal(
        job_id=one.id, code=TOO_LARGE, status=413, method="POST", at=at, wakes=wakes, askable=askable
    )


async def lines(desk: Desk, one: Job) -> list[tuple[str, str | None]]:
    """What the timeline says of refusals."""
    attempts = (await desk.store.record(one.id)).attempts
    return [(line.outcome, line.code) for line in attempts if line.step == "receive"]


async def due_at(desk: Desk, one: Job) -> list[int]:
    """When the job is looked at."""
    return [due.run_at for due in (await desk.store.record(one.id)).due]


async def test_a_refusal_is_a_line_and_a_wake_up(desk: Desk) -> None:
    """The provider is asked at once, and the timeline says why; it counts as no callback."""
    one = await desk.submitted("waker")
    assert await desk.store.refuse(refusal(one))
    assert await lines(desk, one) == [("refused", TOO_LARGE)]
    assert await due_at(desk, one) == [NOW + 1]
    assert (await desk.store.job(one.id)).callbacks == 0


async def test_where_a_signature_is_due_a_refusal_moves_nothing(desk: Desk) -> None:
    """Its token alone is not believed: the line is all."""
    one = await desk.submitted("acme")
    before = await due_at(desk, one)
    assert not await desk.store.refuse(refusal(one, wakes=False))
    assert await lines(desk, one) == [("refused", TOO_LARGE)]
    assert await due_at(desk, one) == before


async def test_where_there_is_nothing_to_ask_nobody_is_woken(desk: Desk) -> None:
    """The provider posts its results and answers no question."""
    one = await desk.submitted("waker", delivery=Delivery.RESULT)
    assert not await desk.store.refuse(refusal(one, askable=False))
    assert await desk.store.refuse(refusal(one, askable=True))


async def test_one_look_answers_all_refusals_before_it(desk: Desk) -> None:
    """However many come at once; and of one job twenty are kept and heeded."""
    one = await desk.submitted("waker")
    looks = await asyncio.gather(*(desk.store.refuse(refusal(one, at=NOW + n)) for n in range(1, 31)))
    assert looks.count(True) == MOST_KEPT
    assert len(await lines(desk, one)) == MOST_KEPT
    (claimed,) = await desk.claim(at=NOW + 30, provider="waker")
    assert claimed.job.id == one.id
    assert not await desk.store.refuse(refusal(one, at=NOW + MINUTE))


async def test_a_job_that_has_ended_is_not_woken(desk: Desk) -> None:
    """The line says what came; four days later not even that."""
    one = await desk.submitted("acme")
    await desk.call(one, DONE)
    assert (await desk.store.job(one.id)).state.ended
    assert not await desk.store.refuse(refusal(one, at=NOW + HOUR))
    assert not await desk.store.refuse(refusal(one, at=NOW + 5 * DAY))
    assert await lines(desk, one) == [("refused", TOO_LARGE)]


async def test_a_job_that_is_unknown_leaves_nothing(desk: Desk) -> None:
    """A refusal makes no job."""
    one = await desk.submitted("waker")
    assert not await desk.store.refuse(replace(refusal(one), job_id="job_" + "0" * 32))
    assert await lines(desk, one) == []
