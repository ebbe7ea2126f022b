"""Who gets which completion: by metadata, by how far a job has come, and under a new name; on any database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from receiver.core.handler import HandlerSpec
from receiver.core.job.admission import terms_for
from receiver.core.model import DAY, HOUR, SECOND, Observation
from receiver.storage.claims import Beat
from receiver.storage.driver import Transaction
from receiver.storage.nodes import Node
from receiver.storage.queries import Page
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, WIDE, Desk

WORKING = {"status": "working"}


def dispatched(desk: Desk) -> list[tuple[Any, ...]]:
    """Every dispatch."""
    return desk.rows("SELECT handler, replay_id, job_id FROM dispatch ORDER BY handler, replay_id, job_id")


async def test_a_handler_may_want_certain_metadata(desk: Desk) -> None:
    """Whoever takes the callback decides it, by what is registered: of many values each must be there, and the same."""
    await desk.register(
        "all",
        HandlerSpec(name="a", metadata={"customer": "a"}),
        HandlerSpec(name="one", metadata={"customer": "a", "tier": 1}),
        HandlerSpec(name="true", metadata={"tier": True}),
        HandlerSpec(name="failures", state="failed", metadata={"customer": "a"}),
    )
    jobs = [
        await desk.submitted(remote_id=f"r{n}", metadata=metadata)
        for n, metadata in enumerate([{"customer": "a", "tier": 1}, {"customer": "a"}, {"customer": "b"}, {}])
    ]
    for one in jobs:
        await desk.call(one, DONE)
    found = {
        name: {job for handler, _, job in dispatched(desk) if handler == name} for name in ("all", "a", "one")
    }
    assert found == {
        "all": {one.id for one in jobs},
        "a": {jobs[0].id, jobs[1].id},
        "one": {jobs[0].id},
    }
    assert desk.count("dispatch") == 4 + 2 + 1
    # Replayed, they want the same; and one that is named gets it whatever it wants.
    assert await desk.store.replay(jobs[1].id, handler=None, replay_id="rpl_1", now=NOW) == ["a", "all"]
    assert await desk.store.replay(jobs[3].id, handler="one", replay_id="rpl_2", now=NOW) == ["one"]


async def test_who_has_no_filter_pays_for_none(desk: Desk) -> None:
    """Where nobody goes by metadata, a completion reads none."""
    await desk.register("h", HandlerSpec(name="other", provider="wide", metadata={"customer": "a"}))
    one = await desk.submitted(metadata={"customer": "a"})
    read: list[str] = []
    begin = desk.store.driver.write

    @contextmanager
    def listened(*, patient: bool = False) -> Iterator[Transaction]:
        with begin(patient=patient) as tx:
            run = tx.run
            tx.run = lambda sql, params={}: read.append(sql) or run(sql, params)  # type: ignore[method-assign,func-returns-value]
            yield tx

    desk.store.driver.write = listened  # type: ignore[method-assign]
    await desk.call(one, DONE)
    assert read
    assert [sql for sql in read if "FROM submission" in sql] == []


async def test_an_end_told_under_another_id_reaches_who_goes_by_metadata(desk: Desk) -> None:
    """The callback came before the answer to the submission: only once the two are one is its metadata known."""
    await desk.register("all", HandlerSpec(name="a", metadata={"customer": "a"}))
    one = await desk.submit("wide", metadata={"customer": "a"}, created_at=NOW)
    await desk.call_wide(DONE | {"id": "r1"}, at=NOW + 1)
    await desk.store.release_held(
        desk.rows("SELECT callback_id FROM held")[0][0],
        terms=terms_for(WIDE, key_id="k"),
        now=NOW + 90 * SECOND,
    )
    assert [row[0] for row in dispatched(desk)] == ["all"]
    await desk.answer(one, seen=Observation(remote_id="r1"), at=NOW + 100 * SECOND)
    assert dispatched(desk) == [("a", "", one.id), ("all", "", one.id)]


async def test_each_state_on_the_way_is_heard_once(desk: Desk) -> None:
    """When it is first seen, whoever sees it; the end is another's; a state that is skipped is not heard of."""
    await desk.register(
        *(HandlerSpec(name=state, state=state) for state in ("submitted", "running", "fetching")),
        HandlerSpec(name="mine", state="running", metadata={"customer": "a"}),
        "end",
    )
    one = await desk.submitted(remote_id="r1", metadata={"customer": "a"})
    assert dispatched(desk) == [("submitted", "submitted", one.id)]
    for _ in range(3):
        await desk.call(one, WORKING)
    assert [row[:2] for row in dispatched(desk)] == [
        ("mine", "running"),
        ("running", "running"),
        ("submitted", "submitted"),
    ]
    for handler in ("mine", "running", "submitted"):
        ((dispatch, _),) = await desk.work(handler, at=NOW + 9)
        await desk.finish(dispatch, at=NOW + 9)
    await desk.call(one, WORKING)
    assert desk.count("dispatch") == 0
    await desk.call(one, DONE)
    assert dispatched(desk) == [("end", "", one.id)]


