"""What the console asks, on both databases: found by whatever is known, bounded, and counted in a glance."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from receiver.core.identity import DEED, new_id
from receiver.core.model import DAY, HOUR, MINUTE
from receiver.storage import arrived, audit, dead_letters, glance, latest, search, sessions, tally
from receiver.storage.arrived import Sought
from receiver.storage.audit import Deed
from receiver.storage.dead_letters import Dead
from receiver.storage.retention import Prune
from receiver.storage.search import Wanted
from receiver.storage.sessions import Session
from receiver.storage.store import Store
from receiver.storage.tally import BUCKET, Counted, Tallied
from tests.core.making import NOW
from tests.storage.making import DONE, FAILED, Desk


async def test_jobs_are_found_by_whatever_is_known(desk: Desk) -> None:
    """By ids, beginnings, keys, metadata, and every filter; a text that names nothing finds nothing."""
    await desk.register("h")
    one = await desk.submitted(
        remote_id="remote-1", key="order/1", metadata={"topic": "Voice AI", "n": 7}, created_at=NOW
    )
    two = await desk.submitted(remote_id="other-2", created_at=NOW + MINUTE)
    await desk.call(one, DONE, at=NOW + 5)
    for wanted, expected in (
        (Wanted(), [two, one]),
        (Wanted(text=one.id[:30]), [one]),
        (Wanted(text="remote-"), [one]),
        (Wanted(text="order/"), [one]),
        (Wanted(text="voice"), [one]),
        (Wanted(text="topic=voice"), [one]),
        (Wanted(text="n=7"), [one]),
        (Wanted(text="nothing"), []),
        (Wanted(text="rem\0ote"), []),
        (Wanted(text="remote-", state="open"), []),
        (Wanted(state="open"), [two]),
        (Wanted(state="submitted"), [two]),
        (Wanted(state="succeeded"), [one]),
        (Wanted(state="failed"), []),
        (Wanted(provider="acme"), [two, one]),
        (Wanted(provider="nobody"), []),
        (Wanted(settled_by="callback"), [one]),
        (Wanted(settled_by="poll"), []),
        (Wanted(outcome="waiting"), [one]),
        (Wanted(outcome="waiting", state="succeeded", provider="acme", handler="h"), [one]),
        (Wanted(outcome="dead"), []),
        (Wanted(handler="h", outcome="succeeded"), []),
        (Wanted(since=NOW + 1), [two]),
        (Wanted(until=NOW + 1), [one]),
    ):
        found = await desk.store.read(search.find, wanted)
        assert [job.id for job in found.jobs] == [job.id for job in expected], wanted
        assert not found.stopped
        if wanted.text is None:
            assert await desk.store.read(search.count, wanted) == (len(expected), True)
    ((dispatch, _),) = await desk.work("h", at=NOW + HOUR)
    await desk.finish(dispatch, at=NOW + HOUR)
    found = await desk.store.read(search.find, Wanted(handler="h", outcome="succeeded"))
    assert [job.id for job in found.jobs] == [one.id]


async def test_a_search_that_looked_at_enough_says_so_and_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However rare what is looked for: each search is bounded, and together they look at all."""
    monkeypatch.setattr(search, "_READ", 3)
    monkeypatch.setattr(search, "_TEXTS", 3)
    rare = await desk.submitted(remote_id="r", metadata={"rare": True}, created_at=NOW)
    await desk.call(rare, DONE, at=NOW)
    for number in range(7):
        await desk.submitted(remote_id=f"o{number}", created_at=NOW + 1 + number)
    for wanted in (Wanted(settled_by="callback"), Wanted(text="rare")):
        looks, found, page = 1, list[str](), await desk.store.read(search.find, wanted)
        while page.cursor is not None:
            assert page.stopped
            found += [job.id for job in page.jobs]
            page = await desk.store.read(search.find, replace(wanted, before=page.cursor))
            looks += 1
        assert [*found, *(job.id for job in page.jobs)] == [rare.id]
        assert looks == 3


