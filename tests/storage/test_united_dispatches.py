"""What handlers are still to be told of a job that became another's: its line, its lease, its dead letter."""

import asyncio

import pytest

from receiver.core.errors import ConflictError, NotFoundError
from receiver.core.handler import HandlerSpec
from receiver.core.model import HOUR, MINUTE, SECOND, Dispatch, Job
from receiver.storage.claims import LookClaim
from receiver.storage.dead_letters import named
from receiver.storage.dispatches import DispatchClaim
from receiver.storage.queries import Page
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk, leases

from .test_united import adopted, link, orphan

BY_CUSTOMER = HandlerSpec(name="h", ordered_by="metadata.customer")
AT = NOW + 2 * MINUTE


async def claim(
    desk: Desk, *, at: int, limit: int = 10, held: set[tuple[str, ...]] | None = None
) -> list[tuple[Dispatch, Job]]:
    """Claim what a node does whose handler orders its completions."""
    return await desk.store.claim_dispatches(
        DispatchClaim(
            owner="node", limits={"h": limit}, lease_ms=LEASE, now=at, ordering=["h"], held=held or set()
        )
    )


async def beside_another(desk: Desk, spec: HandlerSpec, **changes: object) -> tuple[Job, Job]:
    """A job that nobody could name, told of as another's, and one that ended after it."""
    await desk.register(spec)
    lost = await desk.answer(await desk.submit("wide", metadata={"customer": "a"}, **changes))
    after = await desk.submitted("wide", remote_id="r2", metadata={"customer": "a"}, **changes)
    await adopted(desk)
    return lost, after


async def test_what_waits_stands_in_its_customers_line(desk: Desk) -> None:
    """Nobody knew whose it was; linked, it is its customer's, in the order of completion, one at a time."""
    lost, after = await beside_another(desk, BY_CUSTOMER)
    await desk.call_wide(DONE | {"id": "r2"}, at=AT)
    await desk.store.link(link(lost, at=AT))
    for expected in (lost, after):
        ((dispatch, job),) = await claim(desk, at=AT)
        assert (job.id, dispatch.line) == (expected.id, '"a"')
        assert await claim(desk, at=AT) == []
        assert await desk.finish(dispatch, at=AT)
    assert desk.count("dispatch") == 0


async def test_a_line_that_is_left_goes_on(desk: Desk) -> None:
    """Ordered by operation the two stood in different lines; what was behind the younger is next there."""
    lost, other = await beside_another(desk, HandlerSpec(name="h", ordered_by="operation"), operation="speak")
    await desk.call_wide(DONE | {"id": "r3"}, at=AT)
    # The line is made, and nobody has time yet.
    assert await claim(desk, at=AT, limit=0) == []
    await desk.store.link(link(lost, at=AT))
    first = await claim(desk, at=AT)
    assert sorted((dispatch.line, job.remote_id) for dispatch, job in first) == [
        ('""', "r3"),
        ('"speak"', "r1"),
    ]
    await desk.call_wide(DONE | {"id": "r2"}, at=AT)
    assert await claim(desk, at=AT) == []
    for dispatch, _ in first:
        await desk.finish(dispatch, at=AT)
    assert [job.id for _, job in await claim(desk, at=AT)] == [other.id]


async def test_a_dead_one_holds_up_the_line_that_it_turns_out_to_belong_to(desk: Desk) -> None:
    """Until it is retried, by the id that a person may have of it, of before."""
    lost, after = await beside_another(desk, BY_CUSTOMER)
    ((dispatch, other),) = await claim(desk, at=AT)
    await desk.finish(dispatch, "failed", at=AT)
    await desk.store.link(link(lost, at=AT))
    await desk.call_wide(DONE | {"id": "r2"}, at=AT)
    assert await claim(desk, at=AT + 1) == []
    assert [one.job_id for one in await desk.store.read(named, [f"{other.id}:h:"])] == [lost.id]
    letter = await desk.store.dispatch(other.id, handler="h", replay_id="")
    assert (letter.job_id, letter.state) == (lost.id, "dead")
    assert await desk.store.retry_dispatch(dispatch, now=AT)
    ((dispatch, job),) = await claim(desk, at=AT + 2)
    assert job.id == lost.id
    await desk.finish(dispatch, at=AT + 2)
    assert [job.id for _, job in await claim(desk, at=AT + 3)] == [after.id]


