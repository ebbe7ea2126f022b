"""The list of jobs and a job's story, over a real store and the simulated providers."""

from __future__ import annotations

import asyncio
import html
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from receiver import Receiver, Settings
from tests.console.conftest import Person, visitor
from tests.path.test_mounted import serving
from tests.path.world import API_TOKEN, World
from tests.web.conftest import CHAT, NETNUT, Site

if TYPE_CHECKING:
    from tests.web.conftest import OpenSite

HOSTILE = (
    "<script>alert(1)</script><svg onload=alert(2)>\x1b[31m\u202egnp.exe\u2066 \x00 \"'><img src=x onerror=alert(3)> "
    "javascript:alert(4) {{ 7 * 7 }} " + "long" * 2_000
)


def ids(page: str) -> list[str]:
    """The jobs that a list shows, in its order."""
    return re.findall(r'href="/console/jobs/(job_[0-9a-f]{32})"', page)


async def test_a_story_is_told_from_submission_to_handler(site: Site, operator: Person) -> None:
    """Request and answer, callback, result and handler, each in words, with times and the whole id to copy."""
    job = await site.ended("perplexity-webhook", metadata={"topic": "voice AI"})
    page = await operator.see(f"/jobs/{job['id']}")
    for words in (
        "settled by callback",
        "Recorded, before anything was sent",
        "Submission",
        "keep",
        "voice AI",
    ):
        assert words in page
    assert f'data-copy="{job["id"]}"' in page
    assert 'class="done"><b>Callback' in page
    assert "sonar-deep-research" in page
    assert "What was asked" in page
    secret = site.sim.jobs("perplexity-webhook")[-1].submission.callback_url
    assert secret is not None
    assert secret.rpartition("/")[2] not in page


async def test_a_refused_callback_is_in_the_story(site: Site, operator: Person) -> None:
    """By which method it came, why it was refused, and from where."""
    job = await site.ended("perplexity-webhook")
    url = site.sim.jobs("perplexity-webhook")[-1].submission.callback_url
    assert url is not None
    assert (await site.http.put(urlsplit(url).path, content=b"{}")).status_code == 405
    while "refused" not in (page := await operator.see(f"/jobs/{job['id']}")):  # noqa: ASYNC110  (the page tells nobody)
        await asyncio.sleep(0.02)
    assert "This address has other methods" in page
    assert "from 127.0.0.1" in page


async def test_secrets_of_requests_and_metadata_are_masked(site: Site, operator: Person) -> None:
    """What is named like a secret, a user in an address and a callback token are not on the page."""
    request = CHAT | {"api_key": "canary-1", "auth": {"password": "canary-2"}, "maxTokens": 7}
    url = "https://user:canary-3@example.com/x"
    answer = await site.http.post(
        "/v1/jobs", json={"provider": "perplexity-webhook", "request": request | {"url": url}}
    )
    page = await operator.see(f"/jobs/{answer.json()['id']}")
    assert "canary" not in page
    assert "maxTokens" in page


async def test_jobs_are_found_by_whatever_is_known_of_them(site: Site, operator: Person) -> None:
    """Id, beginning of an id, remote id, idempotency key, callback id, metadata; a whole id leads to its page."""
    one = await site.ended("netnut", metadata={"customer": "Åsa & söner"}, idempotency_key="order-77/a")
    two = await site.ended("perplexity-webhook", metadata={"customer": "other"})
    called = (await site.get(f"/v1/callbacks?job={two['id']}")).json()["callbacks"][0]["id"]
    for text in (
        one["remote_id"],
        one["remote_id"][:9],
        "order-77/a",
        "order-77",
        "åsa",
        "customer=Åsa",
        one["id"][4:30],
    ):
        assert ids(await operator.see(f"/jobs?{httpx.QueryParams(q=text)}")) == [one["id"]], text
    assert ids(await operator.see(f"/jobs?q={called}")) == [two["id"]]
    assert "No job is like that" in await operator.see("/jobs?q=nobody+knows")
    found = await operator.http.get("/console/search", params={"q": one["id"]})
    assert found.headers["location"] == f"/console/jobs/{one['id']}"
    found = await operator.http.get("/console/search", params={"q": called[:-1]})
    assert found.headers["location"] == f"/console/callbacks/{called}"
    found = await operator.http.get("/console/search", params={"q": "Åsa & söner"})
    assert ids((await operator.http.get(found.headers["location"])).text) == [one["id"]]


