"""Overview, dead letters, providers, live and the trail: what they say and what they do, over a real store."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from receiver.clock import read_clock
from receiver.console import providers
from receiver.core.circuit import Sign
from receiver.core.description.scheme import Kind
from receiver.core.model import Dispatch, Failure
from receiver.storage import circuits
from tests.console.conftest import Person, visitor
from tests.console.test_callbacks import FOREIGN, rejected
from tests.web.conftest import CHAT, WHSEC, Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.web.conftest import OpenSite

ROOT = Path(__file__).parents[2]


async def test_an_empty_receiver_is_well_and_says_what_to_do(operator: Person) -> None:
    """Nothing needs anybody; every list says how something would get into it."""
    page = await operator.see("")
    assert "All is well." in page
    assert "No callback came in the last 24 hours." in page
    assert "No jobs yet" in await operator.see("/jobs")
    assert "Nothing has arrived yet" in await operator.see("/callbacks")
    assert "No dead letters." in await operator.see("/dead")
    assert "Nobody has done anything by hand" in await operator.see("/audit")
    assert "Nothing happened in the last half hour" in await operator.see("/live")


async def test_what_needs_a_person_comes_first(site: Site, operator: Person) -> None:
    """Rejections with their cause, dead letters by handler and error; each leads to where it is seen to."""
    await rejected(site)
    failed = await site.ended("perplexity-webhook", metadata={"handler": "fails"})
    await site.until(f"/v1/dispatches?state=dead&job={failed['id']}", lambda found: found["dispatches"])
    page = await operator.see("")
    assert re.search(r"1 callback</b><span>of pulse were rejected since \d\d:\d\d", page)
    assert "copy it from the provider again" in page
    assert "1 dead letter" in page
    assert "of keep: RuntimeError" in page
    assert 'href="/console/dead?handler=keep&amp;code=RuntimeError"' in page
    assert '<span class="count">1</span>' in page


async def test_a_handler_that_is_left_alone_needs_a_person_and_is_resumed(
    site: Site, operator: Person
) -> None:
    """It is named on the overview with the reason; its page pauses and resumes, and puts on record who did."""
    page = await operator.see("/handlers")
    assert "keep" in page
    assert 'aria-label="Pause keep"' in page
    said = await operator.do("/handlers/pause", handler="keep")
    assert said.status_code == 303
    assert "keep is paused" in await operator.see("/handlers")
    page = await operator.see("")
    assert "Paused</b><span>keep gets nothing, since" in page
    assert "by API token" in page
    assert 'href="/console/handlers"' in page
    job = await site.ended("perplexity-webhook")
    await site.until("/v1/handlers", lambda found: found["handlers"][0]["waiting"] == 1)
    await operator.do("/handlers/resume", handler="keep")
    await site.until("/v1/handlers", lambda found: found["handlers"][0]["waiting"] == 0)
    assert [one.id for one in site.handled] == [job["id"]]
    assert "All is well." in await operator.see("")
    trail = await operator.see("/audit")
    assert "paused" in trail
    assert "resumed" in trail
    with site.receiver.running.store.driver.write() as tx:
        circuits.take(tx, _failures("keep", 3))
    page = await operator.see("")
    assert "Circuit open</b><span>keep failed 3 times in a row, since" in page
    assert "a service is gone" in await operator.see("/handlers")
    assert (await operator.do("/handlers/pause", handler="nobody")).status_code == 404


def _failures(handler: str, many: int) -> list[tuple[Dispatch, Sign, Failure, int]]:
    """Attempts of a handler that failed in a row."""
    dispatch = Dispatch(job_id="job_" + "0" * 32, handler=handler, run_at=0, created_at=0)
    sign = Sign(word="fails", most=many, wait=60_000)
    return [(dispatch, sign, Failure(code="OSError", text="a service is gone"), read_clock())] * many


def test_every_way_of_proving_has_words() -> None:
    """A way that is new would leave the list of providers without an answer."""
    assert set(get_args(Kind)) == set(providers._SCHEMES)


async def test_callbacks_and_ends_are_counted_by_time_and_outlive_the_process(open_site: OpenSite) -> None:
    """The chart has a table for those who do not see it; after a restart the counts are still there."""
    async with open_site() as site:
        await site.ended("perplexity-webhook")
        async with visitor(site) as client:
            person = Person(http=client)
            await person.sign_in()
            page = await person.see("")
            assert "Callbacks by verdict, by half hours, UTC" in page
            assert "accepted 1</span>" in page
            assert "succeeded 1</span>" in page
            assert "<title>" in page
            assert "perplexity-webhook" in page
            assert "100 %" in page
    async with open_site() as site, visitor(site) as client:
        person = Person(http=client)
        await person.sign_in()
        assert "accepted 1</span>" in await person.see("")


async def test_a_submission_without_an_answer_is_for_a_person_to_decide(site: Site, operator: Person) -> None:
    """It is named on the overview, and its page offers to send it again or to give it up."""
    site.sim.faults("netnut", "submit_drop", count=1)
    await site.http.post(
        "/v1/jobs", json={"provider": "netnut", "request": {"engine": "perplexity", "prompt": "?"}}
    )
    page = await operator.see("")
    assert "1 submission" in page
    assert "nobody knows whether the job was started" in page
    (job,) = re.findall(r"/console/jobs/(job_[0-9a-f]{32})", await operator.see("/jobs?state=submitting"))[:1]
    page = await operator.see(f"/jobs/{job}")
    assert "Send again…" in page
    assert "twice" in await operator.see(f"/jobs/{job}/resubmit")
    await operator.do(f"/jobs/{job}/resubmit")
    await site.until(f"/v1/jobs/{job}", lambda found: found["state"] == "submitted")


async def test_dead_letters_are_retried_and_discarded_one_some_or_all(site: Site, operator: Person) -> None:
    """Grouped, with the traceback; the count is said first; the job's story says who did it."""
    jobs = [await site.ended("perplexity-webhook", metadata={"handler": "fails"}) for _ in range(3)]
    await site.until("/v1/dispatches?state=dead", lambda found: len(found["dispatches"]) == 3)
    page = await operator.see("/dead")
    assert "RuntimeError: on purpose" in page
    assert "Traceback (most recent call last)" in page
    one = f"{jobs[0]['id']}:keep"
    said = await operator.do("/dead/chosen", action="retry", id=one)
    assert "Retry 1 dead letter?" in said.text
    before = len(site.handled)
    await operator.do("/dead/act", action="retry", id=one)
    await site.until(
        "/v1/dispatches?state=dead",
        lambda found: len(site.handled) > before and len(found["dispatches"]) == 3,
    )
    assert "Tried again by API token" in await operator.see(f"/jobs/{jobs[0]['id']}")
    said = await operator.do("/dead/chosen", action="discard", all="1", handler="keep")
    assert "Discard 3 dead letters?" in said.text
    counted = re.findall(r'name="id" value="([^"]+)"', said.text)
    said = await operator.do("/dead/chosen", action="discard", all="1", handler="other")
    assert "Discard 0 dead letters?" in said.text
    # One that dies after the count was said is none of those that were counted.
    late = await site.ended("perplexity-webhook", metadata={"handler": "fails"})
    await site.until("/v1/dispatches?state=dead", lambda found: len(found["dispatches"]) == 4)
    await operator.do("/dead/act", action="discard", all="1", handler="keep", id=counted)
    left = (await site.get("/v1/dispatches", state="dead")).json()["dispatches"]
    assert [one["job_id"] for one in left] == [late["id"]]
    trail = await operator.see("/audit")
    assert "discarded" in trail
    assert "done: 3" in trail