async def test_pages_of_jobs_and_callbacks_hold_each_once(desk: Desk) -> None:
    """The cursor of a page begins the next one."""
    jobs = [await desk.submitted(remote_id=f"r{n}", created_at=NOW + n) for n in range(5)]
    for job in jobs:
        await desk.call(job, DONE, at=NOW + 100)
    seen, cursor = list[str](), None
    while not seen or cursor is not None:
        page = await desk.store.read(search.find, Wanted(limit=2, before=cursor))
        seen, cursor = seen + [job.id for job in page.jobs], page.cursor
    assert seen == [job.id for job in reversed(jobs)]
    called, cursor = list[str](), None
    while not called or cursor is not None:
        some = await desk.store.read(arrived.find, Sought(limit=2, before=cursor))
        called, cursor = called + [one.id for one, _ in some.callbacks], some.cursor
    assert len(called) == len(set(called)) == 5


async def test_callbacks_are_found_with_the_size_of_their_bodies(desk: Desk) -> None:
    """Without the bodies; also those of a job, and those that stand beside one."""
    one = await desk.submitted(remote_id="r1")
    await desk.call(one, {"status": "working"}, at=NOW)
    await desk.call(one, DONE, at=NOW + 1)
    found = (await desk.store.read(arrived.find, Sought(job=one.id))).callbacks
    assert len(found) == 2
    assert all(size > 0 and callback.body == b"" for callback, size in found)
    whole = await desk.store.callback(found[0][0].id)
    beside = await desk.store.read(arrived.beside, whole)
    assert [callback.id for callback, _ in beside] == [found[1][0].id]
    assert (await desk.store.read(arrived.find, Sought(verdict="rejected"))).callbacks == []
    assert (await desk.store.read(arrived.find, Sought(provider="nobody"))).callbacks == []


async def test_a_glance_counts_what_needs_a_person(desk: Desk) -> None:
    """Dead letters, how providers stand, what waits, who is at work."""
    await desk.register("h")
    one = await desk.submitted(remote_id="r1", created_at=NOW)
    await desk.call(one, DONE, at=NOW + 500)
    waiting = await desk.submitted(remote_id="r2", created_at=NOW)
    (standing,) = await desk.store.read(glance.standings)
    assert (standing.looked, standing.ended, standing.by_callback, standing.open) == (2, 1, 1, 1)
    assert standing.last_callback == NOW + 500
    assert len(standing.lags) == 1
    backlog = await desk.store.read(glance.backlog, NOW + HOUR)
    assert (backlog.handlers, backlog.undecided) == (1, 0)
    await desk.work("h", at=NOW + HOUR)
    busy = await desk.store.read(glance.under_way, NOW + HOUR, MINUTE)
    assert [handlers for handlers, _ in busy.values()] == [1]
    assert await desk.store.read(glance.letters) == []
    assert await desk.store.read(dead_letters.find, Dead()) == dead_letters.Found(letters=[])
    assert await desk.store.read(glance.rejections) == []
    assert await desk.store.read(glance.losing, NOW) == []
    found = await desk.store.read(latest.latest, NOW, 10)
    assert [callback.job_id for callback in found.callbacks] == [one.id]
    assert not found.more
    assert waiting.id not in {attempt.job_id for _, attempt in found.attempts if attempt.step == "dispatch"}


async def test_counts_of_several_processes_add_up_and_old_ones_go(store: Store) -> None:
    """Each writes rows of its own; a week later they are gone."""
    some = [Tallied(kind="callback", provider="acme", word="accepted", count=3)]
    await store.write(tally.add, ("n1", NOW, some))
    await store.write(tally.add, ("n1", NOW + 1, some))
    await store.write(tally.add, ("n2", NOW, some))
    bucket = NOW // BUCKET * BUCKET
    expected = [Counted(bucket=bucket, kind="callback", word="accepted", count=9)]
    assert await store.read(tally.since, NOW - DAY) == expected
    await store.write(tally.add, ("n1", NOW + 9 * DAY, some))
    assert [one.count for one in await store.read(tally.since, 0)] == [3]


