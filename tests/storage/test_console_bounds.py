"""However much there is: counts stop and say so, and what is rare is found by an index beside what is frequent."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from receiver.core.identity import CALLBACK, JOB, new_id
from receiver.core.model import Callback, Dispatch, Failure, Verdict
from receiver.storage import arrived, dead_letters, glance, nodes, rows, search
from receiver.storage.arrived import Sought
from receiver.storage.dead_letters import Dead
from receiver.storage.driver import Transaction
from receiver.storage.search import Wanted
from receiver.storage.store import Store
from tests.core.making import NOW
from tests.storage.making import DONE, Desk


def dispatches(tx: Transaction, items: Sequence[Dispatch]) -> list[None]:
    """Put dispatches into the record as they are."""
    tx.insert("dispatch", rows.DISPATCH, [rows.dispatch_params(one) for one in items])
    return [None] * len(items)


def callbacks(tx: Transaction, items: Sequence[Callback]) -> list[None]:
    """Put callbacks into the record as they are."""
    tx.insert("callback", rows.CALLBACK, [rows.callback_params(one) for one in items])
    return [None] * len(items)


async def bury(store: Store, handler: str, code: str, *, at: int) -> str:
    """A dead letter of a job that was made then."""
    job_id = new_id(JOB, at)
    error = Failure(code=code, text="gone")
    dead = Dispatch(job_id=job_id, handler=handler, state="dead", run_at=at, created_at=at, error=error)
    await store.write(dispatches, dead)
    return job_id


async def reject(store: Store, provider: str, code: str, *, at: int, job_id: str | None = None) -> str:
    """A rejected callback that came then."""
    one = Callback(
        id=new_id(CALLBACK, at),
        job_id=job_id,
        provider=provider,
        route="webhooks",
        received_at=at,
        headers=(),
        body=b"{}",
        verdict=Verdict.REJECTED,
        code=code,
    )
    await store.write(callbacks, one)
    return one.id


async def test_counts_that_stop_say_so_and_nobody_is_left_out(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each handler and of each provider the newest are counted; a few old ones stand beside very many new ones."""
    for name, value in (("_MOST", 6), ("_LOOKED_UP", 6), ("_FEWEST", 2)):
        monkeypatch.setattr(glance, name, value)
    await bury(store, "rare", "KeyError", at=NOW)
    await reject(store, "rare", "signature_missing", at=NOW)
    for number in range(9):
        await bury(store, "busy", "ValueError", at=NOW + 1 + number)
        await reject(store, "busy", "signature_mismatch", at=NOW + 1 + number)
    letters = await store.read(glance.letters)
    told = [(one.handler, one.code, one.count, one.more) for one in letters]
    assert told == [("busy", "ValueError", 3, True), ("rare", "KeyError", 1, False)]
    assert (letters[0].latest, letters[1].since) == (NOW + 9, NOW)
    rejections = await store.read(glance.rejections)
    refused = [(one.provider, one.code, one.count, one.more) for one in rejections]
    assert refused == [("busy", "signature_mismatch", 3, True), ("rare", "signature_missing", 1, False)]
    for number in range(7):
        waits = Dispatch(job_id=new_id(JOB, NOW), handler="slow", run_at=NOW + number, created_at=NOW)
        await store.write(dispatches, waits)
    backlog = await store.read(glance.backlog, NOW + 5)
    assert (backlog.handlers, backlog.more, backlog.oldest_handler) == (6, True, NOW)
    backlog = await store.read(glance.backlog, NOW + 1)
    assert (backlog.handlers, backlog.more) == (2, False)


async def test_dead_letters_of_one_error_are_found_whoever_raised_it(store: Store) -> None:
    """In the order of their jobs, over all handlers, page by page, each once."""
    wanted = []
    for number in range(6):
        wanted.append(await bury(store, "one" if number % 2 else "two", "KeyError", at=NOW + number))
        await bury(store, "one", "ValueError", at=NOW + number)
    seen, dead = list[str](), Dead(code="KeyError", limit=2)
    for _ in range(3):
        found = await store.read(dead_letters.find, dead)
        seen += [one.job_id for one in found.letters]
        dead = replace(dead, before=found.cursor)
    assert found.cursor is None
    assert seen == wanted[::-1]
    assert await store.read(dead_letters.handlers) == ["one", "two"]


