"""Alarms in the store, on both databases: what the record shows, who raises, and what sinks are told."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from receiver.core.alarms import alarm
from receiver.core.alarms.alarm import CALM, SEVERITIES, Finding
from receiver.core.asking.exchange import Seen
from receiver.core.file import Download
from receiver.core.handler import HandlerSpec
from receiver.core.job.looking import Unanswered
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, JobState, Observation, Step
from receiver.storage import alarms, attention, files, signs, tally
from receiver.storage.alarms import Looked, Round
from receiver.storage.driver import Row, Transaction
from receiver.storage.nodes import Node
from receiver.storage.store import Store
from receiver.storage.tally import Tallied
from tests.core.making import NOW
from tests.storage.making import ACME, DONE, Desk, arrival, callback

EXPECTED = {"acme": 10 * MINUTE, "waker": 10 * MINUTE}
NAMES = frozenset(SEVERITIES)


@pytest.fixture
async def others(url: str) -> AsyncIterator[list[Store]]:
    """The same database from several processes' point of view."""
    async with AsyncExitStack() as stack:
        stores = []
        for _ in range(3):
            one = await Store.open(url)
            stack.push_async_callback(one.close)
            stores.append(one)
        yield stores


def looked(*found: Finding, now: int = NOW, sinks: tuple[str, ...] = ()) -> Looked:
    """What a round found."""
    return Looked(names=NAMES, findings=found, sinks=sinks, now=now)


def finding(subject: str = "h") -> Finding:
    """Dead letters."""
    return Finding(name=alarm.DEAD_LETTERS, provider="acme", subject=subject, cause="two", advice="retry")


async def test_one_node_a_round(others: list[Store]) -> None:
    """Of nodes that want to look at the same time one does; the next round is the next one's."""
    for now in (NOW, NOW + 15 * SECOND, NOW - DAY):
        took = await asyncio.gather(
            *(
                one.write(alarms.begin, Round(node=str(place), now=now, every=15 * SECOND))
                for place, one in enumerate(others)
            )
        )
        assert sorted(took) == [False, False, True], now
    assert not await others[0].write(alarms.begin, Round(node="0", now=NOW - DAY + SECOND, every=15 * SECOND))
    assert await others[0].read(alarms.looked_at) == NOW - DAY


async def test_an_alarm_is_raised_once_by_however_many_nodes(others: list[Store]) -> None:
    """Also where all of them settle at the same time; and cleared once, and told once of each."""
    for _ in range(2):
        await asyncio.gather(*(one.write(alarms.settle, looked(finding(), sinks=("ops",))) for one in others))
    (raised,) = await others[1].read(alarms.raised)
    await asyncio.gather(*(one.write(alarms.settle, looked(now=NOW + SECOND)) for one in others))
    await asyncio.gather(
        *(one.write(alarms.settle, looked(now=NOW + SECOND + CALM, sinks=("ops",))) for one in others)
    )
    assert await others[2].read(alarms.raised) == []
    (cleared,) = await others[2].read(alarms.everything)
    assert (cleared.id, cleared.cleared_at) == (raised.id, NOW + SECOND + CALM)
    assert await others[0].read(alarms.untold) == 2
    await others[0].write(alarms.settle, looked(finding(), now=NOW + HOUR))
    assert len(await others[0].read(alarms.everything)) == 2


async def test_what_a_node_sees_of_itself_alone_is_nobody_elses(store: Store) -> None:
    """A round of one node clears nothing that another one raised."""
    for host in ("a", "b"):
        low = Finding(name=alarm.DISK_LOW, subject=host, cause="full", advice="prune")
        await store.write(
            alarms.settle, Looked(names=alarm.OF_ONE_NODE, subject=host, findings=(low,), now=NOW)
        )
    for minutes in (1, 3):
        await store.write(
            alarms.settle,
            Looked(names=alarm.OF_ONE_NODE, subject="a", findings=(), now=NOW + minutes * MINUTE),
        )
    assert [one.subject for one in await store.read(alarms.raised)] == ["b"]