async def test_deeds_are_kept_as_long_as_their_job(desk: Desk) -> None:
    """What was done to a job goes with it; what was about no single job goes when it is as old."""
    job = await desk.submitted(remote_id="r1", created_at=NOW - 30 * DAY)
    await desk.call(job, DONE, at=NOW - 30 * DAY)

    def deed(at: int, job_id: str | None) -> Deed:
        return Deed(id=new_id(DEED, at), at=at, who="ada", role="operator", action="replay", job_id=job_id)

    for one in (deed(NOW, job.id), deed(NOW - 20 * DAY, None), deed(NOW, None)):
        await desk.store.write(audit.note, one)
        await desk.store.write(audit.close, (one.id, "done", {"count": 1}))
    assert [one.outcome for one in await desk.store.read(audit.trail, job_id=job.id)] == ["done"]
    await desk.store.prune(Prune(before=NOW - 10 * DAY, now=NOW))
    (left,) = await desk.store.read(audit.trail)
    assert (left.job_id, left.at, left.detail) == (None, NOW, {"count": 1})


async def test_sessions_begin_end_and_a_ticket_is_redeemed_once(store: Store) -> None:
    """Only the digest is there; whatever is older than a day is forgotten when the next one begins."""
    ticket = Session(
        digest="t", kind="ticket", who="ada", role="viewer", proof="p", created_at=NOW, seen_at=NOW
    )
    await store.write(sessions.open_, (ticket, NOW - DAY))
    assert await store.read(sessions.find, "t") is None
    assert await store.read(sessions.lies, "t")
    assert not await store.read(sessions.lies, "other")
    redeemed = await store.write(sessions.redeem, ("t", "s", NOW + 1, NOW - MINUTE))
    assert redeemed is not None
    assert (redeemed.who, redeemed.role, redeemed.proof) == ("ada", "viewer", "p")
    assert await store.write(sessions.redeem, ("t", "other", NOW + 1, NOW - MINUTE)) is None
    await store.write(sessions.touch, ("s", NOW + 5))
    found = await store.read(sessions.find, "s")
    assert found is not None
    assert found.seen_at == NOW + 5
    await store.write(sessions.end, "s")
    assert await store.read(sessions.find, "s") is None


async def test_no_question_reads_a_whole_large_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite finds what the console asks by an index, or looks at no more than a bounded number of rows."""
    said: list[str] = []
    connect = sqlite3.connect

    def traced(*args: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)  # type: ignore[call-overload]
        connection.set_trace_callback(said.append)
        return connection

    store = await Store.open(f"sqlite:///{tmp_path}/receiver.db")
    monkeypatch.setattr(sqlite3, "connect", traced)
    desk = Desk(store)
    one = await desk.submitted(remote_id="r1", metadata={"a": 1})
    await desk.call(one, FAILED, at=NOW)
    said.clear()
    for wanted in (
        Wanted(),
        Wanted(provider="acme", settled_by="poll", handler="h", outcome="failed"),
        Wanted(state="failed"),
        Wanted(state="open", provider="acme"),
        Wanted(outcome="dead", settled_by="poll"),
        Wanted(text="r1"),
        Wanted(text="nothing"),
    ):
        await store.read(search.find, wanted)
        await store.read(search.count, wanted)
    for sought in (
        Sought(provider="acme"),
        Sought(verdict="rejected"),
        Sought(job=one.id),
        Sought(since=NOW),
    ):
        await store.read(arrived.find, sought)
    for question in (glance.rejections, glance.letters, glance.standings):
        await store.read(question)
    await store.read(glance.losing, NOW)
    await store.read(glance.backlog, NOW)
    await store.read(glance.under_way, NOW, MINUTE)
    await store.read(latest.latest, NOW, 10)
    await store.close()
    asked = {text for text in said if text.lstrip().split(None, 1)[0] in {"SELECT", "WITH"}}
    assert len(asked) > 25
    with closing(sqlite3.connect(tmp_path / "receiver.db")) as connection, connection:
        plans = {text: connection.execute(f"EXPLAIN QUERY PLAN {text}").fetchall() for text in asked}
    large = ("SCAN job", "SCAN callback", "SCAN attempt", "SCAN submission")
    whole = [
        (text, row[3])
        for text, plan in plans.items()
        for row in plan
        if row[3].startswith(large) and "LIMIT" not in text
    ]
    assert whole == []
