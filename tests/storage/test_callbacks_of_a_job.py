"""The callbacks of a job: the first is named by its job, the others are in an index, and together they are all."""

import asyncio
from collections.abc import Sequence
from typing import Final

from receiver.core.identity import CALLBACK, JOB, new_id
from receiver.core.job.admission import MOST_KEPT
from receiver.core.model import DAY, MINUTE, Callback, Job, Observation
from receiver.storage import schema
from receiver.storage.arrivals import HOLD
from receiver.storage.driver import Driver
from receiver.storage.opening import open_driver
from receiver.storage.queries import Page
from receiver.storage.retention import Prune
from receiver.storage.store import Store
from tests.core.making import NOW
from tests.storage.making import ACME, DONE, FAILED, WIDE, Desk, arrival, callback, made_by

#: Where each database keeps the definitions of its indexes, by ``Driver.exclusive``.
_INDEXES: Final = {
    True: "SELECT sql FROM sqlite_master WHERE name = 'callback_job'",
    False: "SELECT indexdef FROM pg_indexes WHERE indexname = 'callback_job'",
}


async def listed(desk: Desk, one: Job) -> list[str]:
    """The ids of the callbacks that the record of *one* shows."""
    shown = [callback.id for callback in (await desk.store.record(one.id)).callbacks]
    found = await desk.store.callbacks(Page(job_id=one.id))
    assert shown == sorted(callback.id for callback in found)
    return shown


async def sent(desk: Desk, one: Callback) -> str:
    """Take a callback; return its id."""
    await desk.store.ingest(arrival(one))
    return one.id


async def test_a_job_shows_every_callback_once(desk: Desk) -> None:
    """Forged ones before and after, the one that ended it, what nobody could read, and duplicates."""
    one = await desk.submitted()
    bystander = await desk.submitted(remote_id="r2")
    await desk.call(bystander, DONE)
    ids = [
        await sent(desk, callback(ACME, DONE, job_id=one.id, at=NOW, rejected="signature_mismatch")),
        await sent(desk, callback(ACME, DONE, job_id=one.id, at=NOW + 1)),
        await sent(desk, callback(ACME, b"<html>", job_id=one.id, at=NOW + 2)),
        await sent(desk, callback(ACME, DONE, job_id=one.id, at=NOW + 3)),
        await sent(desk, callback(ACME, DONE, job_id=one.id, at=NOW + 4, rejected="signature_mismatch")),
    ]
    assert await listed(desk, one) == ids
    assert (await desk.store.job(one.id)).first_callback == ids[1]
    newest = await desk.store.callbacks(Page(job_id=one.id, limit=2))
    assert [callback.id for callback in newest] == [ids[4], ids[3]]
    older = await desk.store.callbacks(Page(job_id=one.id, before=ids[3], verdict="accepted"))
    assert [callback.id for callback in older] == [ids[1]]


async def test_a_first_callback_that_nobody_can_read_is_shown(desk: Desk) -> None:
    """It is the first, though it changes nothing of its job but the count."""
    one = await desk.submitted()
    first = await sent(desk, callback(ACME, b"<html>", job_id=one.id))
    second = await sent(desk, callback(ACME, DONE, job_id=one.id, at=NOW + 1))
    assert await listed(desk, one) == [first, second]


async def test_the_first_counts_among_those_that_nobody_can_read(desk: Desk) -> None:
    """So many of them are kept, wherever they stand."""
    one = await desk.submitted()
    for n in range(2 * MOST_KEPT):
        await sent(desk, callback(ACME, b"<html>", job_id=one.id, at=NOW + n))
    assert len(await listed(desk, one)) == MOST_KEPT
    assert (await desk.store.job(one.id)).callbacks == 2 * MOST_KEPT


async def test_callbacks_that_come_together_are_all_shown(desk: Desk) -> None:
    """Of those that are taken in one transaction one is the first."""
    one = await desk.submitted()
    together = [callback(ACME, DONE, job_id=one.id, at=NOW + n) for n in range(5)]
    await asyncio.gather(*(desk.store.ingest(arrival(each)) for each in together))
    assert await listed(desk, one) == sorted(each.id for each in together)
    assert desk.count("callback", "is_first = 1") == 1


async def test_a_job_shows_the_callbacks_that_waited_for_its_name(desk: Desk) -> None:
    """Those that came before its submit answer, and those that no answer claimed and that made a job of their own."""
    one = await desk.submit("wide")
    early = [
        await sent(desk, callback(WIDE, {"status": "working", "id": "r1"}, at=NOW + n)) for n in range(2)
    ]
    lone = await sent(desk, callback(WIDE, DONE | {"id": "r2"}, at=NOW))
    await desk.answer(one, seen=Observation(remote_id="r1"))
    late = await sent(desk, callback(WIDE, DONE | {"id": "r1"}, at=NOW + 5))
    assert await listed(desk, one) == [*early, late]
    ((found, provider),) = await desk.store.held_due(now=NOW + HOLD + 1)
    assert (found, provider) == (lone, "wide")
    terms = arrival(callback(WIDE, DONE)).terms
    receipt = await desk.store.release_held(lone, terms=terms, now=NOW + HOLD + 1)
    assert receipt.job_id is not None
    adopted = await desk.store.job(receipt.job_id)
    assert (await listed(desk, adopted), adopted.callbacks) == ([lone], 1)
    assert (await desk.store.job(one.id)).callbacks == 3


