"""``/v1/callbacks``: what arrived, exactly."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest

from receiver import logs

from .conftest import WHSEC, Site, refused

_FORGED = {"webhook-id": "m1", "webhook-timestamp": "1", "webhook-signature": "v1,canary-forged-signature"}


async def _forge(site: Site, body: bytes = b'{"job_id": "x"}') -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.post(f"{site.url}/webhooks/pulse", content=body, headers=_FORGED)
    assert answer.status_code == 401
    found = (await site.get("/v1/callbacks", verdict="rejected")).json()["callbacks"]
    return str(found[0]["id"])


async def test_callbacks_are_listed_and_filtered(site: Site) -> None:
    """Every filter leaves what it names, the newest first, and cursors lead through all."""
    ended = await site.ended("perplexity-webhook")
    genuine = (await site.get("/v1/callbacks")).json()["callbacks"][0]
    forged = await _forge(site)

    async def listed(**params: Any) -> list[str]:  # noqa: ANN401
        return [one["id"] for one in (await site.get("/v1/callbacks", **params)).json()["callbacks"]]

    assert await listed() == [forged, genuine["id"]]
    assert await listed(provider="pulse") == [forged]
    assert await listed(provider="netnut") == []
    assert await listed(verdict="rejected") == [forged]
    assert await listed(verdict="accepted") == [genuine["id"]]
    assert await listed(job=ended["id"]) == [genuine["id"]]
    assert await listed(since=genuine["received_at"]) == [forged, genuine["id"]]
    assert await listed(since="99999999999") == []
    page = (await site.get("/v1/callbacks", limit=1)).json()
    assert page["callbacks"][0]["id"] == forged
    page = (await site.get("/v1/callbacks", limit=1, cursor=page["cursor"])).json()
    assert (page["callbacks"][0]["id"], page["cursor"]) == (genuine["id"], None)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("state=open", "query_unknown", "state"),
        ("verdict=good", "query_invalid", "verdict"),
        ("job=job_1", "query_invalid", "job"),
        ("cursor=job_" + "0" * 32, "query_invalid", "cursor"),
    ],
)
async def test_a_bad_filter_is_refused_by_name(shared: Site, query: str, code: str, field: str) -> None:
    """A parameter that is not understood is never ignored."""
    refused(await shared.get(f"/v1/callbacks?{query}"), 422, code, field=field)


async def test_a_callback_is_shown_with_its_headers_masked(site: Site) -> None:
    """Everything that came is there; the values that could let someone in are not."""
    job = await site.submit("netnut")
    token = job["callback_url"].rpartition("/")[2]
    headers = [
        ("X-Signature", "canary-1"),
        ("Authorization", "Basic canary-2"),
        ("Cookie", "canary-3"),
        ("X-Api-Key", "canary-4"),
        ("X-Plain", "first"),
        ("X-Plain", "second"),
        ("X-Forwarded-Uri", f"/callbacks/netnut/{token}?a=1"),
        ("Referer", job["callback_url"]),
    ]
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        await http.post(f"{job['callback_url']}?plain=1&token=canary-5&sig=canary-6", headers=headers)
    listed = (await site.get("/v1/callbacks", job=job["id"])).json()["callbacks"][0]
    answer = await site.get(f"/v1/callbacks/{listed['id']}")
    shown = answer.json()
    assert "canary" not in answer.text
    assert token not in answer.text
    assert listed == {key: shown[key] for key in listed}
    assert shown["query"] == "plain=1&token=***&sig=***"
    assert [value for name, value in shown["headers"] if name == "x-plain"] == ["first", "second"]
    assert ["x-forwarded-uri", "/callbacks/netnut/***?a=1"] in shown["headers"]
    assert ["authorization", "***"] in shown["headers"]
    assert (shown["size"], shown["sha256"]) == (0, hashlib.sha256(b"").hexdigest())


async def test_a_body_comes_as_it_arrived(site: Site) -> None:
    """Any bytes, under no type that a browser would run."""
    body = b"<script>\x00\xff</script>"
    callback = await _forge(site, body)
    answer = await site.get(f"/v1/callbacks/{callback}/body")
    assert answer.content == body
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_a_callback_is_replayed(site: Site) -> None:
    """Its stored bytes are read again as of their arrival; a dry run only says what would come of it."""
    ended = await site.ended("perplexity-webhook")
    callback = (await site.get("/v1/callbacks")).json()["callbacks"][0]["id"]
    path = f"/v1/callbacks/{callback}/replay"
    dry = await site.http.post(path, json={"dry_run": True})
    assert (dry.status_code, dry.json()["handlers"], dry.json()["replay_id"]) == (200, ["keep"], None)
    answer = await site.http.post(path)
    assert (answer.status_code, answer.json()["job_id"]) == (202, ended["id"])
    assert answer.json()["handlers"] == ["keep"]
    await site.until("/v1/dispatches", lambda page: len(site.handled) == 2 and not page["dispatches"])


async def test_a_callback_that_is_still_not_genuine_is_refused(site: Site) -> None:
    """409 with the reason, not 401: the caller's token is right. A dry run says the same without an error."""
    callback = await _forge(site)
    path = f"/v1/callbacks/{callback}/replay"
    refused(await site.http.post(path), 409, "signature_malformed")
    dry = await site.http.post(path, json={"dry_run": True})
    assert (dry.status_code, dry.json()["verdict"], dry.json()["code"]) == (
        200,
        "rejected",
        "signature_malformed",
    )


async def test_what_breaks_in_here_is_nobody_elses_fault(
    logging_restored: None, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """503 with a code and when to try again, and one line in the log; the next request is answered as ever."""
    logs.configure("info")
    callback = await _forge(site)
    with site.receiver.running.store.driver.write() as tx:
        tx.run("UPDATE callback SET headers = :broken WHERE id = :id", {"broken": b"{", "id": callback})
    capsys.readouterr()
    answer = await site.get(f"/v1/callbacks/{callback}")
    refused(answer, 503, "internal_error")
    assert answer.headers["retry-after"] == "5"
    (line,) = [json.loads(one) for one in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["route"], line["level"]) == ("request_failed", "v1", "error")
    assert (await site.get(f"/v1/callbacks/{callback}/nowhere")).status_code == 404


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("callback_id", ["cb_" + "0" * 32, "cb_1", "job_" + "0" * 32])
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("GET", "/body"), ("POST", "/replay")])
async def test_an_unknown_id_is_not_found(shared: Site, method: str, rest: str, callback_id: str) -> None:
    """Ids are whole here."""
    refused(
        await shared.http.request(method, f"/v1/callbacks/{callback_id}{rest}"), 404, "callback_not_found"
    )


async def test_an_account_wide_callback_shows_its_delivery(site: Site) -> None:
    """Key, delivery and job are named, the secret and the signature are not."""
    callback = await site.signed_callback()
    answer = await site.get(f"/v1/callbacks/{callback['id']}")
    shown = answer.json()
    assert (shown["route"], shown["verdict"], shown["key_id"]) == (
        "webhooks",
        "accepted",
        "PULSE_WEBHOOK_SECRET#1",
    )
    headers = dict(shown["headers"])
    assert shown["delivery_id"] == headers["webhook-id"]
    assert headers["webhook-signature"] == "***"
    assert WHSEC not in answer.text
