"""However many jobs are open, what is looked at when a receiver starts, or is to be idle, is a bounded part of them."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from receiver.core.job.urgency import ROUTINE
from receiver.core.model import HOUR, MINUTE, Delivery, Dispatch, Due, Job, JobState, Step
from receiver.storage import glance, open_keys, rows
from receiver.storage.open_keys import Looked
from tests.core.making import NOW
from tests.storage.making import LEASE, Desk
from tests.storage.reads import Reads, Work, counted

FEW, MANY = 3_000, 18_000
#: Within so many times what it takes where there is little.
SAME = 1.5
UNTIL = NOW + LEASE
#: What is looked at.
BOUNDS = ((glance, "_LOOKED_UP"), (glance, "_MOST"), (open_keys, "_ENDS"), (open_keys, "_RANGE"))


@pytest.fixture
async def reads(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reads]:
    """A store with a handler, where less is looked at."""
    for module, name in BOUNDS:
        monkeypatch.setattr(module, name, 100)
    found = await counted(url, monkeypatch)
    await Desk(found.store).register("busy", now=NOW)
    yield found
    await found.store.close()


def job(n: int) -> Job:
    """One of many that are being submitted, of most of which nobody knows whether that arrived; one a second."""
    made = NOW - HOUR + n * 1000
    return Job(
        id=f"job_{made:012x}{n:020x}",
        provider="acme",
        state=JobState.SUBMITTING,
        delivery=Delivery.RESULT,
        key_id="newest",
        created_at=made,
        deadline_at=NOW + HOUR,
        submission="unknown" if n % 3 else "sending",
    )


def fill(reads: Reads, many: int, **keys: str) -> None:
    """Have *many* open jobs, each due soon, and as many dispatches that are; *keys* are those of some."""
    jobs = [replace(one, key_id=keys.get(f"n{n}", one.key_id)) for n, one in enumerate(map(job, range(many)))]
    due = [
        Due(job_id=one.id, step=Step.LOOK, provider="acme", run_at=NOW + 1 + n % 1000, lane=ROUTINE)
        for n, one in enumerate(jobs)
    ]
    waiting = [
        Dispatch(job_id=one.id, handler="busy", state="ready", run_at=NOW + 1 + n % 1000, created_at=NOW)
        for n, one in enumerate(jobs)
    ]
    with reads.store.driver.write() as tx:
        for table in ("job", "due", "dispatch"):
            tx.run(f"DELETE FROM {table}")  # noqa: S608  (names of ours)
        tx.insert("job", rows.JOB, [rows.job_params(one) for one in jobs])
        tx.insert("due", rows.DUE, [rows.due_params(one) for one in due])
        tx.insert("dispatch", rows.DISPATCH, [rows.dispatch_params(one) for one in waiting])
    reads.learn()


def soonest(*, now: int = NOW) -> Work:
    """Ask when something is due next."""
    return lambda tx: glance.soonest(tx, handlers=["busy"], now=now, until=now + LEASE)


ASKED: dict[str, Work] = {
    "the keys of open jobs": open_keys.look,
    "one range of them": lambda tx: open_keys._range(tx, job(50).id),
    "when something is due": soonest(),
    "when something is due that is": soonest(now=NOW + MINUTE),
    "what waits": lambda tx: glance.backlog(tx, NOW + MINUTE),
}


async def test_a_start_reads_no_more_where_more_is_open(reads: Reads) -> None:
    """Six times as many jobs are open and due: as much is read."""
    assert reads.growing(fill, ASKED, few=FEW, many=MANY, most=SAME) == {}


async def test_a_key_that_was_in_force_for_a_while_is_found(reads: Reads) -> None:
    """Of the oldest jobs, of the newest, and of a minute in between; reading all of them finds one of a moment, too."""
    some = {f"n{n}": "for-a-minute" for n in range(1_400, 1_460)}
    fill(reads, FEW, n0="oldest", n777="for-a-moment", **some)
    kept = {"newest", "oldest", "for-a-minute"}
    assert await reads.store.read(open_keys.look) == Looked(keys=frozenset(kept), more=True)
    found = [keys async for keys in open_keys.ranges(reads.store.read)]
    assert len(found) == FEW // 100 + 1
    assert frozenset().union(*found) == kept | {"for-a-moment"}


async def test_few_open_jobs_are_looked_at_whole(reads: Reads) -> None:
    """Those between the oldest and the newest as well, and it is said that these are all."""
    fill(reads, 190, n95="for-a-moment")
    assert await reads.store.read(open_keys.look) == Looked(
        keys=frozenset({"newest", "for-a-moment"}), more=False
    )


async def test_undecided_submissions_are_counted_up_to_a_bound(reads: Reads) -> None:
    """Below it the count is exact; past it there are more."""
    fill(reads, 60)
    backlog = await reads.store.read(glance.backlog, NOW)
    assert (backlog.undecided, backlog.more_undecided) == (40, False)
    fill(reads, 600)
    backlog = await reads.store.read(glance.backlog, NOW)
    assert (backlog.undecided, backlog.more_undecided) == (66, True)


async def test_nothing_is_idle_while_a_lease_lasts(reads: Reads) -> None:
    """What is claimed is due when its lease ends, and until then it is being done."""
    fill(reads, 10)
    with reads.store.driver.write() as tx:
        assert glance.soonest(tx, handlers=["busy"], now=NOW, until=UNTIL) == NOW + 1
        assert glance.soonest(tx, handlers=[], now=NOW + MINUTE, until=UNTIL + MINUTE) == NOW + 1
        tx.run("UPDATE due SET run_at = :at", {"at": UNTIL + HOUR})
        assert glance.soonest(tx, handlers=["busy"], now=NOW, until=UNTIL) == NOW + 1
        assert glance.soonest(tx, handlers=[], now=NOW, until=UNTIL) == UNTIL + HOUR
        tx.run(
            "UPDATE dispatch SET owner = 'n', run_at = :at WHERE job_id = :job",
            {"at": UNTIL, "job": job(5).id},
        )
        assert glance.soonest(tx, handlers=["busy"], now=NOW, until=UNTIL) == 0
        assert glance.soonest(tx, handlers=["other"], now=NOW, until=UNTIL) == UNTIL + HOUR