async def test_a_provider_is_told_in_words_and_tried_from_here(site: Site, operator: Person) -> None:
    """The address to paste, the keys in force, a test callback that proves the way, a simulated job."""
    page = await operator.see("/providers/pulse")
    assert f"{site.url}/webhooks/pulse" in page
    assert "PULSE_WEBHOOK_SECRET#1" in page
    assert "A result can be fetched once; then it is gone there." in page
    done = await operator.do("/providers/pulse/test")
    assert "proved with the key in force" in await operator.see(
        done.headers["location"].removeprefix("/console")
    )
    found = (await site.get("/v1/callbacks", provider="pulse")).json()["callbacks"]
    assert [(one["verdict"], one["key_id"]) for one in found] == [("unreadable", "PULSE_WEBHOOK_SECRET#1")]
    assert (await site.get("/v1/jobs")).json()["jobs"] == []
    assert "none of the newest" not in await operator.see("/providers/pulse")
    submitted = await operator.do("/providers/netnut/simulate")
    assert submitted.headers["location"].startswith("/console/jobs/job_")
    refused = await operator.do("/providers/stripe/test")
    assert refused.status_code == 409
    assert (await operator.do("/providers/stripe/simulate")).status_code == 409
    for name in site.receiver.running.catalog:
        assert name in await operator.see(f"/providers/{name}")
    assert "There is no provider of that name" in await operator.see("/providers/nobody", status=404)


async def test_an_old_key_can_go_once_the_new_one_proves_what_comes(open_site: OpenSite) -> None:
    """Both are in force; each tells when it proved a callback last, and the old one when it is needed no more."""
    async with open_site(PULSE_WEBHOOK_SECRET=f"{FOREIGN},{WHSEC}") as site, visitor(site) as client:
        operator = Person(http=client)
        await operator.sign_in()
        standing = re.compile(
            r"<code>(PULSE_WEBHOOK_SECRET#\d)</code>.*?data-name[^>]*>(.*?)</td><td[^>]*>(.*?)</td>"
        )

        async def keys() -> list[tuple[str, bool, str]]:
            page = await operator.see("/providers/pulse")
            return [
                (name, "<time" in last, re.sub("<[^>]+>", "", word))
                for name, last, word in standing.findall(page)
            ]

        await site.ended("pulse")
        old = ("PULSE_WEBHOOK_SECRET#2", True, "still needed")
        assert await keys() == [("PULSE_WEBHOOK_SECRET#1", False, "newest"), old]
        site.sim.pulse_webhook(f"{site.url}/webhooks/pulse", FOREIGN)
        await site.ended("pulse")
        assert await keys() == [("PULSE_WEBHOOK_SECRET#1", True, "newest"), (*old[:2], "can go")]


