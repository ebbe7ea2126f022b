"""What arrived: found, read in words, verified again after a key was mended, revealed and taken away."""

from __future__ import annotations

import asyncio
import html
import re
from typing import TYPE_CHECKING

import httpx

from receiver.core.signature.verify import load_key, sign
from tests.console.conftest import Person, visitor
from tests.testing.projects import ASYNCIO, checked
from tests.web.conftest import TOKEN, WHSEC, Site

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.web.conftest import OpenSite

FOREIGN = "whsec_Zm9yZWlnbiBmb3JlaWduIGZvcmVpZ24="


def ids(page: str) -> list[str]:
    """The callbacks that a list shows, in its order."""
    return re.findall(r'href="/console/callbacks/(cb_[0-9a-f]{32})[^"]*" data-row', page)


async def rejected(site: Site, body: bytes = b'{"data": {"job_id": "j-1"}}', **headers: str) -> str:
    """Have a callback of Pulse arrive that a foreign key signed; its id."""
    running = site.receiver.running
    scheme = running.catalog["pulse"].verify
    assert scheme is not None
    key = load_key("foreign", FOREIGN, scheme=scheme)
    signed = [(n.decode(), v.decode()) for n, v in sign(body, scheme=scheme, key=key, now=running.clock())]
    async with visitor(site) as client:
        answer = await client.post("/webhooks/pulse", content=body, headers=[*signed, *headers.items()])
    assert answer.status_code == 401
    found = await site.get("/v1/callbacks?verdict=rejected&limit=1")
    return str(found.json()["callbacks"][0]["id"])


async def test_how_it_was_checked_is_told_step_by_step(site: Site, operator: Person) -> None:
    """Header, signed content, each key, the timestamp, the diagnosis and what to do; no key, no signature."""
    named = await rejected(site)
    page = await operator.see(f"/callbacks/{named}")
    for words in (
        "The header “webhook-signature” is there, with one signature of 32 bytes in base64",
        "The signed content is “{delivery_id}.{timestamp}.{body}”",
        "HMAC-SHA256 with the key PULSE_WEBHOOK_SECRET#1 does not match",
        "it would pass",
        "copy it from the provider again",
        "Verify again…",
    ):
        assert words in page, words
    assert "webhook-signature" in page
    assert WHSEC not in page
    assert re.search(r"v1,[A-Za-z0-9+/]{20}", page) is None


async def test_secrets_are_revealed_on_record(site: Site, operator: Person) -> None:
    """Masked at first; who has them shown is named on the page from then on."""
    named = await rejected(site, authorization="Bearer canary-authorization")
    assert "canary" not in await operator.see(f"/callbacks/{named}")
    shown = await operator.do(f"/callbacks/{named}/reveal")
    assert "Bearer canary-authorization" in shown.text
    page = await operator.see(f"/callbacks/{named}")
    assert "canary" not in page
    assert "secrets revealed" in page
    assert "by API token" in page


async def test_after_the_key_was_mended_all_with_the_cause_are_admitted(
    open_site: OpenSite, tmp_path: Path
) -> None:
    """Grouped with their cause; the dry run says how many would pass; then they are admitted, and it is on record."""
    secret = tmp_path / "secret"
    secret.write_text(FOREIGN)
    async with open_site(PULSE_WEBHOOK_SECRET_FILE=str(secret)) as site, visitor(site) as client:
        operator = Person(http=client)
        await operator.sign_in()
        jobs = [await site.submit("pulse") for _ in range(3)]
        for job in jobs:
            site.sim.release(job["remote_id"])
        await site.until("/v1/callbacks?verdict=rejected", lambda page: len(page["callbacks"]) >= 3)
        groups = await operator.see("/callbacks")
        assert "signature mismatch" in groups
        foreseen = await operator.see("/callbacks/again?provider=pulse&verdict=rejected")
        assert "would still be refused" in foreseen
        assert "Admit" not in foreseen
        secret.write_text(WHSEC)
        foreseen = await operator.see(
            "/callbacks/again?provider=pulse&verdict=rejected&code=signature_mismatch"
        )
        assert "nothing has been touched" in foreseen
        assert re.search(r"<b>\d+ callbacks</b> would be accepted", foreseen)
        newest = re.search(r'name="newest" value="([^"]+)"', foreseen)
        assert newest is not None
        done = await operator.do(
            "/callbacks/again",
            provider="pulse",
            verdict="rejected",
            code="signature_mismatch",
            newest=newest[1],
        )
        assert done.status_code == 303
        for job in jobs:
            await site.until(f"/v1/jobs/{job['id']}", lambda found: found["state"] == "succeeded")
        assert "accepted" in await operator.see(done.headers["location"].removeprefix("/console"))