async def test_a_sink_is_told_in_order_until_it_has_taken_it(store: Store) -> None:
    """Nobody else tells it meanwhile; that it was cleared comes after that it was raised, however late that is."""
    await store.write(alarms.settle, looked(finding(), sinks=("ops", "pager")))
    await store.write(alarms.settle, looked(now=NOW + SECOND))
    await store.write(alarms.settle, looked(now=NOW + 2 * MINUTE, sinks=("ops", "pager")))

    async def take(at: int) -> list[alarms.Notice]:
        return await store.write(alarms.take, (("ops",), at, at + MINUTE))

    (first,) = await take(NOW + 3 * MINUTE)
    assert (first.word, first.sink, first.attempt, first.alarm.cause) == ("raised", "ops", 1, "two")
    assert await take(NOW + 3 * MINUTE) == []
    await store.write(alarms.told, (first, NOW + 5 * MINUTE))
    (again,) = await take(NOW + 5 * MINUTE)
    assert (again.word, again.attempt) == ("raised", 2)
    await store.write(alarms.told, (again, None))
    (second,) = await take(NOW + 5 * MINUTE)
    assert second.word == "cleared"
    await store.write(alarms.told, (second, None))
    assert await take(NOW + HOUR) == []
    assert await store.read(alarms.untold) == 2


async def test_what_no_node_has_the_sink_for_goes_after_a_month(store: Store) -> None:
    """The sink was taken out of the configuration: until then it may come back, and is told."""
    await store.write(alarms.settle, looked(finding(), sinks=("gone", "ops")))
    for later, untold in ((30 * DAY - 1, 2), (30 * DAY, 2), (30 * DAY + 1, 0)):
        await store.write(alarms.settle, looked(finding(), now=NOW + later))
        assert await store.read(alarms.untold) == untold


async def test_the_jobs_say_whether_a_provider_is_silent(desk: Desk) -> None:
    """Those that were called back for, and those whose callback should have come; what nobody can know is left out."""
    for number in range(6):
        one = await desk.submitted(remote_id=f"r{number}", created_at=NOW + number * SECOND)
        await desk.call(one, DONE, at=NOW + number * SECOND + 10 * SECOND)
    (known,) = await desk.store.read(signs.calls, EXPECTED, now=NOW + MINUTE)
    assert (known.lag, known.learnt, known.last) == (30 * SECOND, True, NOW + 15 * SECOND)
    assert [one.heard for one in known.awaited] == [True] * 6
    later = NOW + HOUR
    polled = await desk.submitted(remote_id="polled", created_at=later)
    await desk.submitted(remote_id="open", created_at=later + 1)
    working = await desk.submitted(remote_id="working", created_at=later + 2)
    await desk.store.cancel((await desk.submitted(remote_id="c", created_at=later + 3)).id, now=later + 4)
    seen = {polled.id: JobState.FAILED, working.id: JobState.RUNNING}
    for claimed in await desk.claim(at=later + 2 * MINUTE):
        if claimed.job.id in seen and claimed.due.step is Step.LOOK:
            found = Seen(seen=Observation(state=seen[claimed.job.id]))
            await desk.settle(claimed, found, at=later + 2 * MINUTE)
    (known,) = await desk.store.read(signs.calls, EXPECTED, now=later + 10 * MINUTE)
    assert [one.heard for one in known.awaited] == [False, False, False, *[True] * 6]
    assert known.awaited[-7].at == later + 2 * MINUTE + 30 * SECOND
    assert await desk.store.read(signs.calls, EXPECTED, now=later + 8 * DAY) == []
    assert await desk.store.read(signs.calls, {}, now=later) == []


async def test_verdicts_are_those_of_the_last_hour(desk: Desk) -> None:
    """With the reason that most were rejected for."""
    for at, rejected, accepted in ((NOW - 2 * HOUR, 50, 1), (NOW, 3, 7)):
        counted = [
            Tallied(kind="callback", provider="acme", word=word, count=count)
            for word, count in (("rejected", rejected), ("accepted", accepted), ("duplicate", 1))
        ]
        await desk.store.write(tally.add, ("n", at, counted))
    for code in ("timestamp_stale", "signature_mismatch", "signature_mismatch"):
        await desk.store.ingest(arrival(callback(ACME, DONE, rejected=code)))
    (known,) = await desk.store.read(signs.verdicts, now=NOW)
    assert (known.provider, known.rejected, known.others, known.code) == ("acme", 3, 8, "signature_mismatch")