async def test_a_provider_names_who_gets_its_jobs_and_how_their_circuits_stand(
    site: Site, operator: Person
) -> None:
    """Beside its limits: whoever looks why nothing happens sees a handler that is left alone."""
    page = await operator.see("/providers/pulse")
    assert "At most 8 requests at once and 10 a second go there." in page
    assert re.search(r'keep</td><td>any end</td><td class="mark"><span class="ok">closed</span>', page)
    await operator.do("/handlers/pause", handler="keep")
    assert '<span class="warn">paused</span> since' in await operator.see("/providers/pulse")


async def test_nodes_are_told_with_role_sign_of_life_and_what_is_under_way(
    site: Site, operator: Person
) -> None:
    """Who serves, since when, and how many handlers run right now."""
    row = (
        r'<td class="main id">([^<]+)</td><td class="mark">serves and works</td>.*?'
        r'data-name="last sign of life">.*?<time.*?data-name="handlers running">(\d)</td>'
    )

    async def told() -> tuple[str, str]:
        found = re.search(row, await operator.see(""), re.DOTALL)
        assert found is not None
        return found[1], found[2]

    name = site.receiver.running.node.name
    assert await told() == (name, "0")
    await site.ended("netnut", metadata={"handler": "waits"})
    async with asyncio.timeout(40):
        while await told() != (name, "1"):  # noqa: ASYNC110  (the page tells nobody)
            await asyncio.sleep(0.01)
    site.holding.set()


async def heard(
    person: Person, path: str = "/live/events", **headers: str
) -> AsyncIterator[tuple[str, dict[str, object]]]:
    """What is told at an address of server-sent events: its id, and what is in it."""
    async with person.http.stream("GET", f"{person.root}/live/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        named = ""
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                named = line[4:]
            elif line.startswith("data: {"):
                yield named, json.loads(line[6:])


async def test_what_happens_is_told_as_it_happens_and_resumes_without_a_gap(
    site: Site, operator: Person
) -> None:
    """Whoever comes back says what they have heard last, and hears the rest first."""
    listening = heard(operator)
    first = asyncio.ensure_future(anext(listening))
    await asyncio.sleep(0.2)
    job = await site.ended("perplexity-webhook")
    async with asyncio.timeout(40):
        seen, named = set[str](), ""
        named, batch = await first
        seen |= {f"{one['kind']} {one['title']}" for one in batch["events"]}  # type: ignore[attr-defined]
        while "handlers keep" not in seen:
            named, batch = await anext(listening)
            seen |= {f"{one['kind']} {one['title']}" for one in batch["events"]}  # type: ignore[attr-defined]
        assert seen >= {"out submit", "in callback", "handlers keep"}
        await listening.aclose()  # type: ignore[attr-defined]
        missed = await site.ended("perplexity-webhook")
        await asyncio.sleep(0.1)
        again = heard(operator, **{"last-event-id": named})
        links = set[str]()
        while not any(missed["id"] in link for link in links):
            _, batch = await anext(again)
            links |= {one["link"] for one in batch["events"]}  # type: ignore[attr-defined]
        await again.aclose()  # type: ignore[attr-defined]
    assert job["id"] != missed["id"]


async def test_a_head_request_for_what_happens_ends(operator: Person) -> None:
    """Nobody is kept watching who asked for no more than the headers."""
    async with asyncio.timeout(40):
        answer = await operator.http.head("/console/live/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_who_is_not_signed_in_hears_nothing(person: Person) -> None:
    """The stream is refused like every page."""
    answer = await person.http.get("/console/live/events", headers={"accept": "text/event-stream"})
    assert answer.status_code == 401


async def test_hostile_words_of_handlers_are_inert(site: Site, operator: Person) -> None:
    """What a handler raised and what a request holds is text, on every page that shows it."""
    name = '<script>alert(1)</script>"\u202e'
    metadata = {"handler": "fails", name: name}
    await site.ended("perplexity-webhook", metadata=metadata, request=CHAT | {"user": name})
    await site.until("/v1/dispatches?state=dead", lambda found: found["dispatches"])
    for path in ("", "/dead", "/dead?handler=%3Cscript%3Ealert", "/live", "/audit", "/jobs"):
        page = await operator.see(path)
        assert "<script>alert" not in page, path
        assert "\u202e" not in page


def test_the_pictures_of_the_documents_are_small() -> None:
    """They travel with the package and are read beside text."""
    sizes = {one.name: one.stat().st_size for one in (ROOT / "receiver" / "console" / "pictures").iterdir()}
    assert sizes.keys() == {"job.png", "callback.png"}
    assert max(sizes.values()) <= 150_000
