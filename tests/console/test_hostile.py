"""Hostile content, however much of it: inert, cut off, and no burden to whoever looks at it."""

from __future__ import annotations

import html
import json
import random
import re
import tracemalloc
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import pytest

from receiver.console import shown
from receiver.console.callback import _differing
from receiver.views import printed
from receiver.views.masking import masked_json
from tests.console.conftest import Person, routes_of
from tests.console.test_callbacks import rejected
from tests.web.conftest import CHAT, Site

if TYPE_CHECKING:
    from collections.abc import Callable

MARKUP = (
    "<script>alert(1)</script><svg onload=alert(2)>\x1b[31m\u202egnp.exe\u2066 \u200b\"'><img src=x onerror=alert(3)> "
    "[x](javascript:alert(4)) {{ 7 * 7 }} </pre></textarea>\x85"
)
MEGABYTES = 10_000_000
#: Made where they are asked for: every process of pytest's reads this file.
BODIES: dict[str, Callable[[], bytes]] = {
    "markup": lambda: (MARKUP * 90_000).encode()[:MEGABYTES],
    "texts": lambda: json.dumps(
        {"data": {"job_id": "j-1", "x": [MARKUP] * 55_000}}, ensure_ascii=False
    ).encode(),
    "bytes": lambda: (b"\xff\xfe\x00<script>alert(1)</script>" * 400_000)[:MEGABYTES],
    "numbers": lambda: b"[" + b"1," * 4_999_998 + b"1]",
}
#: Characters of the longest page: a box of 64 Ki characters in which every one is written in five.
LONGEST_PAGE = 400_000


def inert(page: str) -> None:
    """Nothing of what is hostile stands on a page as anything but short text."""
    for one in (
        "<script>alert",
        "<svg onload",
        "<img src=x",
        'href="javascript',
        "</pre></textarea>",
        "}} 49",
    ):
        assert one not in page, one
    found = re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", page)
    assert found is None, found
    assert len(page) < LONGEST_PAGE


def numbers(many: int, kinds: int) -> bytes:
    """Lines of which each stands there many times, in an order of their own."""
    made = random.Random(f"{many} {kinds}")
    return "\n".join(str(made.randrange(kinds)) for _ in range(many)).encode()


DEEP = b"[" * 300 + b"1," * 120_000 + b"1" + b"]" * 300
DEEPER = b'{"a":' * 50_000 + b"1" + b"}" * 50_000


@pytest.mark.parametrize(
    ("made", "work"),
    [
        (lambda: DEEP, lambda body: shown.pretty(body).text),
        (lambda: DEEPER, lambda body: shown.pretty(body).text),
        (BODIES["texts"], lambda body: shown.pretty(body).text),
        (lambda: DEEP, masked_json),
        (lambda: DEEPER, masked_json),
        (BODIES["texts"], masked_json),
        (BODIES["numbers"], masked_json),
        (lambda: b'{"a": "' + b"\\" * 1_000_001, masked_json),
        (lambda: numbers(60_000, 50), lambda body: _differing(body, numbers(60_001, 50))),
    ],
)
def test_what_is_made_for_reading_is_bounded(made: Callable[[], bytes], work: Callable[[bytes], str]) -> None:
    """A body that is long on lines, that is deep, or of many lines: some megabytes at most are made of it."""
    body = made()
    tracemalloc.start()
    try:
        text = work(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0 < len(text) <= printed.LONGEST + 1
    assert peak < 16 * 1024 * 1024


async def test_ten_megabytes_that_arrive_are_cut_and_inert(site: Site, operator: Person) -> None:
    """On every page that shows a callback, in every way to look at its body; whole as a file only."""
    for made in BODIES.values():
        await _seen(site, operator, made())


async def _seen(site: Site, operator: Person, body: bytes) -> None:
    named = await rejected(site, body)
    again = "/callbacks/again?verdict=rejected"
    for path in (
        *(
            "",
            "/callbacks",
            "/live",
            "/audit",
            again,
            f"/callbacks/{named}/again",
            f"/callbacks/{named}/send",
        ),
        *(f"/callbacks/{named}?body={view}" for view in ("pretty", "raw", "hex")),
    ):
        inert(await operator.see(path))
    assert "This is its beginning; download it" in await operator.see(f"/callbacks/{named}")
    answer = await operator.http.get(f"/console/callbacks/{named}/body")
    assert answer.content == body
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]


