"""However much the record holds, what is asked of it reads a bounded part of it: counts stop, and say so."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
from msgspec.structs import replace

from receiver.core.alarms.rules import OVERDUE
from receiver.core.model import HOUR
from receiver.news import News
from receiver.steps.follow import Follow
from receiver.storage import arrived, dead_letters, feed, glance, nodes, queries, search, signs, unfinished
from receiver.storage.arrived import Sought
from receiver.storage.dead_letters import Dead
from receiver.storage.driver import Transaction
from receiver.storage.queries import Page
from receiver.storage.search import Found, Wanted
from tests.core.making import NOW
from tests.storage.making import Desk
from tests.storage.reads import Reads, Work, counted

FEW, MANY = 2_000, 12_000
#: Within so many times what it takes where there is little.
SAME = 1.5
AT = NOW + 2 * HOUR
#: What is looked at, and counted.
BOUNDS = (
    *((nodes, "COUNTED"), (glance, "_LOOKED_UP"), (glance, "_MOST"), (signs, "_MOST"), (feed, "_LOOKED_AT")),
    *((search, "_READ"), (search, "_LOOKED_UP"), (search, "COUNTED"), (arrived, "_LOOKED_AT")),
    *((dead_letters, "_LOOKED_AT"), (unfinished, "_LOOKED_AT"), (unfinished, "_FEW")),
)


@pytest.fixture
async def reads(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reads]:
    """A store with two handlers, whose counts stop early."""
    for module, name in BOUNDS:
        monkeypatch.setattr(module, name, 100)
    found = await counted(url, monkeypatch)
    await Desk(found.store).register("busy", "idle", now=NOW)
    yield found
    await found.store.close()


def fill(reads: Reads, many: int) -> None:
    """Have *many* of everything: jobs past their deadline, dispatches that wait or are dead, rejected callbacks."""
    columns = {
        "job": "id, provider, operation, state, delivery, key_id, created_at, submitted_at, deadline_at, keep_from, "
        "submission, callbacks, ended_at",
        "due": "job_id, step, provider, run_at, attempt, failures, lane",
        "dispatch": "job_id, handler, replay_id, state, run_at, attempt, created_at, error_code",
        "callback": "id, provider, route, received_at, method, query, headers, body, verdict, code",
        "completion": "place, id, job_id, replay_id, provider, state",
    }
    with reads.store.driver.write() as tx:
        for table in columns:
            tx.run(f"DELETE FROM {table}")  # noqa: S608  (names of ours)
        rows: dict[str, list[tuple[object, ...]]] = {table: [] for table in columns}
        for n in range(many):
            job_id, at = f"job_{NOW + n:012x}{n:020x}", NOW + n % 1000
            state, ended = ("failed", at) if n % 2 else ("submitted", None)
            rows["job"].append(
                (job_id, "acme", "", state, "result", "k", at, at, at, "submission", "sent", 0, ended)
            )
            if ended is None:
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
            rows["completion"].append((n + 1, f"cpl_{NOW + n:012x}{n:020x}", job_id, "", "acme", state))
        for table, some in rows.items():
            tx.insert(table, columns[table], some)
        tx.run("UPDATE feed SET last = :last", {"last": many})
    reads.learn()


def _both(tx: Transaction, wanted: Wanted) -> None:
    """Find a page, and count."""
    search.find(tx, wanted)
    search.count(tx, wanted)


ASKED: dict[str, Work] = {
    "handlers": nodes.registered,
    "what is rejected": glance.rejections,
    "providers of open jobs": queries.open_providers,
    "dead letters": glance.letters,
    "jobs past their deadline": lambda tx: signs.overdue(tx, now=AT, grace=0),
    **{
        f"jobs {wanted}": partial(_both, wanted=wanted)
        for wanted in (
            *(Wanted(provider="acme", state=state) for state in ("open", "submitted", "failed", "succeeded")),
            *(
                Wanted(provider="other", state=state)
                for state in ("open", "submitted", "failed", "succeeded")
            ),
            *(Wanted(state=state) for state in ("open", "failed", "succeeded", "canceled")),
            *(Wanted(handler=name, outcome="waiting") for name in ("busy", "idle", None)),
            *(Wanted(handler=name, outcome="dead") for name in ("busy", "idle", None)),
        )
    },
    **{
        f"dispatches {state}": partial(unfinished.find, page=Page(state=state))
        for state in ("ready", "lined", "dead")
    },
    **{
        f"callbacks {sought}": partial(arrived.find, sought=sought)
        for sought in (
            Sought(verdict="rejected"),
            Sought(verdict="unreadable"),
            Sought(verdict="rejected", code="x"),
        )
    },
    **{
        f"letters {dead}": partial(dead_letters.find, dead=dead)
        for dead in (Dead(code="rare"), Dead(handler="busy", code="rare"), Dead(handler="busy"))
    },
    "completions of another": partial(feed.page, wanted=feed.Wanted(provider="other")),
    "completions of one": partial(feed.page, wanted=feed.Wanted(provider="acme", limit=10)),
}


async def test_counts_read_no_more_where_there_is_more_to_count(reads: Reads) -> None:
    """Six times as much waits, is dead, rejected or late: as much is read."""
    assert reads.growing(fill, ASKED, few=FEW, many=MANY, most=SAME) == {}


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
    fill(reads, 202)
    (late,) = await reads.store.read(signs.overdue, now=AT + OVERDUE)
    assert (late.count, late.more) == (100, True)


async def test_what_a_search_stopped_at_the_next_one_goes_on_from(reads: Reads) -> None:
    """Page by page everything is listed once and in order, also where a page ended because enough was looked at."""
    fill(reads, 350)
    ids = [f"job_{NOW + n:012x}{n:020x}" for n in reversed(range(350))]
    store = reads.store
    found, wanted = [], Wanted(provider="acme", state="failed", limit=120)
    stops = 0
    while wanted.before != "":
        page = await store.read(search.find, wanted)
        found += [one.id for one in page.jobs]
        stops += page.stopped
        wanted = replace(wanted, before=page.cursor or "")
    assert found == ids[::2]
    assert stops
    whole = await search.whole_page(store.read, Wanted(provider="acme", state="failed", limit=150))
    assert ([one.id for one in whole.jobs], whole.cursor) == (ids[:300:2], ids[298])
    assert await search.whole_page(store.read, Wanted(state="succeeded")) == Found(jobs=[])
    for state in ("ready", "dead"):
        found, asked = [], Page(state=state, limit=30)
        while asked.before != "":
            some = await store.read(unfinished.find, asked)
            found += [one.job_id for one in some.dispatches]
            asked = replace(asked, before=some.cursor or "")
        assert found == ids, state
    for code, those in (("gone", ids), ("rare", [])):
        found, dead = [], Dead(code=code, limit=30)
        while dead.before != "":
            letters = await store.read(dead_letters.find, dead)
            found += [one.job_id for one in letters.letters]
            dead = replace(dead, before=letters.cursor or "")
        assert found == those, code
    follow = Follow(store=store, news=News())
    page_of_one = await follow.page(feed.Wanted(state="failed", after=150, limit=120))
    assert [one.place for one in page_of_one.completions] == list(range(152, 251, 2))
    assert page_of_one.place == 250
    nothing = await follow.page(feed.Wanted(provider="other"))
    assert (nothing.completions, nothing.place) == ([], 350)