async def test_filters_hold_together_and_a_bad_one_is_said_beside_its_field(
    site: Site, operator: Person
) -> None:
    """Provider, state, what settled it, handler and its outcome, time; what cannot be read leaves the rest."""
    good = await site.ended("netnut")
    bad = await site.ended("perplexity-webhook", metadata={"handler": "fails"})
    open_ = await site.submit("netnut")
    await site.until(f"/v1/dispatches?state=dead&job={bad['id']}", lambda page: page["dispatches"])
    for query, expected in (
        ("", [open_, bad, good]),
        ("provider=netnut", [open_, good]),
        ("state=open", [open_]),
        ("state=succeeded", [bad, good]),
        ("settled_by=callback", [bad, good]),
        ("handler=keep&outcome=dead", [bad]),
        ("handler=keep&outcome=failed", [bad]),
        ("outcome=succeeded", [good]),
        ("outcome=waiting", []),
        ("since=1h", [open_, bad, good]),
        ("until=1h", []),
        ("provider=netnut&state=succeeded&since=1h&settled_by=callback", [good]),
    ):
        assert ids(await operator.see(f"/jobs?{query}")) == [one["id"] for one in expected], query
    page = await operator.see("/jobs?provider=netnut&since=soon")
    assert ids(page) == [open_["id"], good["id"]]
    assert "A time is 30min" in page
    assert 'value="soon"' in page
    assert "none of that name" in await operator.see("/jobs?provider=nobody")


async def test_a_page_ends_where_the_next_begins(site: Site, operator: Person) -> None:
    """Every job stands on exactly one page."""
    made = [(await site.submit("netnut"))["id"] for _ in range(55)]
    first = await operator.see("/jobs?provider=netnut")
    (older,) = re.findall(r'rel="next" href="/console([^"]+)"', first)
    second = await operator.see(html.unescape(older))
    assert ids(first) + ids(second) == made[::-1]
    assert 'rel="next"' not in second


async def test_a_replay_is_foreseen_then_done_and_on_record(site: Site, operator: Person) -> None:
    """The dry run names the handlers; afterwards the story says who replayed, and the handler ran once more."""
    job = await site.ended("netnut")
    await site.until(f"/v1/jobs/{job['id']}", lambda _: len(site.handled) == 1)
    foreseen = await operator.see(f"/jobs/{job['id']}/replay")
    assert "1 handler would run again" in foreseen
    assert len(site.handled) == 1
    done = await operator.do(f"/jobs/{job['id']}/replay", handler="keep")
    assert done.status_code == 303
    await site.until(f"/v1/jobs/{job['id']}", lambda _: len(site.handled) == 2)
    page = await operator.see(f"/jobs/{job['id']}")
    assert "Replayed: keep." in page
    assert "Replayed by API token" in page
    assert "Replayed: keep." not in await operator.see(f"/jobs/{job['id']}")


