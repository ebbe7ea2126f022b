"""Health and metrics, for the machines around the receiver."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from receiver import Receiver, Settings

from .conftest import Site, refused

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import OpenSite


@pytest.mark.asyncio(loop_scope="module")
async def test_health_and_metrics_need_no_token(shared: Site) -> None:
    """Whoever reaches them may ask; nothing is kept on the way."""
    async with httpx.AsyncClient(base_url=shared.url, trust_env=False, timeout=60) as http:
        for path in ("/livez", "/readyz", "/metrics"):
            answer = await http.get(path)
            assert answer.status_code == 200, path
            assert answer.headers["cache-control"] == "no-store"
        assert (await http.get("/readyz")).json() == {"ready": True, "reasons": []}
        assert (await http.head("/livez")).status_code == 200
        assert (await http.post("/livez")).status_code == 405


async def test_metrics_say_what_happened(site: Site) -> None:
    """They are Prometheus' text, with callbacks, jobs and dispatches in them."""
    await site.ended("perplexity-webhook")
    await site.submit("netnut")
    answer = await site.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = await _samples(site)
    async with asyncio.timeout(40):
        # A scrape takes the last count of all jobs, if a new one takes long.
        while ("receiver_jobs", "netnut", "submitted") not in samples:
            await asyncio.sleep(0.05)
            samples = await _samples(site)
    assert samples["receiver_callbacks_total", "perplexity-webhook", "accepted"] == 1
    assert samples["receiver_jobs", "netnut", "submitted"] == 1
    assert samples["receiver_dispatches_dead",] == 0


async def test_a_store_that_cannot_be_written_is_not_ready(site: Site, tmp_path: Path) -> None:
    """While another process holds the database: not ready, and why, while it is held; still alive."""
    lock = os.open(tmp_path / "receiver.db-lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        began = asyncio.get_running_loop().time()
        answer = await site.get("/readyz")
        assert asyncio.get_running_loop().time() - began < 20
        assert answer.status_code == 503
        assert not answer.json()["ready"]
        assert answer.json()["reasons"]
        assert (await site.get("/livez")).status_code == 200
        unanswered = await site.http.post("/v1/jobs", json={"provider": "netnut", "request": {"prompt": "?"}})
        refused(unanswered, 503, "nothing_sent")
        assert unanswered.headers["retry-after"]
        assert site.sim.requests() == []
    finally:
        os.close(lock)
    await site.until("/readyz", lambda found: found["ready"])


async def test_without_a_master_key_it_is_not_ready(tmp_path: Path) -> None:
    """No callback can be told from a forged one without it."""
    receiver = Receiver(Settings.load({"RECEIVER_DATABASE_URL": f"sqlite:///{tmp_path}/receiver.db"}))
    await receiver.start(worker=False, serve=False)
    try:
        transport = httpx.ASGITransport(receiver.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as http:
            answer = await http.get("/readyz")
        assert answer.status_code == 503
        assert "RECEIVER_SECRET_KEY" in answer.json()["reasons"][0]
    finally:
        await receiver.stop()


async def test_a_database_that_is_gone_is_said(site: Site, tmp_path: Path) -> None:
    """Its file is moved away under a receiver that serves: callbacks are refused, and machines are told why."""
    await site.submit("netnut")
    url = site.sim.jobs("netnut")[-1].submission.callback_url
    assert url is not None
    (tmp_path / "receiver.db").rename(tmp_path / "elsewhere.db")
    answer = await site.http.post(url, json={"traceId": "x"})
    assert (answer.status_code, answer.headers["retry-after"] != "") == (503, True)
    ready = await site.get("/readyz")
    assert ready.status_code == 503
    assert f"{tmp_path}/receiver.db is gone" in ready.json()["reasons"][0]
    assert not (tmp_path / "receiver.db").exists()
    samples = await _samples(site)
    assert samples["receiver_store_ready",] == 0
    assert samples["receiver_not_committed_total", "database_gone"] >= 1
    (tmp_path / "elsewhere.db").rename(tmp_path / "receiver.db")
    assert (await site.http.post(url, json={"traceId": "x"})).status_code == 200
    await site.until("/readyz", lambda found: found["ready"])
    assert (await _samples(site))["receiver_store_ready",] == 1


async def test_readiness_follows_the_commits_of_callbacks(open_site: OpenSite, tmp_path: Path) -> None:
    """A damaged page that only callbacks need: not ready, though all else is written; one that is kept ends that."""
    async with open_site() as site:
        job = await site.submit("netnut")
        path = urlsplit(site.sim.jobs("netnut")[-1].submission.callback_url or "").path
    file = tmp_path / "receiver.db"
    with closing(sqlite3.connect(file)) as connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'callback'")
        ((size,),) = connection.execute("PRAGMA page_size")
    page = _swap(file, (root - 1) * size, bytes(size))
    async with open_site() as site:
        await site.until("/readyz", lambda found: found["ready"])
        assert (await site.http.post(path, json={"traceId": job["remote_id"]})).status_code == 503
        # What was found before holds for a second.
        await asyncio.sleep(1.1)
        answer = await site.get("/readyz")
        assert (answer.status_code, "damaged" in answer.json()["reasons"][0]) == (503, True)
        samples = await _samples(site)
        assert (
            samples["receiver_store_ready",],
            samples["receiver_not_committed_total", "database_damaged"],
        ) == (0, 1)
        _swap(file, (root - 1) * size, page)
        assert (await site.http.post(path, json={"traceId": job["remote_id"]})).status_code == 200
        await site.until("/readyz", lambda found: found["ready"])


def _swap(file: Path, offset: int, content: bytes) -> bytes:
    """Write *content* into a file; what was there."""
    with file.open("r+b") as opened:
        opened.seek(offset)
        before = opened.read(len(content))
        opened.seek(offset)
        opened.write(content)
    return before


async def _samples(site: Site) -> dict[tuple[str, ...], float]:
    """What the metrics say."""
    text = (await site.get("/metrics")).text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