async def test_whoever_comes_after_a_callback_that_was_counted_is_not_the_first(desk: Desk) -> None:
    """Not even where the first one has no place in its job's row, because it waited for the job's name."""
    one = await desk.submit("wide")
    await desk.call_wide({"status": "working", "id": "r1"})
    await desk.answer(one, seen=Observation(remote_id="r1"))
    await desk.call_wide(DONE | {"id": "r1"})
    assert (await desk.store.job(one.id)).first_callback is None
    assert desk.count("callback", "is_first = 1") == 0


async def test_a_job_shows_a_callback_that_was_read_again(desk: Desk) -> None:
    """Rejected at first and admitted by a replay: shown once, before and after."""
    one = await desk.submitted()
    forged = await sent(desk, callback(ACME, DONE, job_id=one.id, rejected="signature_mismatch"))
    assert await listed(desk, one) == [forged]
    receipt, _ = await desk.readmit(forged, at=NOW + 1)
    assert receipt.completed
    again = await sent(desk, callback(ACME, DONE, job_id=one.id, at=NOW + 2))
    assert await listed(desk, one) == [forged, again]


async def test_the_only_callback_of_a_job_takes_no_place_in_an_index(desk: Desk) -> None:
    """Among a million jobs such a place is a page of its own to be written."""
    for n in range(5):
        one = await desk.submitted(remote_id=f"r{n}")
        await desk.call(one, DONE)
        await desk.call_wide(DONE | {"id": f"w{n}"})
    assert desk.count("callback") == 10
    assert desk.count("callback", "job_id IS NULL OR is_first = 0") == 0
    ((definition,),) = desk.rows(_INDEXES[desk.store.driver.exclusive])
    assert definition.endswith(("WHERE job_id IS NOT NULL AND is_first = 0", "AND (is_first = 0))"))


async def test_all_callbacks_of_a_job_are_pruned_with_it(desk: Desk) -> None:
    """The first, the others, and none of another job's."""
    old = NOW - 30 * DAY
    one = await desk.submitted(created_at=old)
    for n in range(3):
        await desk.call(one, DONE, at=old + n)
    await sent(desk, callback(ACME, DONE, job_id=one.id, at=old + 5, rejected="signature_mismatch"))
    forged = await desk.submitted(remote_id="r2", created_at=old)
    await sent(desk, callback(ACME, DONE, job_id=forged.id, at=old, rejected="signature_mismatch"))
    await desk.store.abandon(forged.id, now=old + MINUTE)
    kept = await desk.submitted(remote_id="r3", created_at=old)
    await desk.call(kept, {"status": "working"}, at=old)
    item = Prune(before=NOW, now=NOW)
    dry = await desk.store.prune(Prune(before=NOW, now=NOW, dry_run=True))
    pruned = await desk.store.prune(item)
    assert (dry.jobs, dry.callbacks) == (pruned.jobs, pruned.callbacks) == (2, 5)
    assert desk.count("callback") == len(await listed(desk, kept)) == 1
    assert desk.rows("SELECT entries, bytes FROM quarantine") == [(0, 0)]


async def test_callbacks_of_an_older_database_are_shown(empty_url: str) -> None:
    """What was stored before jobs named their first callback is found, next to what comes after."""
    ended, waiting = new_id(JOB, NOW), new_id(JOB, NOW)
    stored = [new_id(CALLBACK, NOW), new_id(CALLBACK, NOW + 1)]
    driver = open_driver(empty_url)
    await asyncio.to_thread(_filled_by_an_older_version, driver, ended, waiting, stored)
    store = await Store.open(empty_url)
    desk = Desk(store)
    try:
        first, second = await store.job(ended), await store.job(waiting)
        assert (first.callbacks, first.first_callback, await listed(desk, first)) == (2, None, stored)
        assert await store.jobs(Page(state="submitted")) == [second]
        third = await sent(desk, callback(ACME, FAILED, job_id=ended, at=NOW + 2))
        assert await listed(desk, first) == [*stored, third]
        only = await sent(desk, callback(ACME, FAILED, job_id=waiting, at=NOW + 2))
        assert await listed(desk, second) == [only]
        assert [one.id for one in await store.jobs(Page(state="failed"))] == [waiting]
    finally:
        await store.close()


def _filled_by_an_older_version(driver: Driver, ended: str, waiting: str, callbacks: Sequence[str]) -> None:
    """A database as the first two migrations leave it: a job with *callbacks*, and one that waits."""
    made_by(driver, schema.known()[:2])
    with driver.write() as tx:
        tx.insert(
            "job",
            "id, provider, operation, state, delivery, key_id, created_at, deadline_at, keep_from, submission, "
            "callbacks",
            [
                (one, "acme", "", state, "result", "k", NOW, NOW + DAY, "completion", "sent", count)
                for one, state, count in ((ended, "succeeded", 2), (waiting, "submitted", 0))
            ],
        )
        tx.insert(
            "due", "job_id, step, provider, run_at, attempt, failures", [(waiting, "look", "acme", NOW, 0, 0)]
        )
        tx.insert(
            "callback",
            "id, provider, route, job_id, received_at, method, query, headers, body, verdict",
            [
                (one, "acme", "callbacks", ended, NOW, "POST", b"", b"[]", b"{}", "accepted")
                for one in callbacks
            ],
        )
    driver.close()
