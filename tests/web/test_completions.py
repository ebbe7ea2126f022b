"""``/v1/completions`` and waiting, from the caller's side of a real socket."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from receiver.api import completions
from tests.path.world import until

if TYPE_CHECKING:
    from .conftest import OpenSite, Site


async def events(site: Site, count: int, **headers: str) -> list[tuple[str, Any]]:
    """The first events of a stream: their ids and data."""
    found: list[tuple[str, Any]] = []
    asked = {"accept": "text/event-stream", **headers}
    async with asyncio.timeout(40), site.http.stream("GET", "/v1/completions", headers=asked) as answer:
        assert answer.status_code == 200
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                found.append((fields["id"], json.loads(fields["data"])))
                fields = {}
                if len(found) == count:
                    return found
    return found


async def test_a_page_of_the_feed_says_where_to_go_on(site: Site) -> None:
    """A completion carries its cursor, its job with the caller's metadata, and what comes after it is the next page."""
    job = await site.ended("perplexity-webhook", metadata={"topic": "tea"})
    page = (await site.get("/v1/completions")).json()
    [one] = page["completions"]
    assert (one["cursor"], one["state"], one["replay_id"]) == (page["cursor"], "succeeded", None)
    assert (one["job"]["id"], one["job"]["metadata"]) == (job["id"], {"topic": "tea"})
    following = (await site.get("/v1/completions", after=page["cursor"])).json()
    assert following == {"completions": [], "cursor": page["cursor"]}


async def test_a_request_may_wait_for_the_next_completion(site: Site) -> None:
    """The answer comes with the completion, not with the end of the wait."""
    waiting = asyncio.create_task(site.get("/v1/completions", wait=60))
    job = await site.ended("perplexity-webhook")
    [one] = (await asyncio.wait_for(waiting, 40)).json()["completions"]
    assert one["job"]["id"] == job["id"]


async def test_the_feed_is_held_open_by_so_many_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is told so, with when to come back; a page is answered all the same, and whoever leaves makes room."""
    monkeypatch.setattr(completions, "MOST_HELD", 1)
    stream = {"accept": "text/event-stream"}

    async def opens() -> bool:
        async with site.http.stream("GET", "/v1/completions", headers=stream) as another:
            return another.status_code == 200

    async def waits() -> bool:
        return (await site.http.get("/v1/completions", params={"wait": 0.01})).status_code == 200

    async with asyncio.timeout(40):
        async with site.http.stream("GET", "/v1/completions", headers=stream) as one:
            assert one.status_code == 200
            for asked in ({"headers": stream}, {"params": {"wait": 60}}):
                refused = await site.http.get("/v1/completions", **asked)
                assert (refused.status_code, refused.json()["code"]) == (503, "feed_full")
                assert refused.headers["retry-after"] == "5"
            assert (await site.get("/v1/completions")).status_code == 200
            counted = (await site.http.get("/metrics")).text
            assert 'receiver_requests_refused_total{route="v1",status="503"} 2.0' in counted
        await until(opens)
        # A wait that is over lets go, too.
        for _ in range(2):
            await until(waits)


async def test_a_stream_goes_on_where_it_was_lost(site: Site) -> None:
    """Events have the cursor as their id, and Last-Event-ID is where the next stream begins."""
    first = await site.ended("perplexity-webhook")
    [(cursor, document)] = await events(site, 1)
    assert document["job"]["id"] == first["id"]
    following = asyncio.create_task(events(site, 1, **{"last-event-id": cursor}))
    await asyncio.sleep(0.05)
    second = await site.ended("perplexity-webhook")
    [(_, document)] = await following
    assert document["job"]["id"] == second["id"]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"after": "nonsense"}, 410, "cursor_gone"),
        ({"after": "-1"}, 410, "cursor_gone"),
        ({"after": "9" * 30}, 410, "cursor_gone"),
        ({"after": "1000"}, 410, "cursor_gone"),
        ({"wait": "61"}, 422, "query_invalid"),
        ({"wait": "soon"}, 422, "query_invalid"),
        ({"state": "running"}, 422, "query_invalid"),
        ({"provider": "nobody"}, 422, "query_invalid"),
    ],
)
async def test_what_cannot_be_read_is_refused_by_name(
    site: Site, query: dict[str, str], status: int, code: str
) -> None:
    """A wrong cursor, wait or filter is an error of the caller, with its code."""
    answer = await site.get("/v1/completions", **query)
    assert answer.json()["code"] == code
    assert answer.status_code == status
    # Whoever has no cursor that works hears of one that does.
    assert ("oldest" in answer.json()) is (status == 410)
    streamed = await site.http.get("/v1/completions", params=query, headers={"accept": "text/event-stream"})
    assert streamed.status_code == status


async def test_a_job_is_answered_when_it_has_ended(site: Site) -> None:
    """``wait`` holds the answer back until the end of the job, or until it is over."""
    job = await site.submit("perplexity-webhook")
    address = f"/v1/jobs/{job['id']}"
    assert (await site.get(address, wait="0.1")).json()["ended_at"] is None
    waiting = asyncio.create_task(site.get(address, wait=60))
    await asyncio.sleep(0.05)
    site.sim.release(job["remote_id"])
    assert (await asyncio.wait_for(waiting, 40)).json()["state"] == "succeeded"


async def test_nobody_is_kept_waiting_by_a_process_that_is_told_to_stop(open_site: OpenSite) -> None:
    """Who waits for a job or for the feed is answered as it stands, and can ask whoever comes next."""
    async with open_site() as site:
        job = await site.submit("perplexity-webhook")
        waiting = [
            asyncio.create_task(site.get(f"/v1/jobs/{job['id']}", wait=60)),
            asyncio.create_task(site.get("/v1/completions", wait=60)),
        ]
        await until(lambda: len(site.receiver.running.news._waiting) == 2)
        began = time.monotonic()
        site.receiver.begin_stop()
        shown, page = await asyncio.gather(*waiting)
        assert time.monotonic() - began < 20
    assert (shown.status_code, shown.json()["state"]) == (200, "submitted")
    assert (page.status_code, page.json()["completions"]) == (200, [])