async def test_one_is_verified_again(open_site: OpenSite, tmp_path: Path) -> None:
    """With the dry run first, and the way to all with the same code."""
    secret = tmp_path / "secret"
    secret.write_text(WHSEC)
    async with open_site(PULSE_WEBHOOK_SECRET_FILE=str(secret)) as site, visitor(site) as client:
        operator = Person(http=client)
        await operator.sign_in()
        one, two = await rejected(site), await rejected(site, b'{"data": {"job_id": "j-2"}}')
        assert "would still be refused" in await operator.see(f"/callbacks/{one}/again")
        refused = await operator.do(f"/callbacks/{one}/again")
        assert refused.status_code == 401 or "not done" in refused.text
        secret.write_text(FOREIGN)
        page = await operator.see(f"/callbacks/{one}/again")
        assert "Admit it" in page
        assert "All 2 with this code" in page
        await operator.do(f"/callbacks/{one}/again")
        assert (await site.get(f"/v1/callbacks/{one}")).json()["verdict"] == "accepted"
        assert (await site.get(f"/v1/callbacks/{two}")).json()["verdict"] == "rejected"


async def test_callbacks_are_filtered_and_the_list_stands_beside_the_detail(
    site: Site, operator: Person
) -> None:
    """By provider, verdict, code, job and time; the chosen one is marked, and the filters go with every link."""
    good = await site.signed_callback()
    bad = await rejected(site)
    for query, expected in (
        ("", {good["id"], bad}),
        ("verdict=rejected", {bad}),
        ("verdict=accepted", {good["id"]}),
        ("code=signature_mismatch", {bad}),
        (f"job={good['job_id']}", {good["id"]}),
        ("provider=netnut", set[str]()),
        ("provider=pulse&since=1h", {good["id"], bad}),
        ("until=1h", set[str]()),
    ):
        found = set(ids(await operator.see(f"/callbacks?{query}")))
        assert expected <= found if expected else not found, query
        assert bad in expected or bad not in found, query
    page = await operator.see(f"/callbacks/{bad}?verdict=rejected")
    assert re.search(rf'href="/console/callbacks/{bad}\?verdict=rejected"[^>]* aria-current="true"', page)
    assert 'data-again="2000"' in await operator.see("/callbacks?follow=1")
    assert "A time is" in await operator.see("/callbacks?since=then")


