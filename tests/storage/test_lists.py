"""Lists and counts of a large record: found by an index or counted by ranges, and the same as if all were read."""

import pytest

from receiver.core.model import DAY, HOUR, MINUTE
from receiver.storage import counting
from receiver.storage.queries import Page
from tests.core.making import NOW
from tests.storage.making import ACME, DONE, WAKER, Desk, arrival, callback


async def filled(desk: Desk) -> None:
    """Callbacks of several providers with every verdict, some within one millisecond."""
    await desk.register("h")
    for n in range(4):
        one = await desk.submitted(remote_id=f"a{n}", created_at=NOW + n)
        for _ in range(3):
            await desk.call(one, DONE, at=NOW + n // 2)
        other = await desk.submitted("waker", remote_id=f"w{n}", created_at=NOW + n)
        await desk.call(other, {}, at=NOW + n)
        await desk.call_wide(b"<html>", at=NOW + n)
        for provider in (ACME, WAKER):
            forged = callback(provider, DONE, at=NOW + n, rejected="signature_mismatch")
            await desk.store.ingest(arrival(forged))


@pytest.mark.parametrize("verdict", [None, "accepted", "duplicate", "unreadable", "rejected"])
@pytest.mark.parametrize("provider", [None, "acme", "waker", "wide", "nobody"])
async def test_callbacks_are_paged_as_they_are_ordered(
    desk: Desk, provider: str | None, verdict: str | None
) -> None:
    """Page by page, forwards and backwards, each once, in the order of ids, for every filter."""
    await filled(desk)
    everything = await desk.store.callbacks(Page(limit=500))
    wanted = [
        one.id
        for one in everything
        if provider in {None, one.provider} and verdict in {None, one.verdict.value}
    ]
    assert [one.id for one in everything] == sorted((one.id for one in everything), reverse=True)
    for backwards in (True, False):
        found: list[str] = []
        while True:
            place = {"before": found[-1] if found else None} if backwards else {"after": (found or [""])[-1]}
            page = await desk.store.callbacks(Page(provider=provider, verdict=verdict, limit=3, **place))
            if not page:
                break
            found += [one.id for one in page]
        assert found == (wanted if backwards else wanted[::-1])


async def test_counts_are_the_same_by_ranges(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few rows are counted at a time: where a range ends, none is left out and none counted twice."""
    await filled(desk)
    for n in range(5):
        wished = await desk.submitted(remote_id=f"c{n}", created_at=NOW - DAY)
        await desk.store.cancel(wished.id, now=NOW)
        abandoned = await desk.submitted("waker", remote_id=f"g{n}")
        await desk.store.abandon(abandoned.id, now=NOW)
    await desk.claim(at=NOW + MINUTE, provider="waker", limit=3)
    now = NOW + 3 * HOUR
    whole = await desk.store.counts(now=now)
    assert sum(one["count"] for one in whole["jobs"]) == 14
    assert (whole["due"] > 5, whole["dispatches_ready"], whole["oldest_due"]) == (True, 4, NOW - DAY + MINUTE)
    for size in (1, 2, 3):
        monkeypatch.setattr(counting, "_RANGE", size)
        counted = await desk.store.counts(now=now)
        assert sorted(map(str, counted.pop("jobs"))) == sorted(map(str, whole["jobs"]))
        assert counted == {name: value for name, value in whole.items() if name != "jobs"}


async def test_whoever_cannot_wait_is_told_what_was_counted_last(desk: Desk) -> None:
    """The first one waits; then a count that takes long goes on by itself, and the figures say of when they are."""
    await desk.submitted()
    first, at = await desk.store.counting.soon(now=NOW, patience=0)
    assert (at, sum(one["count"] for one in first["jobs"])) == (NOW, 1)
    await desk.submitted(remote_id="r2")
    before, at = await desk.store.counting.soon(now=NOW + 1, patience=0)
    assert (at, before) == (NOW, first)
    after, at = await desk.store.counting.soon(now=NOW + 2, patience=5)
    assert (at, sum(one["count"] for one in after["jobs"])) == (NOW + 1, 2)


async def test_what_is_counted_at_the_start_is_there_for_whoever_asks_first(desk: Desk) -> None:
    """After a start nobody waits for the first count of a large record: it goes on by itself."""
    await desk.submitted()
    desk.store.counting.begin(now=NOW)
    assert desk.store.counting._task is not None
    await desk.store.counting._task
    found, at = await desk.store.counting.soon(now=NOW + 1, patience=0)
    assert (at, sum(one["count"] for one in found["jobs"])) == (NOW, 1)
