"""Pruning: what ended long ago goes with everything of its own, and nothing goes that is still wanted."""

import pytest

from receiver.core.errors import NotFoundError
from receiver.core.model import DAY, MINUTE, Verdict
from receiver.storage.queries import Page
from receiver.storage.retention import SHORTEST, Prune
from tests.core.making import NOW
from tests.storage.making import DONE, FAILED, WIDE, Desk, arrival, callback


async def ended(desk: Desk, remote_id: str, at: int) -> str:
    """A job at the account-wide provider that ended at *at*."""
    one = await desk.submitted("wide", remote_id=remote_id, created_at=at - MINUTE)
    await desk.call_wide(DONE | {"id": remote_id}, at=at)
    return one.id


async def test_pruning_deletes_a_job_with_everything_of_its_own(desk: Desk) -> None:
    """Jobs that ended long ago go, open and younger ones stay; a late retry is still a duplicate."""
    old = await ended(desk, "old", NOW - 30 * DAY)
    young = await ended(desk, "young", NOW - 20 * DAY)
    running = await desk.submitted("wide", remote_id="running", created_at=NOW - 40 * DAY)
    item = Prune(before=NOW - 25 * DAY, now=NOW)
    dry = await desk.store.prune(Prune(before=item.before, now=NOW, dry_run=True))
    assert (dry.jobs, dry.callbacks, dry.after) == (1, 1, None)
    assert desk.count("job") == 3
    pruned = await desk.store.prune(item)
    assert (pruned.jobs, pruned.callbacks) == (1, 1)
    with pytest.raises(NotFoundError):
        await desk.store.job(old)
    for table in ("attempt", "callback", "due", "result_chunk", "submission"):
        assert desk.count(table, f"job_id = '{old}'") == 0
    assert {one.id for one in await desk.store.jobs(Page())} == {young, running.id}
    before = desk.count("callback")
    receipt = await desk.call_wide(DONE | {"id": "old"}, at=NOW)
    assert (receipt.verdict, receipt.code) == (Verdict.DUPLICATE, "job_pruned")
    assert (desk.count("job"), desk.count("callback")) == (2, before)
    assert (await desk.store.prune(item)).jobs == 0


async def test_a_rejected_callback_of_a_pruned_job_is_a_duplicate(desk: Desk) -> None:
    """Re-verified after its job ended and was deleted, it dispatches nothing a second time."""
    await desk.register("h")
    forged = callback(WIDE, DONE | {"id": "old"}, at=NOW - 30 * DAY, rejected="signature_mismatch")
    await desk.store.ingest(arrival(forged))
    old = await ended(desk, "old", NOW - 30 * DAY)
    ((dispatch, _),) = await desk.work("h", at=NOW - 30 * DAY)
    await desk.finish(dispatch, at=NOW - 30 * DAY)
    assert (await desk.store.prune(Prune(before=NOW, now=NOW))).jobs == 1
    receipt, made = await desk.readmit(forged.id, at=NOW)
    assert (receipt.verdict, receipt.code, made) == (Verdict.DUPLICATE, "job_pruned", [])
    assert desk.count("job", f"id = '{old}'") == desk.count("job") == 0


async def test_nothing_is_pruned_before_four_days(desk: Desk) -> None:
    """Whatever age is asked for: senders retry for 76 hours, and the token lives as long."""
    await ended(desk, "r1", NOW - SHORTEST)
    assert (await desk.store.prune(Prune(before=NOW + DAY, now=NOW))).jobs == 0
    assert (await desk.store.prune(Prune(before=NOW + DAY, now=NOW + 1))).jobs == 1


async def test_unfinished_dispatches_keep_their_job(desk: Desk) -> None:
    """A dead letter waits for a person, who needs the job and its result."""
    await desk.register("h")
    kept = await ended(desk, "r1", NOW - 30 * DAY)
    ((dispatch, _),) = await desk.work("h", at=NOW - 30 * DAY)
    item = Prune(before=NOW, now=NOW)
    assert (await desk.store.prune(item)).jobs == 0
    await desk.finish(dispatch, "failed", at=NOW - 30 * DAY)
    assert (await desk.store.prune(item)).jobs == 0
    assert await desk.store.result(await desk.store.job(kept)) == b'{"a": 1}'
    await desk.store.discard_dispatch(dispatch, now=NOW)
    assert (await desk.store.prune(item)).jobs == 1


async def test_unreadable_callbacks_without_a_job_are_pruned_by_their_own_age(desk: Desk) -> None:
    """They belong to nobody whose end could be waited for, and are still not kept forever."""
    await desk.call_wide(b"<html>", at=NOW - 30 * DAY)
    await desk.call_wide(b"<html>", at=NOW - DAY)
    item = Prune(before=NOW, now=NOW)
    assert (await desk.store.prune(Prune(before=NOW, now=NOW, dry_run=True))).callbacks == 1
    assert (await desk.store.prune(item)).callbacks == 1
    assert desk.count("callback") == 1


async def test_pruning_goes_on_where_it_stopped(desk: Desk) -> None:
    """Batches are small; each names where the next begins, and every old job is reached."""
    for n in range(205):
        one = await desk.submitted(remote_id=f"r{n}", created_at=NOW - 30 * DAY + n)
        await desk.call(one, FAILED, at=NOW - 30 * DAY + n)
    after: str | None = ""
    sizes = []
    while after is not None:
        pruned = await desk.store.prune(Prune(before=NOW, after=after, now=NOW))
        sizes.append(pruned.jobs)
        after = pruned.after
    assert sizes == [200, 5]
    assert desk.count("job") == 0
