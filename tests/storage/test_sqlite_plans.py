"""How SQLite finds what the statements ask for: by an index, however large the tables are."""

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from receiver.core.asking.exchange import Pending
from receiver.core.model import DAY
from receiver.storage import glance, open_keys
from receiver.storage.arrivals import Quota
from receiver.storage.queries import Page
from receiver.storage.retention import Prune
from receiver.storage.store import Store
from tests.core.making import NOW
from tests.storage.making import ACME, DONE, FAILED, WIDE, Desk, arrival, callback

_PLANNED = ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")
#: How a plan says that a table is read from one end to the other, in its own order or that of an index.
_WHOLE = re.compile(r"SCAN (job|callback|attempt|submission|result_chunk)\b")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are run, with their values."""
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401  (whatever it takes)
        connection: sqlite3.Connection = connect(*args, **options)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    return statements


@pytest.fixture
async def desk(said: list[str], tmp_path: Path) -> AsyncIterator[Desk]:
    """Does to a store on SQLite what the steps do."""
    store = await Store.open(f"sqlite:///{tmp_path}/receiver.db")
    said.clear()
    yield Desk(store)
    await store.close()


async def test_no_statement_reads_a_whole_large_table(desk: Desk, said: list[str], tmp_path: Path) -> None:
    """Neither on the way of a callback, nor of a flood of forged ones, nor what people and metrics ask."""
    await desk.register("h")
    one = await desk.submitted(created_at=NOW - 30 * DAY)
    await desk.call(one, {"status": "working"}, at=NOW - 30 * DAY)
    await desk.call(one, DONE, at=NOW - 30 * DAY)
    await desk.call(one, DONE, at=NOW - 30 * DAY)
    ((dispatch, _),) = await desk.work("h", at=NOW)
    await desk.finish(dispatch, at=NOW)
    await desk.call_wide(b"<html>")
    await desk.call_wide(FAILED | {"id": "r2"})
    waiting = await desk.submitted("waker", remote_id="r3")
    await desk.call(waiting, {})
    await desk.look(Pending(), at=NOW, provider="waker")
    for n in range(6):
        forged = callback(WIDE, DONE, at=NOW + n, rejected="signature_mismatch")
        await desk.store.ingest(arrival(forged, quota=Quota(entries=4)))
    other = await desk.submitted(remote_id="r4")
    named = callback(ACME, DONE, job_id=other.id, rejected="signature_mismatch")
    await desk.store.ingest(arrival(named))
    await desk.readmit(named.id, at=NOW + 1)
    for state in ("open", "submitted", "running", "failed"):
        await desk.store.jobs(Page(state=state))
        await desk.store.jobs(Page(state=state, provider="acme"))
    await desk.store.callbacks(Page(provider="acme"))
    await desk.store.callbacks(Page(provider="acme", verdict="accepted", before=named.id))
    for verdict in ("rejected", "unreadable", "duplicate"):
        await desk.store.callbacks(Page(verdict=verdict))
        await desk.store.callbacks(Page(verdict=verdict, provider="acme"))
    await desk.store.callbacks(Page(job_id=one.id))
    await desk.store.record(one.id)
    await desk.store.counts(now=NOW)
    await desk.store.read(open_keys.look)
    await desk.store.read(glance.rejections)
    assert (await desk.store.prune(Prune(before=NOW - DAY, now=NOW))).jobs == 1
    asked = {text for text in said if text.split(None, 1)[0] in _PLANNED}
    assert len(asked) > 50
    with closing(sqlite3.connect(tmp_path / "receiver.db")) as connection, connection:
        plans = {text: connection.execute(f"EXPLAIN QUERY PLAN {text}").fetchall() for text in asked}
    read_whole = [(text, row[3]) for text, plan in plans.items() for row in plan if _WHOLE.match(row[3])]
    assert read_whole == []


async def test_a_claim_reads_what_is_due_in_its_order(desk: Desk, said: list[str], tmp_path: Path) -> None:
    """By an index and without sorting, however much is due; and so it is found whose turn it is."""
    await desk.submitted(keep_ms=DAY, keep_from="submission")
    said.clear()
    await desk.store.due_providers(now=NOW + DAY)
    assert len(await desk.claim(at=NOW + DAY)) == 1
    asked = {text for text in said if text.lstrip().startswith(_PLANNED) and " FROM due" in text}
    assert len(asked) == 6
    with closing(sqlite3.connect(tmp_path / "receiver.db")) as connection, connection:
        plan = [row[3] for text in asked for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")]
    assert [step for step in plan if "TEMP B-TREE" in step or step.startswith("SCAN due")] == []