async def test_a_dead_letter_is_discarded_by_its_id_of_before(desk: Desk) -> None:
    """The timeline of the job that it belongs to says so."""
    await desk.register("h")
    lost = await orphan(desk)
    await adopted(desk)
    ((dispatch, other),) = await desk.work("h", at=AT)
    await desk.finish(dispatch, "failed", at=AT)
    await desk.store.link(link(lost, at=AT))
    assert await desk.store.discard_dispatch(dispatch, now=AT)
    record = await desk.store.record(lost.id)
    assert record.dispatches == []
    assert "discarded" in [one.outcome for one in record.attempts]
    with pytest.raises(NotFoundError):
        await desk.store.dispatch(other.id, handler="h", replay_id="")


async def test_who_runs_it_is_sure_of_it(desk: Desk) -> None:
    """Also after its process stood still; and whoever holds it never claims it a second time."""
    await desk.register("h")
    lost = await orphan(desk)
    await adopted(desk)
    ((running, _),) = await desk.work("h", at=AT)
    await desk.store.link(link(lost, at=AT))
    held: set[tuple[str, ...]] = {(running.job_id, "h", "")}
    assert await claim(desk, at=AT + LEASE + 1, held=held) == []
    assert await desk.store.renew(running, until=AT + HOUR)
    assert await desk.work("h", at=AT + HOUR - SECOND, owner="other") == []
    assert await desk.finish(running, at=AT + HOUR)


async def test_each_is_told_of_its_own(desk: Desk) -> None:
    """Several make sure at the same moment, in whatever order: whose lease it still is hears so, and nobody else."""
    await desk.register("h")
    for name in ("r1", "r2"):
        await desk.submitted("wide", remote_id=name)
        await desk.call_wide(DONE | {"id": name})
    (mine, _), (lost, other) = await desk.work("h", at=AT)
    await desk.store.release(leases((lost, other)), lease_ms=LEASE, now=AT)
    for first, second in ((mine, lost), (lost, mine)):
        told = await asyncio.gather(*(desk.store.renew(one, until=AT + HOUR) for one in (first, second)))
        assert told == [first is mine, second is mine]


async def test_what_is_done_by_the_id_of_before_is_told_of_the_job(desk: Desk) -> None:
    """A replay, a look by hand, giving it up: its timeline is that of the job that it became."""
    await desk.register(HandlerSpec(name="h", state="any"))
    lost = await orphan(desk)
    other = await adopted(desk, {"status": "running"})
    await desk.store.link(link(lost, at=AT))
    look = LookClaim(job_id=other.id, owner="node", lease_ms=LEASE, now=AT + SECOND)
    claimed = await desk.store.claim_look(look)
    assert claimed is not None
    assert claimed.job.id == lost.id
    await desk.store.abandon(other.id, now=AT)
    await desk.store.replay(other.id, handler="h", replay_id="rpl_1", now=AT)
    outcomes = [one.outcome for one in (await desk.store.record(lost.id)).attempts]
    assert {"abandoned", "made"} <= set(outcomes)
    assert desk.rows("SELECT count(*) FROM attempt WHERE job_id = :id", id=other.id) == [(0,)]


async def test_two_jobs_are_not_both_linked_to_one(desk: Desk) -> None:
    """At the same moment: one of them is, the other one's person hears which, and the handler is called once."""
    await desk.register("h")
    lost = [await orphan(desk), await orphan(desk)]
    await adopted(desk)
    told = await asyncio.gather(*(desk.store.link(link(one, at=AT)) for one in lost), return_exceptions=True)
    assert [type(one) for one in told if isinstance(one, Exception)] == [ConflictError]
    assert [job.remote_id for _, job in await desk.work("h", at=AT)] == ["r1"]
    assert len(await desk.store.jobs(Page())) == 2