async def test_results_that_are_deleted_soon_are_told_once_they_are_late(desk: Desk) -> None:
    """Not while they wait their turn."""
    one = await desk.submitted(created_at=NOW, keep_ms=HOUR)
    await desk.call(one, {"status": "done", "result_url": "https://api.acme.example/r/1"}, at=NOW)
    (due,) = desk.rows(
        "SELECT expires_at, urgent_at FROM due WHERE job_id = :id AND step = 'look'", id=one.id
    )
    expires_at, urgent_at = due
    assert await desk.store.read(signs.leaving, now=urgent_at - 1) == []
    assert await desk.store.read(signs.leaving, now=urgent_at + SECOND) == []
    (known,) = await desk.store.read(signs.leaving, now=urgent_at + 2 * MINUTE)
    assert (known.provider, known.count, known.first_at) == ("acme", 1, expires_at)


async def test_files_that_are_deleted_soon_and_files_that_are_lost(desk: Desk) -> None:
    """Those that are late for it, and those of the last day that could not be had, with the newest one's reason."""
    one = await desk.submitted()
    left = Download(
        job_id=one.id,
        number=1,
        provider="acme",
        url="https://files.acme.example/1",
        origin="https://files.acme.example",
        largest=1,
        run_at=NOW,
        expires_at=NOW + 2 * HOUR,
    )
    with desk.store.driver.write() as tx:
        tx.insert("download", files.DOWNLOAD.columns, [files.DOWNLOAD.row(left)])
        tx.insert(
            "file",
            "job_id, number, state, name, place, source, code",
            [
                (one.id, number, state, "a", "b", "c", code)
                for number, state, code in (
                    (1, "waiting", None),
                    (2, "lost", "file_gone"),
                    (3, "stored", None),
                )
            ],
        )
    assert await desk.store.read(signs.leaving_files, now=NOW + HOUR - 1) == []
    assert await desk.store.read(signs.leaving_files, now=NOW + HOUR + SECOND) == []
    (leaving,) = await desk.store.read(signs.leaving_files, now=NOW + HOUR + 2 * MINUTE)
    assert (leaving.provider, leaving.count, leaving.first_at) == ("acme", 1, NOW + 2 * HOUR)
    (lost,) = await desk.store.read(signs.lost_files, since=NOW - DAY)
    assert (lost.provider, lost.count, lost.code, lost.job_id) == ("acme", 1, "file_gone", one.id)
    assert await desk.store.read(signs.lost_files, since=NOW + HOUR) == []


async def test_dead_letters_are_those_of_a_handler_and_a_provider(desk: Desk) -> None:
    """With the newest one's error."""
    await desk.register("h", "i")
    for number, provider in enumerate(("acme", "acme", "waker")):
        one = await desk.submitted(provider, remote_id=f"r{number}")
        if provider == "acme":
            await desk.call(one, DONE)
        else:
            await desk.store.abandon(one.id, now=NOW)
    for handler in ("h", "i"):
        for dispatch, _ in await desk.work(handler, at=NOW + SECOND):
            if handler == "h" or dispatch.attempt:
                await desk.finish(dispatch, "failed" if handler == "h" else "succeeded", at=NOW + SECOND)
    (known,) = await desk.store.read(signs.letters)
    assert (known.provider, known.handler, known.count, known.code) == ("acme", "h", 2, "ValueError")
    assert not known.more


async def test_jobs_past_their_deadline_are_overdue(desk: Desk) -> None:
    """Those that nobody asks about, and those whose provider gives no answer; never one whose result waits."""
    await desk.submitted(remote_id="neglected", deadline_at=NOW + HOUR)
    waits = await desk.submitted("waker", remote_id="doubted", deadline_at=NOW + HOUR)
    late = NOW + 2 * HOUR
    assert await desk.store.read(signs.overdue, now=NOW + HOUR + MINUTE) == []
    (claimed,) = await desk.claim(at=late, provider="waker")
    await desk.settle(claimed, Unanswered(code="status_503"), at=late, next_at=late + HOUR)
    assert desk.count("due", f"job_id = '{waits.id}' AND doubt_since IS NOT NULL") == 1
    found = await desk.store.read(signs.overdue, now=late + MINUTE)
    assert [(one.provider, one.count, one.since) for one in found] == [
        ("acme", 1, NOW + HOUR),
        ("waker", 1, NOW + HOUR),
    ]