async def test_every_page_shows_hostile_words_as_text(site: Site, operator: Person) -> None:
    """Metadata and its names, request, key of idempotency, traceback, headers, query, sender's words: on each route."""
    sent = await site.http.post(
        "/v1/jobs",
        json={
            "provider": "perplexity-webhook",
            "request": CHAT | {"user": MARKUP, MARKUP: [MARKUP]},
            "metadata": {
                "handler": "fails",
                "raises": MARKUP + "\n" + MARKUP,
                MARKUP: MARKUP,
                "n": {MARKUP: 1},
            },
            "idempotency_key": "<script>alert(1)</script>'\"{{7*7}}",
        },
    )
    job = sent.json()["id"]
    site.sim.release(sent.json()["remote_id"])
    await site.until(f"/v1/dispatches?state=dead&job={job}", lambda found: found["dispatches"])
    body = json.dumps({"type": MARKUP, "data": {"job_id": MARKUP}}).encode()
    await site.http.post(
        f"/webhooks/pulse?{quote(MARKUP)}=<script>alert(1)</script>",
        content=body,
        headers=[
            (b"webhook-signature", MARKUP.encode("utf-8").replace(b"\x1b", b"").replace(b"\x85", b"")),
            (b"webhook-id", b"<script>alert(1)</script>"),
            (b"content-type", b"text/html;<script>alert(1)</script>"),
            (b"x-'onload|`id`", b"<svg onload=alert(1)>\x9b31m{{ 7 * 7 }}"),
        ],
    )
    callback = (await site.get("/v1/callbacks?verdict=rejected&limit=1")).json()["callbacks"][0]["id"]
    await operator.do("/handlers/pause", handler="keep")
    seen = set()
    for route in routes_of(site):
        if route.method != "GET" or route.path.endswith("/events"):
            continue
        named = callback if route.path.startswith("/callbacks") else job
        path = route.path.replace("{id}", named).replace("{name}", "pulse").replace("{number}", "1")
        for query in ("", f"?{'&'.join(f'{name}={quote(MARKUP[:150])}' for name in FIELDS)}"):
            answer = await operator.http.get(f"/console{path.replace('{action}', 'cancel')}{query}")
            assert answer.status_code < 500, (path, answer.text[:500])
            if answer.headers.get("content-type", "").startswith("text/html"):
                inert(answer.text)
                seen.add(route.path)
    assert seen >= {"/", "/jobs", "/jobs/{id}", "/callbacks", "/callbacks/{id}", "/dead", "/audit", "/live"}
    page = html.unescape(await operator.see(f"/callbacks/{callback}"))
    assert "left out, for it would be filled in: x-'onload|`id`" in page


#: Whatever a list is filtered by.
FIELDS = (
    "q",
    "provider",
    "state",
    "verdict",
    "code",
    "handler",
    "since",
    "cursor",
    "kind",
    "job",
    "next",
    "body",
)


async def test_what_is_taken_away_says_what_came_whatever_came(site: Site, operator: Person) -> None:
    """Braces in an id, brackets in a query, another request in a body: nothing of it is read as anything else."""
    job = await site.submit("netnut")
    url = site.sim.jobs("netnut")[-1].submission.callback_url
    assert url is not None
    hostile = "{0.__class__}{content_type}"
    with site.receiver.running.store.driver.write() as tx:
        tx.run("UPDATE job SET remote_id = :to WHERE id = :id", {"to": hostile, "id": job["id"]})
    body = json.dumps({"id": hostile}) + "\n###\nPOST http://127.0.0.1/evil HTTP/1.1\n\n< /etc/passwd\n"
    await site.http.post(f"{urlsplit(url).path}?x=[1-1000]", content=body.encode(), headers={"x-empty": ""})
    page = await operator.see("/callbacks")
    (named,) = set(re.findall(r"/console/callbacks/(cb_[0-9a-f]{32})", page))
    page = html.unescape(await operator.see(f"/callbacks/{named}"))
    assert f"BODY.replace(b'{hostile}', job.remote_id.encode())" in page
    assert "curl -g -X POST" in page
    assert "-H 'x-empty;'" in page
    http = re.search(r"# receiver callbacks body cb_\w+ > cb_\w+\.body\nPOST .*?</pre>", page, re.DOTALL)
    assert http is not None
    assert f"< ./{named}.body" in http[0]
    assert "evil" not in http[0]


async def test_a_token_in_a_body_is_masked_in_every_way_to_look_at_it(site: Site, operator: Person) -> None:
    """Pretty, raw, in hex, in the difference to the attempt before, and in what is taken away."""
    await site.submit("netnut")
    url = site.sim.jobs("netnut")[-1].submission.callback_url
    assert url is not None
    token = url.rpartition("/")[2]
    for number in range(2):
        await site.http.post(urlsplit(url).path, content=f'{{"n": {number}, "url": "{url}"}}'.encode())
    page = await operator.see("/callbacks")
    named = re.findall(r"/console/callbacks/(cb_[0-9a-f]{32})", page)[0]
    for view in ("pretty", "raw", "hex"):
        page = html.unescape(await operator.see(f"/callbacks/{named}?body={view}"))
        assert token not in page
        letters = "".join(re.findall(r"^[0-9a-f]{6}  .{47}  (.*)$", page, re.MULTILINE))
        assert token not in letters
        assert ("callbacks/netnut/***" in page) or "callbacks/netnut/****" in letters
    assert '-  "n": 0' in page
    assert '+  "n": 1' in page
