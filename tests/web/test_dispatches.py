"""``/v1/dispatches``: what waits, and the dead letters."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Site, refused

_DEAD = {"handler": "fails"}


async def _dead(site: Site) -> dict[str, Any]:
    record = await site.ended("perplexity-webhook", metadata=_DEAD)
    page = await site.until(f"/v1/dispatches?state=dead&job={record['id']}", lambda page: page["dispatches"])
    return dict(page["dispatches"][0])


async def test_a_handler_that_fails_leaves_a_dead_letter(site: Site) -> None:
    """It is listed with its error, and stands in the job's timeline."""
    dead = await _dead(site)
    assert dead["id"] == f"{dead['job_id']}:keep"
    assert (dead["state"], dead["attempt"], dead["running"]) == ("dead", 1, False)
    assert dead["error"]["code"] == "RuntimeError"
    assert "on purpose" in dead["error"]["text"]
    assert (await site.get("/v1/dispatches", state="ready")).json()["dispatches"] == []
    assert (await site.get("/v1/dispatches")).json()["dispatches"] == [dead]
    record = (await site.get(f"/v1/jobs/{dead['job_id']}")).json()
    assert {"kind": "dispatch", "at": dead["created_at"], "dispatch": dead} in record["timeline"]


async def test_a_dead_letter_is_tried_again(site: Site) -> None:
    """202, and the handler is called once more."""
    dead = await _dead(site)
    answer = await site.http.post(f"/v1/dispatches/{dead['id'].replace(':', '%3A')}/retry")
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["attempt"]) == ("ready", 0)
    await site.until("/v1/dispatches?state=dead", lambda page: len(site.handled) == 2 and page["dispatches"])


async def test_a_dead_letter_is_discarded(site: Site) -> None:
    """It is gone for good; the timeline keeps a line."""
    dead = await _dead(site)
    answer = await site.http.delete(f"/v1/dispatches/{dead['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await site.get("/v1/dispatches")).json() == {"dispatches": [], "cursor": None}
    timeline = (await site.get(f"/v1/jobs/{dead['job_id']}")).json()["timeline"]
    assert timeline[-1]["outcome"] == "discarded"
    refused(await site.http.delete(f"/v1/dispatches/{dead['id']}"), 404, "dispatch_not_found")


async def test_cursors_lead_through_the_dispatches_of_one_job(site: Site) -> None:
    """Several of one job, and of several jobs, come once each."""
    jobs = [await _dead(site) for _ in range(2)]
    for _ in range(2):
        await site.http.post(f"/v1/jobs/{jobs[0]['job_id']}/replay")
    every = await site.until("/v1/dispatches?state=dead", lambda page: len(page["dispatches"]) == 4)
    assert any(one["replay_id"] for one in every["dispatches"])
    found, cursor = [], None
    while True:
        page = (
            await site.get("/v1/dispatches", state="dead", limit=1, **({"cursor": cursor} if cursor else {}))
        ).json()
        found += page["dispatches"]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert found == every["dispatches"]
    replayed = next(one for one in found if one["replay_id"])
    assert (await site.http.delete(f"/v1/dispatches/{replayed['id']}")).status_code == 204


async def test_one_that_is_not_dead_is_left_alone(site: Site) -> None:
    """409 while its handler still has attempts."""
    assert site.receiver.running.worker is not None
    await site.receiver.running.worker.drain(patience=0)
    job = await site.submit("perplexity-webhook")
    site.sim.release(job["remote_id"])
    page = await site.until("/v1/dispatches?state=ready", lambda page: page["dispatches"])
    waiting = page["dispatches"][0]["id"]
    refused(await site.http.post(f"/v1/dispatches/{waiting}/retry"), 409, "dispatch_not_dead")
    refused(await site.http.delete(f"/v1/dispatches/{waiting}"), 409, "dispatch_not_dead")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "named", ["x", "job_1:keep", "job_" + "0" * 32, "job_" + "0" * 32 + ":keep", "%00:a"]
)
async def test_an_unknown_id_is_not_found(shared: Site, named: str) -> None:
    """Whatever is no dispatch is not found."""
    refused(await shared.http.post(f"/v1/dispatches/{named}/retry"), 404, "dispatch_not_found")
    refused(await shared.http.delete(f"/v1/dispatches/{named}"), 404, "dispatch_not_found")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("provider=pulse", "query_unknown", "provider"),
        ("state=succeeded", "query_invalid", "state"),
        ("cursor=job_1:keep", "query_invalid", "cursor"),
    ],
)
async def test_a_bad_filter_is_refused_by_name(shared: Site, query: str, code: str, field: str) -> None:
    """A parameter that is not understood is never ignored."""
    refused(await shared.get(f"/v1/dispatches?{query}"), 422, code, field=field)