async def test_what_waits_is_told_by_who_it_waits_for(desk: Desk) -> None:
    """A handler, or a provider, which may have asked to be left alone."""
    await desk.register("h", HandlerSpec(name="idle", provider="waker"))
    await desk.call(await desk.submitted(), DONE, at=NOW)
    await desk.submitted("waker", remote_id="r2", created_at=NOW)
    await desk.store.pause("waker", until=NOW + 2 * DAY)
    found = {
        (one.handler, one.provider): (one.since, one.paused_until)
        for one in await desk.store.read(signs.waiting, now=NOW + HOUR)
    }
    assert found[("h", "")] == (NOW, None)
    assert found[("", "waker")] == (NOW + MINUTE, NOW + 2 * DAY)
    assert ("idle", "") not in found
    assert await desk.store.read(signs.waiting, now=NOW + SECOND) == []


async def test_an_old_key_is_in_use_while_it_proves_callbacks(desk: Desk) -> None:
    """Where the newest has done so for a day."""
    keys = {"acme": ["new", "old"]}
    for at, key in ((NOW - 3 * DAY, "old"), (NOW - 2 * DAY, "new"), (NOW - HOUR, "old"), (NOW, "new")):
        one = await desk.submitted(remote_id=f"r{at}", created_at=at)
        await desk.call(one, DONE, at=at)
        with desk.store.driver.write() as tx:
            tx.run("UPDATE callback SET key_id = :key WHERE job_id = :job", {"key": key, "job": one.id})
    (known,) = await desk.store.read(signs.old_keys, keys, now=NOW)
    assert (known.key, known.newest, known.last) == ("old", "new", NOW - HOUR)
    assert await desk.store.read(signs.old_keys, keys, now=NOW - DAY - HOUR) == []


async def test_nodes_are_seen(desk: Desk) -> None:
    """Each with its role and its last sign of life."""
    await desk.store.join(Node(name="a", role="worker"), only=False, now=NOW)
    (known,) = await desk.store.read(signs.present)
    assert (known.name, known.role, known.started_at, known.seen_at) == ("a", "worker", NOW, NOW)


async def test_every_question_is_answered_by_an_index(tmp_path: Path) -> None:
    """No table that grows with the record is read from end to end."""
    store = await Store.open(f"sqlite:///{tmp_path}/receiver.db")
    desk = Desk(store)
    await desk.register("h")
    await desk.call(await desk.submitted(), DONE, at=NOW)
    await desk.submitted(remote_id="r2")
    asked: dict[str, Mapping[str, object]] = {}
    with store.driver.read() as tx:
        noting = Noting(tx, asked)
        signs.calls(noting, EXPECTED, now=NOW + DAY)
        signs.verdicts(noting, now=NOW)
        signs.leaving(noting, now=NOW)
        signs.leaving_files(noting, now=NOW)
        signs.lost_files(noting, since=NOW)
        signs.letters(noting)
        signs.overdue(noting, now=NOW)
        signs.waiting(noting, now=NOW)
        attention.attention(noting, NOW - DAY)
        signs.old_keys(noting, {"acme": ["a", "b"]}, now=NOW)
        read = [
            (row[3], sql)
            for sql, params in asked.items()
            for row in tx.run(f"EXPLAIN QUERY PLAN {sql}", params)
            if re.match(r"SCAN (job|callback|due|dispatch|attempt|tally|file|download)\b(?! USING)", row[3])
        ]
    await store.close()
    assert len(asked) > 8
    assert not read


class Noting:
    """A transaction that keeps what it is asked."""

    def __init__(self, tx: Transaction, asked: dict[str, Mapping[str, object]]) -> None:
        self._tx = tx
        self._asked = asked

    def run(self, sql: str, params: Mapping[str, object] = {}) -> list[Row]:
        """Run one statement, and keep it."""
        self._asked[sql] = params
        return self._tx.run(sql, params)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._tx, name)