async def test_several_are_acted_on_after_the_count_was_said(site: Site, operator: Person) -> None:
    """Those that are ticked, or all that match; those that cannot be are left and counted."""
    ended = [(await site.ended("netnut"))["id"] for _ in range(3)]
    await site.submit("netnut")
    said = await operator.do("/jobs/chosen", action="replay", id=ended[:2])
    assert "Replay 2 jobs?" in said.text
    said = await operator.do("/jobs/chosen", action="replay", all="1", provider="netnut")
    assert "Replay 3 jobs?" in said.text
    assert "1 job left as it is: not ended yet" in said.text
    done = await operator.do("/jobs/act", action="replay", all="1", provider="netnut")
    assert done.headers["location"] == "/console/jobs?provider=netnut"
    assert "3 jobs replayed. 1 job left as they are." in await operator.see("/jobs?provider=netnut")
    await site.until(f"/v1/jobs/{ended[0]}", lambda _: len(site.handled) == 6)
    refused = await operator.do("/jobs/act", action="replay", all="1", since="nonsense")
    assert refused.status_code == 422


async def test_an_open_job_is_polled_cancelled_and_given_up(site: Site, operator: Person) -> None:
    """Each with its question first; the story says by whom."""
    job = await site.submit("perplexity")
    site.sim.release(job["remote_id"])
    await operator.do(f"/jobs/{job['id']}/poll")
    await site.until(f"/v1/jobs/{job['id']}", lambda found: found["settled_by"] == "poll")
    assert "Polled by API token" in await operator.see(f"/jobs/{job['id']}")
    job = await site.submit("perplexity-webhook")
    assert "Ask the provider to cancel?" in await operator.see(f"/jobs/{job['id']}/cancel")
    await operator.do(f"/jobs/{job['id']}/cancel")
    await site.until(f"/v1/jobs/{job['id']}", lambda found: found["state"] == "canceled")
    job = await site.submit("netnut")
    assert "Give it up?" in await operator.see(f"/jobs/{job['id']}/abandon")
    await operator.do(f"/jobs/{job['id']}/abandon")
    assert "given up by hand" in await operator.see(f"/jobs/{job['id']}")
    refused = await operator.do(f"/jobs/{job['id']}/cancel")
    assert refused.status_code == 409
    assert "That was not done" in refused.text


@pytest.mark.parametrize("path", ["/jobs/job_" + "0" * 32, "/jobs/x/y/z", "/nothing"])
async def test_an_unknown_page_says_so_and_offers_search(operator: Person, path: str) -> None:
    """No bare 404."""
    page = await operator.see(path, status=404)
    assert "There is nothing here" in page
    assert 'action="/console/search"' in page


async def test_hostile_text_is_inert_and_short_in_every_field(site: Site, operator: Person) -> None:
    """Markup, terminal codes, marks of direction, links and megabytes, in what the outside and the caller wrote."""
    request = NETNUT | {"prompt": HOSTILE}
    answer = await site.http.post(
        "/v1/jobs",
        json={"provider": "netnut", "request": request, "metadata": {HOSTILE: HOSTILE, "a": [HOSTILE]}},
    )
    job = answer.json()
    site.sim.release(job["remote_id"])
    await site.until(f"/v1/jobs/{job['id']}", lambda found: found["ended_at"])
    for path in (
        f"/jobs/{job['id']}",
        "/jobs",
        f"/jobs?{httpx.QueryParams(q=HOSTILE[:150])}",
        "/jobs?state=%3Cscript%3E",
    ):
        page = await operator.see(path)
        assert "<script>alert" not in page
        assert "<svg onload" not in page
        assert "<img src=x" not in page
        assert 'href="javascript' not in page
        assert "\u202e" not in page
        assert "\u2066" not in page
        assert "\x1b" not in page
        assert "\x00" not in page
        assert len(page) < 200_000
    assert "more characters" in await operator.see(f"/jobs/{job['id']}")


async def test_a_result_is_handed_on_as_a_file(site: Site, operator: Person) -> None:
    """Byte for byte, never guessed at, never run."""
    job = await site.ended("netnut")
    answer = await operator.http.get(f"/console/jobs/{job['id']}/result")
    assert answer.content == (await site.get(f"/v1/jobs/{job['id']}/result")).content
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert (await operator.http.get(f"/console/jobs/{job['id']}/media")).status_code == 404


