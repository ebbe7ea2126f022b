"""The feed: completions in one order that never changes, on both databases."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from receiver.core.model import DAY, HOUR, JobState
from receiver.news import News
from receiver.steps.follow import Follow
from receiver.storage import feed
from receiver.storage.feed import CursorGoneError, Wanted
from receiver.storage.records import Link
from receiver.storage.retention import Prune
from receiver.storage.store import Store
from tests.core.making import NOW
from tests.storage.making import DONE, FAILED, Desk

if TYPE_CHECKING:
    from receiver.core.model import Job


async def ended(desk: Desk, count: int, *, document: object = DONE, at: int = NOW) -> list[Job]:
    """So many jobs that ended, one after the other."""
    found = []
    for number in range(count):
        one = await desk.submitted(remote_id=f"r{at}-{number}", created_at=at + number)
        await desk.call(one, document, at=at + number + 1)
        found.append(one)
    return found


def follow(store: Store) -> Follow:
    """A reader of the feed."""
    return Follow(store=store, news=News())


async def test_completions_come_in_the_order_of_their_commits(desk: Desk) -> None:
    """Each once, with its job and how it had ended; a page ends where its limit is, and the next goes on."""
    first = await ended(desk, 3)
    second = await ended(desk, 2, document=FAILED, at=NOW + HOUR)
    reader = follow(desk.store)
    page = await reader.page(Wanted(limit=4))
    assert [one.job.id for one in page.completions] == [one.id for one in (*first, second[0])]
    assert [one.state for one in page.completions] == [JobState.SUCCEEDED] * 3 + [JobState.FAILED]
    rest = await reader.page(Wanted(after=page.place))
    assert [one.job.id for one in rest.completions] == [second[1].id]
    assert (await reader.page(Wanted(after=rest.place))).completions == []


async def test_a_filter_changes_no_place(desk: Desk) -> None:
    """Who wants only some finds them at the places that everybody sees, and goes on after all that was passed over."""
    await ended(desk, 2)
    failed = await ended(desk, 1, document=FAILED, at=NOW + HOUR)
    await ended(desk, 2, at=NOW + 2 * HOUR)
    reader = follow(desk.store)
    everything = await reader.page(Wanted())
    some = await reader.page(Wanted(state="failed"))
    assert [(one.place, one.job.id) for one in some.completions] == [
        (one.place, one.job.id) for one in everything.completions if one.job.id == failed[0].id
    ]
    assert some.place == everything.place
    assert (await reader.page(Wanted(provider="waker"))).completions == []


async def test_a_late_outcome_is_a_completion_of_its_own(desk: Desk) -> None:
    """After timed_out the outcome that comes late stands behind it, and says that it is late."""
    one = await desk.submitted(created_at=NOW)
    await desk.store.abandon(one.id, now=NOW + HOUR)
    await desk.call(one, DONE, at=NOW + 2 * HOUR)
    found = (await follow(desk.store).page(Wanted())).completions
    assert [(each.state, each.replay_id) for each in found] == [
        (JobState.TIMED_OUT, ""),
        (JobState.SUCCEEDED, "late"),
    ]


@pytest.mark.parametrize("timed_out", [False, True])
async def test_jobs_that_became_one_are_told_of_under_the_id_that_stays(
    desk: Desk, *, timed_out: bool
) -> None:
    """The outcome that a callback's own job had is the caller's job's, once, and late where that one had timed out."""
    one = await desk.answer(await desk.submit("wide"))
    await desk.call_wide({**DONE, "id": "r1"}, at=NOW + HOUR)
    if timed_out:
        await desk.store.abandon(one.id, now=NOW + HOUR)
    await desk.store.link(Link(job_id=one.id, provider="wide", remote_id="r1", now=NOW + 2 * HOUR))
    found = (await follow(desk.store).page(Wanted())).completions
    assert {each.job.id for each in found} == {one.id}
    ends = {(each.state, each.replay_id) for each in found}
    late = {(JobState.TIMED_OUT, ""), (JobState.SUCCEEDED, "late")}
    assert ends == (late if timed_out else {(JobState.SUCCEEDED, "")})
    assert len(found) == len(ends)