@pytest.mark.parametrize("state", ["submitted", "running"])
async def test_a_job_that_was_not_submitted_here_is_heard_too(desk: Desk, state: str) -> None:
    """It is first seen when its callback comes."""
    await desk.register(HandlerSpec(name="h", state=state))
    await desk.call_wide(WORKING | {"id": "r1"})
    assert [row[:2] for row in dispatched(desk)] == [("h", state)]


async def test_a_renamed_handler_takes_over_what_waits(desk: Desk) -> None:
    """Dead letters too; nothing is made under the old name, also while a node that has it is alive."""
    await desk.register("old", only=False)
    jobs = [await desk.submitted(remote_id=f"r{n}") for n in range(4)]
    for one in jobs[:3]:
        await desk.call(one, DONE)
    ((dead, _),) = await desk.work("old", at=NOW, limit=1)
    await desk.finish(dead, "failed", at=NOW)
    ((under_way, _),) = await desk.work("old", at=NOW, limit=1, owner="old node")
    await desk.register(HandlerSpec(name="new", aliases=("old", "older")), only=False)
    assert sorted(row[0] for row in dispatched(desk)) == ["new", "new", "old"]
    await desk.beat(at=NOW, node="old", handlers=["old"])
    assert [one.name for one in await desk.store.registered()] == ["new"]
    await desk.call(jobs[3], DONE, at=NOW + 1)
    assert {row[0] for row in dispatched(desk) if row[2] == jobs[3].id} == {"new"}
    ((waiting, _), (_fresh, _)) = await desk.work("new", at=NOW + 2)
    # What it was called when it was made stays its key, so that a repetition is known as one.
    assert (waiting.id, waiting.key) == (f"{waiting.job_id}:new", f"{waiting.job_id}:old")
    assert [one.handler for one in await desk.store.dispatches(Page(state="dead"))] == ["new"]
    # What the old node was at comes when it has failed there, or when its lease has lapsed.
    await desk.finish(under_way, "failed", at=NOW + 2, retry_at=NOW + 3)
    assert await desk.store.reap(now=NOW + 3) == 0
    ((again, _),) = await desk.work("new", at=NOW + 3)
    assert (again.job_id, again.alias) == (under_way.job_id, "old")
    await desk.store.heartbeat(
        Beat(
            node=Node(name="n", role="serve", handlers=(HandlerSpec(name="new"),)), until=0, now=NOW + 2 * DAY
        )
    )
    await desk.store.reap(now=NOW + 2 * DAY)
    assert desk.rows("SELECT name FROM handler") == [("new",)]


async def test_a_name_that_is_taken_back_is_its_own_again(desk: Desk) -> None:
    """Whoever starts with the old name gets completions under it, and nobody by the new one any more."""
    await desk.register("old")
    await desk.register(HandlerSpec(name="new", aliases=("old",)))
    await desk.register("old", now=NOW + HOUR)
    assert [one.name for one in await desk.store.registered()] == ["old"]


async def test_a_lapsed_lease_of_the_old_name_is_taken_over(desk: Desk) -> None:
    """The process that ran it is gone: the next one knows that it was interrupted."""
    await desk.register("old")
    await desk.call(await desk.submitted(), DONE)
    ((taken, _),) = await desk.work("old", at=NOW, owner="gone")
    await desk.register(HandlerSpec(name="new", aliases=("old",)))
    await desk.store.reap(now=NOW + LEASE)
    ((again, _),) = await desk.work("new", at=NOW + LEASE)
    assert (again.job_id, again.lapsed) == (taken.job_id, True)
    assert replace(again, owner=None).alias == "old"