async def test_a_lost_database_is_said_and_comes_back(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After, and the page asks again by itself."""
    from receiver.core.errors import StoreUnavailableError

    async with open_site() as site, visitor(site) as client:
        person = Person(http=client)
        await person.sign_in()
        store = site.receiver.running.store

        def lost(**_: object) -> None:
            raise StoreUnavailableError("gone")

        with monkeypatch.context() as gone:
            gone.setattr(store.driver, "read", lost)
            answer = await client.get("/console/jobs")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.headers["refresh"] == "5"
        assert "The database cannot be reached" in answer.text
        with monkeypatch.context() as gone:
            gone.setattr(store.driver, "read", lost)
            answer = await client.post("/console/jobs/act")
        assert answer.status_code == 503
        assert answer.headers["refresh"] == "5; url=/console/jobs"
        assert "may not have been done" in answer.text
        assert "Jobs" in await person.see("/jobs")


@pytest.mark.parametrize("root", ["/hooks/console", "/console"])
async def test_behind_a_public_url_with_a_path_every_link_has_it(open_site: OpenSite, root: str) -> None:
    """Whether or not the proxy takes the path away: what a browser follows leads through the proxy again."""
    public = "https://receiver.example/hooks"
    async with open_site(RECEIVER_PUBLIC_URL=public) as behind, visitor(behind) as client:
        client.headers["host"] = "receiver.example"
        answer = await client.get(f"{root}/jobs")
        assert answer.headers["location"] == "/hooks/console/sign-in?next=%2Fjobs"
        answer = await Person(http=client, root=root).sign_in(next="/jobs")
        assert answer.headers["location"] == "/hooks/console/jobs"
        assert "Path=/hooks/console;" in answer.headers["set-cookie"]
        cookie = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
        page = (await client.get(f"{root}/jobs", headers=cookie)).text
        assert "<h1>Jobs</h1>" in page
        assert set(re.findall(r'(?:href|action|src)="(/[^"/]*)', page)) == {"/hooks"}


async def test_a_mounted_console_stays_below_its_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every link, form and cookie is below the path that the application was mounted at."""
    from fastapi import FastAPI

    from receiver.simulator import Simulator

    async with Simulator() as simulator:
        world = World(tmp_path_factory.mktemp("mounted"), simulator)
        receiver = Receiver(Settings.load(world.environ))
        app = FastAPI(lifespan=receiver.lifespan)
        app.mount("/hooks", receiver.asgi)
        async with (
            serving(app, world.port),
            httpx.AsyncClient(base_url=world.url, trust_env=False, timeout=60) as client,
        ):
            person = Person(http=client, root="/hooks/console")
            answer = await person.sign_in(API_TOKEN)
            assert answer.headers["location"] == "/hooks/console"
            assert "Path=/hooks/console" in answer.headers["set-cookie"]
            page = await person.see("/jobs")
            links = re.findall(r'(?:href|src|action)="([^"#]+)"', page)
            assert links
            assert [one for one in links if not one.startswith("/hooks/console")] == []
            css = re.findall(r'href="([^"]+console\.css[^"]*)"', page)[0]
            assert (await client.get(css)).status_code == 200
            assert (await client.get("/console")).status_code == 404
    await asyncio.sleep(0)


async def test_a_result_in_pages_says_so(site: Site, operator: Person) -> None:
    """How many there were, and each to take away as it came; one that is not there is not found."""
    job = await site.ended("firecrawl")
    page = await operator.see(f"/jobs/{job['id']}")
    for words in (
        "fetched from the provider in 3 pages",
        "It came in 3 pages with 6 items",
        "page 2 with 2 items",
    ):
        assert words in page
    answer = await operator.http.get(f"/console/jobs/{job['id']}/pages/2")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content == (await site.get(f"/v1/jobs/{job['id']}/pages/2")).content
    for number in ("4", "x", "1" * 20):
        await operator.see(f"/jobs/{job['id']}/pages/{number}", status=404)
