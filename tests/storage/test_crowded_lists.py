"""However much the record holds, what is asked of it reads a bounded part of it: counts stop, and say so."""

from collections.abc import AsyncIterator

import pytest

from receiver.core.alarms.rules import OVERDUE
from receiver.core.model import HOUR
from receiver.storage import glance, nodes, signs
from tests.core.making import NOW
from tests.storage.making import Desk
from tests.storage.reads import Reads, Work, counted

FEW, MANY = 2_000, 12_000
#: Within so many times what it takes where there is little.
SAME = 1.5
AT = NOW + 2 * HOUR


@pytest.fixture
async def reads(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reads]:
    """A store with two handlers, whose counts stop early."""
    monkeypatch.setattr(nodes, "COUNTED", 100)
    monkeypatch.setattr(glance, "_LOOKED_UP", 200)
    monkeypatch.setattr(glance, "_MOST", 200)
    monkeypatch.setattr(signs, "_MOST", 100)
    found = await counted(url, monkeypatch)
    await Desk(found.store).register("busy", "idle", now=NOW)
    yield found
    await found.store.close()


def fill(reads: Reads, many: int) -> None:
    """Have *many* of everything: jobs past their deadline, dispatches that wait or are dead, rejected callbacks."""
    columns = {
        "job": "id, provider, operation, state, delivery, key_id, created_at, submitted_at, deadline_at, keep_from, "
        "submission, callbacks",
        "due": "job_id, step, provider, run_at, attempt, failures, lane",
        "dispatch": "job_id, handler, replay_id, state, run_at, attempt, created_at, error_code",
        "callback": "id, provider, route, received_at, method, query, headers, body, verdict, code",
    }
    with reads.store.driver.write() as tx:
        for table in columns:
            tx.run(f"DELETE FROM {table}")  # noqa: S608  (names of ours)
        rows: dict[str, list[tuple[object, ...]]] = {table: [] for table in columns}
        for n in range(many):
            job_id, at = f"job_{NOW + n:012x}{n:020x}", NOW + n % 1000
            rows["job"].append(
                (job_id, "acme", "", "submitted", "result", "k", at, at, at, "submission", "sent", 0)
            )
            rows["due"].append((job_id, "look", "acme", at, 0, 0, 3))
            rows["dispatch"].append((job_id, "busy", "", "ready", at, 0, at, None))
            rows["dispatch"].append((job_id, "busy", "again", "dead", at, 8, at, "gone"))
            callback_id = f"cb_{NOW + n:012x}{n:020x}"
            rows["callback"].append(
                (
                    callback_id,
                    "acme",
                    "webhooks",
                    at,
                    "POST",
                    b"",
                    b"[]",
                    b"{}",
                    "rejected",
                    "signature_mismatch",
                )
            )
        for table, some in rows.items():
            tx.insert(table, columns[table], some)
    reads.learn()


ASKED: dict[str, Work] = {
    "handlers": nodes.registered,
    "what is rejected": glance.rejections,
    "dead letters": glance.letters,
    "jobs past their deadline": lambda tx: signs.overdue(tx, now=AT, grace=0),
}


async def test_counts_read_no_more_where_there_is_more_to_count(reads: Reads) -> None:
    """Six times as much waits, is dead, rejected or late: as much is read."""
    read = []
    for many in (FEW, MANY):
        fill(reads, many)
        read.append({what: reads.of(work) for what, work in ASKED.items()})
    few, much = read
    assert {what: (few[what], many) for what, many in much.items() if many > SAME * max(few[what], 100)} == {}


async def test_a_count_that_stopped_says_so(reads: Reads) -> None:
    """As the bound and a sign that there are more; what is below the bound is exact, and so is a count of nothing."""
    fill(reads, 100)
    exact = await reads.store.registered()
    assert [(one.name, one.waiting, one.more_waiting, one.dead, one.more_dead) for one in exact] == [
        ("busy", 100, False, 100, False),
        ("idle", 0, False, 0, False),
    ]
    fill(reads, 101)
    busy, idle = await reads.store.registered()
    assert (busy.waiting, busy.more_waiting, busy.dead, busy.more_dead) == (100, True, 100, True)
    assert (idle.waiting, idle.more_waiting) == (0, False)
    (late,) = await reads.store.read(signs.overdue, now=AT + OVERDUE)
    assert (late.count, late.more) == (100, True)
