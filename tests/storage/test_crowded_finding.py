"""What is rare is found by an index of its own, however much else there is: callbacks of an hour, jobs of nobody."""

from collections.abc import AsyncIterator

import pytest

from receiver import storage
from receiver.core.identity import CALLBACK, JOB, new_id
from receiver.core.model import Callback, Dispatch, Failure, JobState, Verdict
from receiver.storage import dead_letters, queries, rows
from receiver.storage.orphans import orphans
from receiver.storage.queries import Page
from tests.core.making import NOW, job
from tests.storage.making import Desk
from tests.storage.reads import Reads, Work, counted

FEW, MANY = 300, 1_800
#: Within so many times what it takes where there is little.
SAME = 1.5
DONE = JobState.SUCCEEDED
#: When the last few came.
LATE = NOW + 1_000_000


@pytest.fixture
async def reads(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reads]:
    """A store whose reads are counted."""
    monkeypatch.setattr(storage.orphans, "_LOOKED_AT", 100)
    found = await counted(url, monkeypatch)
    yield found
    await found.store.close()


def fill(reads: Reads, many: int) -> str:
    """Have *many* callbacks, jobs and dead letters, and a job without a name before them: its id."""
    lost = job(
        id=new_id(JOB, NOW - 1), provider="wide", submission="unknown", remote_id=None, deadline_at=LATE
    )
    jobs = [
        job(id=new_id(JOB, NOW + n), provider="wide", remote_id=f"r{n}", submission="sent", state=DONE)
        for n in range(many)
    ]
    jobs += [
        job(id=new_id(JOB, NOW + n), provider="wide", remote_id=f"a{n}", submission="none", state=DONE)
        for n in range(3)
    ]
    callbacks = [
        Callback(
            id=new_id(CALLBACK, at),
            provider="wide",
            route="webhooks",
            received_at=at,
            verdict=verdict,
            body=b"{}",
        )
        for n in range(many)
        for at, verdict in ((NOW + n, Verdict.ACCEPTED), (NOW + n, Verdict.REJECTED))
    ]
    callbacks += [
        Callback(id=new_id(CALLBACK, LATE + n), provider="wide", route="webhooks", received_at=LATE + n)
        for n in range(3)
    ]
    letters = [
        Dispatch(
            job_id=one.id,
            handler="h",
            state="dead",
            run_at=NOW,
            created_at=NOW,
            error=Failure(code="x"),
        )
        for one in jobs
    ]
    with reads.store.driver.write() as tx:
        for table in ("job", "callback", "dispatch"):
            tx.run(f"DELETE FROM {table}")  # noqa: S608  (names of ours)
        tx.insert("job", rows.JOB, [rows.job_params(one) for one in (lost, *jobs)])
        tx.insert("callback", rows.CALLBACK, [rows.callback_params(one) for one in callbacks])
        tx.insert("dispatch", rows.DISPATCH, [rows.dispatch_params(one) for one in letters])
    reads.learn()
    return jobs[0].id


async def test_what_is_rare_is_found_among_however_much(reads: Reads) -> None:
    """Six times as much beside it: as much is read, and it is the same that is found."""
    read: list[dict[str, int]] = []
    for many in (FEW, MANY):
        dead = fill(reads, many)
        asked: dict[str, Work] = {
            f"callbacks {page}": lambda tx, page=page: queries.callbacks(tx, page)  # type: ignore[misc]
            for page in (
                Page(provider="wide", since=LATE, limit=50),
                Page(provider="wide", since=LATE, verdict="accepted", limit=50),
                Page(verdict="rejected", limit=50),
            )
        }
        asked["jobs of nobody"] = lambda tx: orphans(tx, 0)
        asked["a dead letter"] = lambda tx, dead=dead: dead_letters.beginning(tx, dead)  # type: ignore[misc]
        read.append({name: reads.of(work) for name, work in asked.items()})
        callbacks = await reads.store.callbacks(Page(provider="wide", since=LATE))
        assert [one.received_at for one in callbacks] == [LATE + 2, LATE + 1, LATE]
        ((_, adopted),) = [(one.job, one.adopted) for one in await reads.store.orphans(since=0)]
        assert [one.remote_id for one in adopted] == ["a0", "a1", "a2"]
    few, much = read
    assert {name: (few[name], many) for name, many in much.items() if many > SAME * max(few[name], 100)} == {}


async def test_rejected_ones_of_all_providers_are_in_order(desk: Desk) -> None:
    """Page by page, forwards for whoever follows, and each once."""
    made = [
        Callback(
            id=new_id(CALLBACK, NOW + n),
            provider=("a", "b", "c")[n % 3],
            route="webhooks",
            received_at=NOW + n,
            verdict=Verdict.REJECTED,
            body=b"{}",
        )
        for n in range(8)
    ]
    with desk.store.driver.write() as tx:
        tx.insert("callback", rows.CALLBACK, [rows.callback_params(one) for one in made])
    ids = [one.id for one in made]
    seen: list[str] = []
    page = Page(verdict="rejected", limit=3)
    while found := await desk.store.callbacks(page):
        seen += [one.id for one in found]
        page = Page(verdict="rejected", limit=3, before=seen[-1])
    assert seen == ids[::-1]
    ahead = await desk.store.callbacks(Page(verdict="rejected", limit=3, after=ids[1]))
    assert [one.id for one in ahead] == ids[2:5]


async def test_a_dead_letter_is_found_by_the_beginning_of_its_id(desk: Desk) -> None:
    """Whose id it is, is meant; where it begins several, both are told."""
    job_id = new_id(JOB, NOW)
    letters = [
        Dispatch(job_id=job_id, handler=handler, replay_id=replay, state=state, run_at=NOW, created_at=NOW)
        for handler, replay, state in (
            ("h", "", "dead"),
            ("h", "rpl_1", "dead"),
            ("g", "", "dead"),
            ("x", "", "ready"),
        )
    ]
    with desk.store.driver.write() as tx:
        tx.insert("dispatch", rows.DISPATCH, [rows.dispatch_params(one) for one in letters])
    for prefix, expected in (
        (f"{job_id}:h", [f"{job_id}:h"]),
        (f"{job_id}:h:r", [f"{job_id}:h:rpl_1"]),
        (f"{job_id}:g", [f"{job_id}:g"]),
        (f"{job_id}:x", []),
        ("job_ff", []),
    ):
        found = await desk.store.read(dead_letters.beginning, prefix)
        assert [one.id for one in found] == expected, prefix
    assert len(await desk.store.read(dead_letters.beginning, job_id[:20])) == 2
