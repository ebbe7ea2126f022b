"""Pages of results in the store: kept as they came, fenced like every look, and gone with their job."""

import hashlib

import pytest
from msgspec.structs import replace

from receiver.core.asking.exchange import Seen
from receiver.core.errors import NotFoundError
from receiver.core.job.looking import Finding, Unanswered
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Due, Held, JobState, Observation
from receiver.core.reading.pagination import ResultPage
from receiver.storage import pages
from receiver.storage.pages import StoredPage
from receiver.storage.results import unfolded
from receiver.storage.retention import Prune
from tests.core.making import NOW
from tests.storage.making import Desk

URL = "https://a.example/rows"
#: A name that makes each page's bytes another's.
BODY = b'{"rows": [%d]}'


def page(number: int, *, of: int = 3, fresh: str = "") -> Seen:
    """What a look found: one of the pages of a result; *fresh* makes addresses that are good once more."""
    following = f"{URL}{fresh}?page={number + 1}" if number < of else None
    found = ResultPage(
        number=number,
        url=f"{URL}{fresh}?page={number}",
        content=BODY % number,
        content_type="application/json",
        items=1,
        next_url=following,
    )
    return Seen(seen=Observation(state=JobState.SUCCEEDED, result_url=following), page=found)


async def stored(desk: Desk, job_id: str) -> list[StoredPage]:
    """What is stored of a job's pages."""
    return await desk.store.read(pages.stored, job_id)


async def look_due(desk: Desk, job_id: str) -> Due:
    """The one thing that is due for a job."""
    (due,) = (await desk.store.record(job_id)).due
    return due


async def turn(desk: Desk, *findings: Finding) -> int:
    """Settle one look after another, from a minute on; the time after them."""
    at = NOW + MINUTE
    for one in findings:
        await desk.look(one, at=at)
        at += SECOND
    return at


async def joined(desk: Desk, *, at: int) -> None:
    """Settle the look that makes one document of all."""
    (claimed,) = await desk.claim(at=at)
    content, part = b"all of it", unfolded(claimed.due.attempt)
    await desk.store.write_chunks(claimed.job.id, part=part, first=0, content=content)
    held = Held(offset=part, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    move = await desk.settle(claimed, Seen(seen=Observation(state=JobState.SUCCEEDED), held=held), at=at)
    assert move is not None
    assert move.completed


async def test_each_page_leads_to_the_next_at_once(desk: Desk) -> None:
    """A page and where it goes on are one commit: whoever takes over asks for the one that is missing, and no other."""
    one = await desk.submitted()
    await turn(desk, page(1))
    due = await look_due(desk, one.id)
    assert (due.result_url, due.run_at, due.owner) == (f"{URL}?page=2", NOW + MINUTE, None)
    assert (await desk.store.job(one.id)).state is JobState.FETCHING
    await desk.look(page(2), at=NOW + MINUTE)
    assert (await look_due(desk, one.id)).result_url == f"{URL}?page=3"
    assert [(p.number, p.items, p.fetched_at) for p in await stored(desk, one.id)] == [
        (1, 1, NOW + MINUTE),
        (2, 1, NOW + MINUTE),
    ]


async def test_pages_outlive_the_end_of_their_job(desk: Desk) -> None:
    """What a look left unfinished is dropped with the end; pages stay beside the result, byte for byte."""
    one = await desk.submitted()
    at = await turn(desk, page(1), page(2), page(3))
    await joined(desk, at=at)
    done = await desk.store.job(one.id)
    assert done.state is JobState.SUCCEEDED
    assert await desk.store.result(done) == b"all of it"
    for number in (1, 2, 3):
        assert await desk.store.read(pages.read, one.id, number) == BODY % number
    with pytest.raises(NotFoundError):
        await desk.store.read(pages.read, one.id, 4)
    assert (await desk.store.record(one.id)).due == []


async def test_the_same_first_page_again_is_no_news(desk: Desk) -> None:
    """After a failure the provider is asked again; what is here stays, and the look goes on where it stood."""
    one = await desk.submitted()
    at = await turn(desk, page(1), page(2), Unanswered(code="status_503"))
    assert (await look_due(desk, one.id)).result_url is None
    await desk.look(page(1), at=at + MINUTE)
    due = await look_due(desk, one.id)
    assert (due.result_url, due.failures) == (f"{URL}?page=3", 1)
    assert len(await stored(desk, one.id)) == 2
    await desk.look(page(3), at=at + MINUTE)
    assert (await look_due(desk, one.id)).failures == 0


async def test_fresh_addresses_begin_the_result_anew(desk: Desk) -> None:
    """A first page that names another next one than before: the old addresses may be dead, so all is asked again."""
    one = await desk.submitted()
    at = await turn(desk, page(1), page(2), Unanswered(code="status_403"))
    await desk.look(page(1, fresh="/fresh"), at=at + MINUTE)
    assert [p.url for p in await stored(desk, one.id)] == [f"{URL}/fresh?page=1"]
    assert (await look_due(desk, one.id)).result_url == f"{URL}/fresh?page=2"
    with pytest.raises(NotFoundError):
        await desk.store.read(pages.read, one.id, 2)


async def test_a_zombie_adds_no_page(desk: Desk) -> None:
    """A worker that was frozen past its lease stores nothing between another one's pages."""
    one = await desk.submitted()
    await turn(desk, page(1))
    (zombie,) = await desk.claim(at=NOW + HOUR, owner="a")
    (heir,) = await desk.claim(at=NOW + 2 * HOUR, owner="b")
    assert await desk.settle(zombie, page(2), at=NOW + 2 * HOUR) is None
    assert [p.number for p in await stored(desk, one.id)] == [1]
    await desk.settle(heir, page(2), at=NOW + 2 * HOUR)
    assert [p.number for p in await stored(desk, one.id)] == [1, 2]


async def test_a_page_that_was_used_up_and_not_stored_is_lost(desk: Desk) -> None:
    """Where one GET deletes a page, and nobody knows what became of it, only a fresh address helps."""
    for fresh, state in (("", JobState.EXPIRED), ("/fresh", JobState.FETCHING)):
        one = await desk.submitted(remote_id=f"r{fresh}", key=f"k{fresh}")
        at = await turn(desk, page(1))
        (claimed,) = await desk.claim(at=at)
        assert await desk.store.spend(claimed.due, f"{URL}?page=2")
        # Its process dies; the next one asks the provider, who names the same address again, or another.
        (heir,) = await desk.claim(at=at + HOUR)
        await desk.settle(replace(heir, due=replace(heir.due)), Unanswered(code="no_answer"), at=at + HOUR)
        await desk.look(page(1, fresh=fresh), at=at + 2 * HOUR)
        job = await desk.store.job(one.id)
        assert job.state is state
        if state is JobState.EXPIRED:
            assert job.error is not None
            assert job.error.code == "result_lost"


async def test_pages_are_pruned_with_their_job(desk: Desk) -> None:
    """Nothing of a page is left of a job that is gone."""
    one = await desk.submitted()
    at = await turn(desk, page(1), page(2), page(3))
    await joined(desk, at=at)
    pruned = await desk.store.prune(Prune(before=NOW + 10 * DAY, now=NOW + 30 * DAY))
    assert (pruned.jobs, pruned.deleted["page"], pruned.deleted["result_chunk"]) == (1, 3, 4)
    assert await stored(desk, one.id) == []
