"""``/v1/verify``: verification as a service."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import TYPE_CHECKING

import pytest

from .conftest import MASTER, TOKEN, WHSEC, Site, refused

if TYPE_CHECKING:
    from .conftest import OpenSite

BODY = b'{"job_id": "j1", "canary": "body"}'


def signed(body: bytes = BODY, *, at: int | None = None, secret: str = WHSEC) -> dict[str, str]:
    """Sign as Standard Webhooks does, with the standard library alone."""
    stamp = str(int(time.time()) if at is None else at)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.digest(key, f"m1.{stamp}.".encode() + body, "sha256")).decode()
    return {"webhook-id": "m1", "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_genuine_message_is_verified(shared: Site) -> None:
    """200 names the key, the delivery, the time and the scheme; nothing is recorded."""
    answer = await shared.http.post(
        "/v1/verify/pulse", content=BODY, headers=signed(at=1795000000) | {"x-receiver-at": "1795000010"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "verified": True,
        "key_id": "PULSE_WEBHOOK_SECRET#1",
        "delivery_id": "m1",
        "timestamp": "2026-11-18T11:06:40.000Z",
        "scheme": "hmac",
    }
    assert (await shared.http.post("/v1/verify/pulse", content=BODY, headers=signed())).status_code == 200
    assert (await shared.get("/v1/callbacks")).json()["callbacks"] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_message_that_is_not_genuine_is_diagnosed(shared: Site) -> None:
    """401 with the failed proof, its cause and a sentence; no body, key or signature in it."""
    wrong = signed(secret="whsec_" + base64.b64encode(b"another secret, also long").decode())
    answer = await shared.http.post("/v1/verify/pulse", content=BODY, headers=wrong)
    assert answer.status_code == 401
    found = answer.json()
    assert (found["verified"], found["code"], found["cause"]) == (
        False,
        "signature_mismatch",
        "signature_mismatch",
    )
    assert found["diagnosis"]
    assert answer.headers["content-type"] == "application/json"
    assert not any(secret in answer.text for secret in ("canary", wrong["webhook-signature"][3:], WHSEC[6:]))
    stale = await shared.http.post("/v1/verify/pulse", content=BODY, headers=signed(at=1700000000))
    assert stale.json()["code"] == "timestamp_stale"
    missing = await shared.http.post("/v1/verify/pulse", content=BODY)
    assert missing.json()["code"] == "signature_missing"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_known_mistake_is_named(shared: Site) -> None:
    """A body that was altered on the way is told from a forged one."""
    answer = await shared.http.post("/v1/verify/pulse", content=BODY + b"\n", headers=signed())
    assert answer.status_code == 401
    assert answer.json()["code"] == "signature_mismatch"
    assert answer.json()["cause"] != "signature_mismatch"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_messages_own_authorization_is_left_to_it(shared: Site) -> None:
    """The API token may come as X-Receiver-Authorization; then Authorization is the message's."""
    headers = signed() | {
        "authorization": "Bearer the-provider's",
        "x-receiver-authorization": f"Bearer {TOKEN}",
    }
    assert (await shared.http.post("/v1/verify/pulse", content=BODY, headers=headers)).status_code == 200
    headers["x-receiver-authorization"] = "Bearer wrong"
    answer = await shared.http.post("/v1/verify/pulse", content=BODY, headers=headers)
    refused(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_key_for_each_job_is_found_by_the_callback_url(shared: Site) -> None:
    """The callback URL says whose key it was; without it the caller is told to send it."""
    job = await shared.submit("perplexity-webhook")
    secret = hkdf(job["id"], "perplexity-webhook").hex().encode()
    headers = {"x-perplexity-signature": hmac.digest(secret, BODY, "sha256").hex()}
    path = "/v1/verify/perplexity-webhook"
    named = headers | {"x-receiver-url": job["callback_url"]}
    answer = await shared.http.post(path, content=BODY, headers=named)
    assert (answer.status_code, answer.json()["verified"]) == (200, True), answer.text
    wrong = await shared.http.post(path, content=BODY + b" ", headers=named)
    assert wrong.status_code == 401
    for url in ({}, {"x-receiver-url": "http://[x"}, {"x-receiver-url": f"{shared.url}/callbacks/pulse/x"}):
        answer = await shared.http.post(path, content=BODY, headers=headers | url)
        refused(answer, 422, "header_invalid", field="X-Receiver-Url")


def hkdf(job_id: str, provider: str) -> bytes:
    """RFC 5869 with one block, from the standard library."""
    info = b"receiver job secret\0" + provider.encode() + b"\0" + bytes.fromhex(job_id[4:])
    return hmac.digest(
        hmac.digest(bytes(32), MASTER.encode(), hashlib.sha256), info + b"\x01", hashlib.sha256
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_what_cannot_be_verified_says_so(shared: Site) -> None:
    """An unknown provider 404, one that signs nothing 422, a time that is none 422."""
    refused(await shared.http.post("/v1/verify/nobody"), 404, "provider_unknown", field="provider")
    refused(await shared.http.post("/v1/verify/netnut"), 422, "unsigned_provider", field="provider")
    refused(await shared.http.post("/v1/verify/perplexity"), 422, "unsigned_provider", field="provider")
    answer = await shared.http.post("/v1/verify/pulse", headers={"x-receiver-at": "noon"})
    refused(answer, 422, "header_invalid", field="X-Receiver-At")


async def test_a_missing_key_is_our_fault(
    open_site: OpenSite,
) -> None:
    """503 that names the setting, never 401."""
    async with open_site(PULSE_WEBHOOK_SECRET="") as site:
        answer = await site.http.post("/v1/verify/pulse", content=BODY, headers=signed())
    problem = refused(answer, 503, "key_unavailable")
    assert "PULSE_WEBHOOK_SECRET" in problem["detail"]