async def test_who_waits_is_told(desk: Desk) -> None:
    """A reader that waits gets the next completion once it is there, and nothing after its time."""
    reader = follow(desk.store)
    waiting = asyncio.create_task(reader.page(Wanted(), patience=10))
    await asyncio.sleep(0.05)
    [one] = await ended(desk, 1)
    assert [each.job.id for each in (await waiting).completions] == [one.id]
    assert (await reader.page(Wanted(after=1), patience=0.05)).completions == []


async def test_a_pruned_cursor_says_which_one_still_works(desk: Desk) -> None:
    """Nobody goes on over a gap without being told, also where nobody had read before the pruning."""
    await ended(desk, 3)
    await desk.store.prune(Prune(before=NOW + DAY, now=NOW + 9 * DAY))
    later = await ended(desk, 1, at=NOW + 8 * DAY)
    reader = follow(desk.store)
    with pytest.raises(CursorGoneError) as gone:
        await reader.page(Wanted(after=1))
    assert gone.value.oldest == "3"
    found = await reader.page(Wanted(after=int(gone.value.oldest)))
    assert [one.job.id for one in found.completions] == [later[0].id]
    with pytest.raises(CursorGoneError):
        await reader.page(Wanted(after=100))


async def test_a_reader_with_a_name_finds_its_place_again(desk: Desk) -> None:
    """Where it stood is kept, the last that it said."""
    assert await desk.store.read(feed.stands, "laptop") is None
    for place in (3, 7):
        await desk.store.write(feed.stand, ("laptop", place, NOW))
    assert await desk.store.read(feed.stands, "laptop") == 7


async def test_a_commit_that_comes_late_stands_behind_what_was_read(migrated_url: str) -> None:
    """A completion whose transaction was open while others were read is found by whoever goes on."""
    slow, quick = await Store.open(migrated_url), await Store.open(migrated_url)
    try:
        held = await Desk(slow).submitted(remote_id="held", created_at=NOW)
        others = await ended(Desk(quick), 3, at=NOW + 1)
        wrote, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with slow.driver.write(patient=True) as tx:
                columns = "id, job_id, replay_id, provider, state"
                row = ("cpl_" + "0" * 32, held.id, "", "acme", "succeeded")
                tx.insert("unplaced", columns, [row])
                wrote.set()
                assert go_on.wait(10)

        holding = asyncio.create_task(asyncio.to_thread(hold))
        await asyncio.to_thread(wrote.wait, 10)
        reader = follow(quick)
        page = await reader.page(Wanted())
        assert [one.job.id for one in page.completions] == [one.id for one in others]
        go_on.set()
        await holding
        after = await reader.page(Wanted(after=page.place))
        assert [one.job.id for one in after.completions] == [held.id]
    finally:
        await slow.close()
        await quick.close()


async def test_three_nodes_that_commit_at_once_leave_no_gap_to_a_reader(migrated_url: str) -> None:
    """Each of 150 completions of three nodes is read once, in one order, by readers that never look back."""
    stores = [await Store.open(migrated_url) for _ in range(3)]
    seen: list[list[tuple[int, str]]] = [[], []]
    done = asyncio.Event()

    async def read(store: Store, found: list[tuple[int, str]]) -> None:
        wanted = Wanted(limit=7)
        reader = follow(store)
        while True:
            last = done.is_set()
            page = await reader.page(wanted)
            found += [(one.place, one.job.id) for one in page.completions]
            if last and not page.completions:
                return
            wanted = Wanted(after=page.place, limit=7)

    try:
        readers = [asyncio.create_task(read(stores[number], seen[number])) for number in range(2)]
        made = await asyncio.gather(
            *(ended(Desk(store), 50, at=NOW + number * HOUR) for number, store in enumerate(stores))
        )
        done.set()
        await asyncio.gather(*readers)
    finally:
        for store in stores:
            await store.close()
    assert seen[0] == seen[1]
    assert [place for place, _ in seen[0]] == list(range(1, 151))
    assert {job for _, job in seen[0]} == {one.id for jobs in made for one in jobs}
