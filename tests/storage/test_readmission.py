"""A callback that was rejected or could not be read is read again: it does what it would have done, once."""

import asyncio

import pytest
from msgspec.structs import replace

from receiver.core.errors import NotFoundError
from receiver.core.model import HOUR, JobState, Verdict
from tests.core.making import NOW
from tests.storage.making import ACME, DONE, WIDE, Desk, arrival, callback


async def test_a_rejected_callback_is_admitted_after_the_fix(desk: Desk) -> None:
    """Verified anew it does what it would have done: the job ends, its result is where the callback is."""
    await desk.register("h")
    one = await desk.submitted()
    forged = callback(ACME, DONE, job_id=one.id, rejected="signature_mismatch")
    await desk.store.ingest(arrival(forged))
    receipt, made = await desk.readmit(forged.id, at=NOW + HOUR)
    assert (receipt.verdict, receipt.completed, made) == (Verdict.ACCEPTED, True, ["h"])
    job = await desk.store.job(one.id)
    assert (job.state, job.callbacks) == (JobState.SUCCEEDED, 1)
    assert await desk.store.result(job) == b'{"a": 1}'
    stored = await desk.store.callback(forged.id)
    assert (stored.verdict, stored.code, stored.key_id, stored.body) == (
        Verdict.ACCEPTED,
        None,
        "k",
        forged.body,
    )


async def test_a_callback_read_again_is_not_counted_again(desk: Desk) -> None:
    """A replay dispatches the stored end anew, and the count of arrivals stays."""
    await desk.register("h")
    one = await desk.submitted()
    sent = callback(ACME, DONE, job_id=one.id)
    await desk.store.ingest(arrival(sent))
    receipt, made = await desk.readmit(sent.id, at=NOW + HOUR)
    assert (receipt.verdict, receipt.completed, made) == (Verdict.DUPLICATE, False, ["h"])
    assert (await desk.store.job(one.id)).callbacks == 1
    assert (await desk.store.callback(sent.id)).verdict is Verdict.ACCEPTED
    assert desk.count("dispatch") == 2


async def test_copies_that_were_rejected_dispatch_once(desk: Desk) -> None:
    """A sender that was refused tries again: verified anew in bulk, its later copies are duplicates and no more."""
    await desk.register("h")
    one = await desk.submitted()
    copies = [callback(ACME, DONE, job_id=one.id, rejected="signature_mismatch") for _ in range(3)]
    for copy in copies:
        await desk.store.ingest(arrival(copy))
    found = [await desk.readmit(copy.id, at=NOW + HOUR, again=False) for copy in copies]
    assert [made for _, made in found] == [["h"], [], []]
    assert [receipt.verdict for receipt, _ in found] == [
        Verdict.ACCEPTED,
        Verdict.DUPLICATE,
        Verdict.DUPLICATE,
    ]
    assert desk.count("dispatch") == 1


async def test_an_unreadable_callback_is_read_again(desk: Desk) -> None:
    """Once it can be read it ends its job; one that still names none stays as it is."""
    await desk.register("h")
    one = await desk.submitted(remote_id="r1")
    odd = callback(ACME, DONE | {"id": "r2"}, job_id=one.id)
    assert (await desk.store.ingest(arrival(odd))).verdict is Verdict.UNREADABLE
    receipt, made = await desk.readmit(odd.id, at=NOW)
    assert (receipt.verdict, made) == (Verdict.UNREADABLE, [])
    nameless = callback(WIDE, DONE)
    await desk.store.ingest(arrival(nameless))
    receipt, made = await desk.readmit(nameless.id, at=NOW)
    assert (receipt.verdict, receipt.code, made) == (Verdict.UNREADABLE, "job_unnamed", [])
    assert desk.count("dispatch") == 0


async def test_rejected_callbacks_of_one_unknown_job_are_admitted_as_one(desk: Desk) -> None:
    """Re-verified in bulk, at the same moment, they are one job with one completion."""
    await desk.register("h")
    forged = [callback(WIDE, DONE | {"id": "r1"}, rejected="signature_mismatch") for _ in range(10)]
    for one in forged:
        await desk.store.ingest(arrival(one))
    answers = await asyncio.gather(*(desk.readmit(one.id, at=NOW + HOUR) for one in forged))
    assert sum(receipt.completed for receipt, _ in answers) == 1
    assert desk.count("job") == 1
    assert desk.count("dispatch", "replay_id = ''") == 1


async def test_a_callback_that_is_admitted_twice_at_once_is_admitted_once(desk: Desk) -> None:
    """Whoever read it in quarantine and comes second changes nothing: one count, one verdict, one dispatch."""
    await desk.register("h")
    one = await desk.submitted()
    forged = callback(ACME, DONE, job_id=one.id, rejected="signature_mismatch")
    await desk.store.ingest(arrival(forged))
    item = await desk.readmission(forged.id, at=NOW + HOUR)
    both = await asyncio.gather(*(desk.store.readmit(replace(item, replay_id=f"rpl_{n}")) for n in range(2)))
    third = await desk.store.readmit(replace(item, replay_id="rpl_3"))
    assert [(receipt.verdict, made) for receipt, made in [*both, third]] == [
        (Verdict.ACCEPTED, ["h"]),
        (Verdict.DUPLICATE, []),
        (Verdict.DUPLICATE, []),
    ]
    assert (await desk.store.job(one.id)).callbacks == 1
    assert (await desk.store.callback(forged.id)).verdict is Verdict.ACCEPTED
    assert desk.count("dispatch") == 1
    # Who reads it now, and wants it again, gets it again.
    assert (await desk.readmit(forged.id, at=NOW + HOUR))[1] == ["h"]
    assert desk.count("dispatch") == 2


async def test_a_callback_that_quarantine_dropped_is_not_admitted(desk: Desk) -> None:
    """Between being read and being admitted it may go; then no job may point at it."""
    one = await desk.submitted()
    forged = callback(ACME, DONE, job_id=one.id, rejected="signature_mismatch")
    await desk.store.ingest(arrival(forged))
    read = desk.store.callback

    async def read_and_drop(callback_id: str) -> object:
        found = await read(callback_id)
        with desk.store.driver.write() as tx:
            tx.run("DELETE FROM callback")
        return found

    desk.store.callback = read_and_drop  # type: ignore[assignment,method-assign]
    with pytest.raises(NotFoundError):
        await desk.readmit(forged.id, at=NOW)
    assert (await desk.store.job(one.id)).state is JobState.SUBMITTED