async def test_open_jobs_of_one_provider_are_found_among_many_of_another(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether all that is due there is looked at, or the newest of all; then the search says so and goes on."""
    monkeypatch.setattr(search, "_LOOKED_UP", 4)
    rare = await desk.submitted("waker", remote_id="w", created_at=NOW)
    for number in range(6):
        await desk.submitted(remote_id=f"r{number}", created_at=NOW + 1 + number)
    found = await desk.store.read(search.find, Wanted(provider="waker", state="open"))
    assert ([job.id for job in found.jobs], found.stopped) == ([rare.id], False)
    seen, wanted = list[str](), Wanted(provider="acme", state="open", limit=10)
    while True:
        page = await desk.store.read(search.find, wanted)
        seen += [job.remote_id or "" for job in page.jobs]
        if page.cursor is None:
            break
        wanted = replace(wanted, before=page.cursor)
    assert seen == [f"r{number}" for number in range(5, -1, -1)]


async def test_what_is_rejected_is_found_by_code_and_provider(store: Store) -> None:
    """Each filter by itself and together, the newest first."""
    ids = {}
    for number, (provider, code) in enumerate((("a", "x"), ("b", "x"), ("a", "y"), ("a", "x"))):
        ids[number] = await reject(store, provider, code, at=NOW + number)
    for sought, expected in (
        (Sought(verdict="rejected"), [3, 2, 1, 0]),
        (Sought(verdict="rejected", provider="a"), [3, 2, 0]),
        (Sought(verdict="rejected", code="x"), [3, 1, 0]),
        (Sought(verdict="rejected", provider="a", code="x"), [3, 0]),
        (Sought(verdict="unreadable", code="x"), []),
        (Sought(provider="b", code="x"), [1]),
        (Sought(verdict="rejected", code="x", since=NOW + 1, until=NOW + 3), [1]),
    ):
        found = await store.read(arrived.find, sought)
        assert [one.id for one, _ in found.callbacks] == [ids[number] for number in expected], sought


async def test_an_index_leads_to_what_is_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite enters the index that begins with what is asked for, and not one that holds a million rows of it."""
    said: list[str] = []
    connect = sqlite3.connect

    def traced(*args: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)  # type: ignore[call-overload]
        connection.set_trace_callback(said.append)
        return connection

    store = await Store.open(f"sqlite:///{tmp_path}/receiver.db")
    monkeypatch.setattr(sqlite3, "connect", traced)
    await store.read(arrived.find, Sought(verdict="rejected", provider="acme", code="x"))
    await store.read(arrived.rejected, [new_id(JOB, NOW), new_id(JOB, NOW)])
    await store.read(dead_letters.find, Dead(handler="h", code="x"))
    await store.read(glance.letters)
    await store.read(nodes.registered)
    await store.read(search.find, Wanted(handler="h", outcome="dead"))
    await store.close()
    with closing(sqlite3.connect(tmp_path / "receiver.db")) as connection:
        used = {
            row[3].partition(" (")[0]
            for text in {*said}
            if text.lstrip().split(None, 1)[0] in {"SELECT", "WITH"}
            for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")
            if row[3].startswith(("SEARCH callback", "SEARCH dispatch", "SCAN callback", "SCAN dispatch"))
        }
    assert {one for one in used if "callback_provider" in one or "SCAN" in one} == set()
    assert "SEARCH dispatch USING COVERING INDEX dispatch_letters" in used
    assert "SEARCH callback USING COVERING INDEX callback_unsettled" in used
    assert "SEARCH callback USING INDEX callback_job" in used


async def test_rejected_callbacks_of_jobs_are_counted_up_to_a_bound(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each job the newest are looked at; what was not rejected, and a job that has none, are not told."""
    monkeypatch.setattr(arrived, "MOST_REJECTED", 3)
    few, many, none = [await desk.submitted(remote_id=f"r-{number}") for number in range(3)]
    await desk.call(none, DONE, at=NOW)
    await reject(desk.store, "acme", "x", at=NOW, job_id=few.id)
    for number in range(5):
        await reject(desk.store, "acme", "x", at=NOW + number, job_id=many.id)
    found = await desk.store.read(arrived.rejected, [few.id, many.id, none.id])
    assert found == {few.id: 1, many.id: 3}
    assert await desk.store.read(arrived.rejected, []) == {}
