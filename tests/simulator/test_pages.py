"""A result in pages, and what goes wrong on the way from one to the next."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import pytest

from receiver.simulator import SimulatorSettings, fault

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from receiver.simulator import Simulator

    from .clients import Client, Sink

    Clients = Callable[[str], Client]


async def first(client: Client, *faults: Any) -> Any:  # noqa: ANN401  any order, whatever is answered
    """Crawl with *faults*, and return the first page."""
    client.sim.faults("firecrawl", *faults)
    return (await client.status(await client.done())).json()


async def following(client: Client, http: httpx.AsyncClient, page: Any) -> httpx.Response:  # noqa: ANN401
    """Ask for the page after *page*."""
    return await http.get(page["next"], headers={"authorization": "Bearer key"})


async def test_three_pages(client: Clients, http: httpx.AsyncClient) -> None:
    """Each page names the next one, the last names none, and no document is on two of them."""
    crawl = client("firecrawl")
    pages = [await first(crawl)]
    while "next" in pages[-1]:
        pages.append((await following(crawl, http, pages[-1])).json())
    assert [page["status"] for page in pages] == ["completed"] * 3
    urls = [document["metadata"]["sourceURL"] for page in pages for document in page["data"]]
    assert urls == [f"https://example.com/pages/{number}" for number in range(1, 7)]
    assert {page["total"] for page in pages} == {6}


@pytest.mark.parametrize("settings", [SimulatorSettings(run_seconds=None)])
async def test_a_crawl_that_runs(client: Clients, sim: Simulator) -> None:
    """It has no documents yet, and repeats its own address until there are some."""
    job_id = await client("firecrawl").submitted()
    page = (await client("firecrawl").status(job_id)).json()
    assert (page["status"], page["data"]) == ("scraping", [])
    assert page["next"] == f"{sim.base_url('firecrawl')}/v2/crawl/{job_id}?skip=0"


async def test_the_callback(client: Clients, sink: Sink) -> None:
    """A crawl that ended says so, signed with the account's secret, to whoever asked for that event."""
    crawl = client("firecrawl")
    job_id = await crawl.done(webhook={"url": sink.url, "events": ["completed"]})
    (arrived,) = sink.arrived
    mac = hmac.new(b"a simulated account", arrived.body, hashlib.sha256).hexdigest()
    assert arrived.headers["x-firecrawl-signature"] == f"sha256={mac}"
    assert (arrived.json()["type"], arrived.json()["id"]) == ("crawl.completed", job_id)
    await crawl.done(webhook={"url": sink.url, "events": ["failed"]})
    assert len(sink.arrived) == 1


@pytest.mark.parametrize(("name", "status"), [("page_5xx", 503), ("page_gone", 404)])
async def test_refused_pages(client: Clients, http: httpx.AsyncClient, name: str, status: int) -> None:
    """The second page is refused once, the first never."""
    page = await first(client("firecrawl"), fault(name, times=1))
    assert (await following(client("firecrawl"), http, page)).status_code == status
    assert (await following(client("firecrawl"), http, page)).status_code == 200


async def test_page_garbled(client: Clients, http: httpx.AsyncClient) -> None:
    """The third page is a page of HTML once."""
    crawl = client("firecrawl")
    second = (await following(crawl, http, await first(crawl, fault("page_garbled", part="3")))).json()
    assert (await following(crawl, http, second)).text.startswith("<html>")
    assert len((await following(crawl, http, second)).json()["data"]) == 2


async def test_page_pending(client: Clients, http: httpx.AsyncClient) -> None:
    """The second page is not ready once: nothing is on it, and its next is itself."""
    page = await first(client("firecrawl"), "page_pending")
    waiting = (await following(client("firecrawl"), http, page)).json()
    assert (waiting["status"], waiting["data"], waiting["next"]) == ("scraping", [], page["next"])
    assert (await following(client("firecrawl"), http, page)).json()["status"] == "completed"


async def test_pages_that_lead_astray(client: Clients, http: httpx.AsyncClient) -> None:
    """The second page names itself as the next, or an address of a stranger's."""
    crawl = client("firecrawl")
    page = await first(crawl, "page_repeats")
    assert (await following(crawl, http, page)).json()["next"] == page["next"]
    page = await first(crawl, fault("page_elsewhere", value="http://stranger.invalid/"))
    assert (await following(crawl, http, page)).json()["next"] == "http://stranger.invalid/"


async def test_many_pages(client: Clients) -> None:
    """There may be as many pages as are ordered."""
    assert (await first(client("firecrawl"), fault("many_pages", size=500)))["total"] == 1000
