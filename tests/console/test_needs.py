"""What needs a person, line by line: each says what it is, since when, and leads to where it is seen to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from receiver.core.alarms import alarm
from receiver.core.alarms.alarm import Finding
from receiver.core.identity import JOB, new_id
from receiver.core.job.urgency import NEAR_DELETION
from receiver.core.model import HOUR, MINUTE, Dispatch, Due, Failure, Step
from receiver.storage import alarms, rows
from receiver.storage.alarms import Looked, Round

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.storage.driver import Transaction
    from tests.console.conftest import Person
    from tests.web.conftest import Site


def due(tx: Transaction, items: Sequence[Due]) -> list[None]:
    """Put what is due into the record as it is."""
    tx.insert("due", rows.DUE, [rows.due_params(one) for one in items])
    return [None] * len(items)


def dispatches(tx: Transaction, items: Sequence[Dispatch]) -> list[None]:
    """Put dispatches into the record as they are."""
    tx.insert("dispatch", rows.DISPATCH, [rows.dispatch_params(one) for one in items])
    return [None] * len(items)


async def test_results_about_to_be_lost_come_before_everything(site: Site, operator: Person) -> None:
    """How many, of whom, by when, and what was tried; what waits for handlers comes last."""
    running = site.receiver.running
    now = running.clock()
    for number in range(2):
        # Somebody else is at it, so it stays as it is.
        one = Due(
            job_id=new_id(JOB, now),
            step=Step.LOOK,
            provider="netnut",
            run_at=now + HOUR,
            owner="another node",
            expires_at=now + 20 * MINUTE + number,
            urgent_at=now - MINUTE,
            lane=NEAR_DELETION,
            failures=3,
        )
        await running.store.write(due, one)
    waiting = Dispatch(
        job_id=new_id(JOB, now), handler="elsewhere", run_at=now - 5 * MINUTE, created_at=now - 5 * MINUTE
    )
    await running.store.write(dispatches, waiting)
    page = await operator.see("")
    (first, *_, last) = re.findall(r'<li data-key="need-[^>]*>(.*?)</li>', page, re.DOTALL)
    assert '<b class="bad">2 results</b>' in first
    assert re.search(r"of netnut will be deleted by the provider, the first in (20|19) min", first)
    assert "asking failed 3 times in a row" in first
    assert 'href="/console/jobs?provider=netnut&amp;state=open"' in first
    assert '<b class="warn">1 dispatch</b>' in last
    assert "wait for handlers, the oldest for 5 min" in last
    assert 'href="/console/jobs?outcome=waiting"' in last


async def test_alarms_are_told_with_what_to_do(site: Site, operator: Person) -> None:
    """Each kind that the page does not count by itself, in words of its own; a cleared one is gone."""
    running = site.receiver.running
    kinds = {
        alarm.CALLBACKS_SILENT: "Callbacks stopped",
        alarm.FILES_LOST: "Files are lost",
        alarm.DISK_LOW: "A disk is nearly full",
        alarm.OLD_KEY_IN_USE: "An old key is in use",
    }
    findings = tuple(
        Finding(name=name, provider="pulse", subject="x", cause=f"Cause of {name}.", advice="Do <this>.")
        for name in kinds
    )
    looked = Looked(names=frozenset(kinds), findings=findings, now=running.clock())
    await running.store.write(alarms.settle, looked)
    page = await operator.see("")
    for name, words in kinds.items():
        assert re.search(
            rf">{words}</b><span>since \d\d:\d\d: Cause of {name}. Do &lt;this&gt;.</span>", page
        ), name
    assert page.count('href="/console/providers/pulse"') >= len(kinds)
    assert await running.store.write(alarms.begin, Round(node="n", now=running.clock(), every=0)) is True
    assert "Alarms are as of" in await operator.see("")


async def test_no_kind_of_trouble_hides_another(site: Site, operator: Person) -> None:
    """Of many lines of one kind the first are shown, and where the rest are; what else there is stays in sight."""
    store, now = site.receiver.running.store, site.receiver.running.clock()
    for number in range(20):
        letter = Dispatch(
            job_id=new_id(JOB, now),
            handler=f"handler-{number:02}",
            state="dead",
            run_at=now,
            created_at=now,
            error=Failure(code="RuntimeError"),
        )
        await store.write(dispatches, letter)
    waiting = Dispatch(
        job_id=new_id(JOB, now), handler="elsewhere", run_at=now - 5 * MINUTE, created_at=now - 5 * MINUTE
    )
    await store.write(dispatches, waiting)
    page = await operator.see("")
    *shown, rest, last = re.findall(r'<li data-key="need-[^>]*>(.*?)</li>', page, re.DOTALL)
    assert [len(shown), page.count("1 dead letter</b>")] == [3, 3]
    assert '<b class="warn">17 more</b><span>errors that left dead letters</span>' in rest
    assert 'href="/console/dead"' in rest
    assert "wait for handlers" in last