async def test_a_body_is_shown_pretty_raw_and_in_hex_and_never_run(site: Site, operator: Person) -> None:
    """Ten megabytes are cut, invalid UTF-8 is shown as bytes, markup is text."""
    markup = b'{"data": {"job_id": "<script>alert(1)</script>\\u202e"}}'
    named = await rejected(site, markup)
    for view in ("pretty", "raw", "hex"):
        page = await operator.see(f"/callbacks/{named}?body={view}")
        assert "<script>alert" not in page
        assert "\u202e" not in page
    named = await rejected(site, b"\xff\xfe\x00binary" * 10)
    assert "000000  ff fe 00" in await operator.see(f"/callbacks/{named}")
    named = await rejected(site, b'["' + b"x" * 9_000_000 + b'"]')
    page = await operator.see(f"/callbacks/{named}")
    assert len(page) < 200_000
    answer = await operator.http.get(f"/console/callbacks/{named}/body")
    assert len(answer.content) == 9_000_004
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_hostile_headers_and_addresses_are_inert(site: Site, operator: Person) -> None:
    """Markup and terminal codes in what a stranger sent."""
    body = b"{}"
    async with visitor(site) as client:
        await client.post(
            "/webhooks/pulse?x=<script>alert(1)</script>",
            content=body,
            headers=[
                (b"webhook-signature", b"v1,<img src=x onerror=alert(1)>"),
                (b"x-y", b"<svg onload=alert(1)>\x9b31m"),
            ],
        )
    named = (await site.get("/v1/callbacks?limit=1")).json()["callbacks"][0]["id"]
    page = await operator.see(f"/callbacks/{named}")
    for one in ("<script>alert", "<img src=x", "<svg onload", "\x9b"):
        assert one not in page


async def test_other_attempts_are_compared(site: Site, operator: Person) -> None:
    """The same body with another signature is named as such, and leads there."""
    one = await rejected(site)
    two = await rejected(site)
    page = await operator.see(f"/callbacks/{two}")
    assert f'href="/console/callbacks/{one}"' in page
    assert "the same body" in page


async def test_it_is_sent_to_an_address_and_the_answer_shown(site: Site, operator: Person) -> None:
    """Byte for byte, by the receiver; never to where clouds keep a machine's credentials."""
    named = await rejected(site)
    sent = await operator.do(f"/callbacks/{named}/send", url=f"{site.url}/webhooks/pulse")
    assert "signature_mismatch" in sent.text
    assert '<b class="bad">401</b>' in sent.text
    for url in (
        "http://169.254.169.254/latest",
        "http://2852039166/latest",
        "http://0xa9fea9fe/latest",
        "http://[::ffff:169.254.169.254]/latest",
        "http://[fd00:ec2::254]/latest",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://u:p@x/",
    ):
        assert (await operator.do(f"/callbacks/{named}/send", url=url)).status_code == 422, url


async def test_what_is_taken_away_works(site: Site, operator: Person, tmp_path: Path) -> None:
    """The tests that are exported for callbacks pass with the testing kit, whoever calls back; others are shown."""
    exported: dict[str, str] = {}
    unknown = await rejected(site)
    for name in ("pulse", "perplexity-webhook", "netnut"):
        job = await site.ended(name)
        entry, *_ = [one for one in job["timeline"] if one["kind"] == "callback"]
        exported[f"test_{name.replace('-', '_')}.py"] = await boxes(operator, entry["callback"]["id"])
    exported["test_unknown.py"] = await boxes(operator, unknown)
    assert "job.remote_id" in exported["test_netnut.py"]
    options = [*ASYNCIO, "-o", "asyncio_mode=auto"]
    assert "4 passed" in await asyncio.to_thread(checked, tmp_path, *options, files=exported)


async def boxes(operator: Person, callback: str) -> str:
    """The test that is exported for a callback, among the other ways to take it away."""
    page = (await operator.http.get(f"{operator.root}/callbacks/{callback}")).text
    found = dict(
        re.findall(r"<summary>([^<]+)</summary><pre id=\"copy-\d\"[^>]*>(.*?)</pre>", page, re.DOTALL)
    )
    assert set(found) == {"curl", "receiver", ".http", "pytest"}
    assert found["curl"].startswith(f"receiver callbacks body {callback} | curl -g -X POST")
    return html.unescape(found["pytest"])


async def test_a_provider_that_is_gone_leaves_its_callbacks_readable(
    site: Site, operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a description nothing can be checked, and the page says what arrived all the same."""
    named = await rejected(site)
    monkeypatch.delitem(site.receiver.running.catalog._providers, "pulse")
    page = await operator.see(f"/callbacks/{named}")
    assert "Callback from pulse" in page
    assert isinstance(operator.http, httpx.AsyncClient)
    assert TOKEN not in page
