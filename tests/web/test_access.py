"""Who is let in, what is refused, and what never leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from receiver import logs
from receiver.wire.web import AccessError, authorize

from .conftest import MASTER, TOKEN, WHSEC, Site, refused
from .test_verification import hkdf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import OpenSite

JOB = "job_" + "0" * 32
#: Every route of the API, as the documentation lists them.
ROUTES = {
    ("post", "/v1/jobs"),
    ("get", "/v1/alarms"),
    ("get", "/v1/completions"),
    ("get", "/v1/readers/{name}"),
    ("put", "/v1/readers/{name}"),
    ("get", "/v1/jobs"),
    ("get", "/v1/jobs/{id}"),
    ("delete", "/v1/jobs/{id}"),
    ("get", "/v1/jobs/{id}/result"),
    ("get", "/v1/jobs/{id}/files"),
    ("get", "/v1/jobs/{id}/files/{number}"),
    ("get", "/v1/jobs/{id}/pages/{number}"),
    ("get", "/v1/jobs/{id}/answer"),
    ("post", "/v1/jobs/{id}/replay"),
    ("get", "/v1/callbacks"),
    ("get", "/v1/callbacks/{id}"),
    ("get", "/v1/callbacks/{id}/body"),
    ("post", "/v1/callbacks/{id}/replay"),
    ("get", "/v1/dispatches"),
    ("post", "/v1/dispatches/{id}/retry"),
    ("delete", "/v1/dispatches/{id}"),
    ("get", "/v1/handlers"),
    ("post", "/v1/handlers/{name}/pause"),
    ("post", "/v1/handlers/{name}/resume"),
    ("post", "/v1/verify/{provider}"),
    ("get", "/v1/openapi.json"),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
async def test_nothing_is_told_without_the_token(shared: Site, method: str, path: str) -> None:
    """Every route answers 401 with the scheme to use, before it looks at anything else."""
    async with httpx.AsyncClient(base_url=shared.url, trust_env=False, timeout=60) as http:
        answer = await http.request(method, path)
    refused(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xe9"],
)
async def test_a_wrong_token_lets_nobody_in(shared: Site, authorization: str) -> None:
    """Only the whole token, in the right scheme, is the token."""
    headers = [(b"authorization", authorization.encode("latin-1"))]
    async with httpx.AsyncClient(base_url=shared.url, trust_env=False, timeout=60) as http:
        refused(await http.get("/v1/jobs", headers=headers), 401, "unauthorized")


@pytest.mark.asyncio(loop_scope="module")
async def test_the_other_header_is_for_verification_only(shared: Site) -> None:
    """Elsewhere X-Receiver-Authorization lets nobody in, and the scheme's letter case is of no account."""
    async with httpx.AsyncClient(base_url=shared.url, trust_env=False, timeout=60) as http:
        answer = await http.get("/v1/jobs", headers={"x-receiver-authorization": f"Bearer {TOKEN}"})
        refused(answer, 401, "unauthorized")
        answer = await http.get("/v1/jobs", headers={"authorization": f"bearer {TOKEN}"})
        assert answer.status_code == 200


async def test_without_a_token_in_the_settings_the_api_is_closed(
    open_site: OpenSite,
) -> None:
    """403 that names the setting, whatever the caller sends; health stays open."""
    async with open_site(RECEIVER_API_TOKEN="") as site:
        for path in ("/v1/jobs", "/v1/openapi.json", "/v1/nowhere"):
            problem = refused(await site.get(path), 403, "api_token_missing")
            assert "RECEIVER_API_TOKEN" in problem["detail"]
        assert (await site.get("/livez")).status_code == 200


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1"),
        ("GET", "/v1/"),
        ("GET", "/v1/nowhere"),
        ("POST", "/v1/jobs/"),
        ("GET", f"/v1/jobs/{JOB}/a/b"),
    ],
)
async def test_an_unknown_path_is_a_problem(shared: Site, method: str, path: str) -> None:
    """404 with a code, not the empty one of the callback addresses; nothing is redirected."""
    refused(await shared.http.request(method, path), 404, "route_unknown")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/jobs", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/jobs", "GET, HEAD, POST"),
        ("POST", f"/v1/jobs/{JOB}", "DELETE, GET, HEAD"),
        ("GET", f"/v1/jobs/{JOB}/replay", "POST"),
        ("GET", "/v1/verify/pulse", "POST"),
        ("POST", "/v1/openapi.json", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    shared: Site, method: str, path: str, allow: str
) -> None:
    """405 with every method of the address."""
    answer = await shared.http.request(method, path)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow


async def test_a_body_is_bounded(open_site: OpenSite) -> None:
    """Too large 413, declared or not; too slow 408; both end the connection."""
    async with open_site(RECEIVER_MAX_BODY="1000", RECEIVER_RECEIVE_TIMEOUT="1") as site:
        for path in ("/v1/jobs", "/v1/verify/pulse", f"/v1/jobs/{JOB}/replay"):
            answer = await site.http.post(path, content=b" " * 2000)
            refused(answer, 413, "body_too_large")
            assert answer.headers["connection"] == "close"
        host, _, port = site.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n400\r\n{1024 * ' '}\r\n".encode())
        told = await asyncio.wait_for(reader.read(), timeout=40)
        assert told.startswith(b"HTTP/1.1 413")
        assert b"body_too_large" in told
        writer.close()
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"{head}Content-Length: 10\r\n\r\n{{".encode())
        told = await asyncio.wait_for(reader.read(), timeout=40)
        assert told.startswith(b"HTTP/1.1 408")
        assert b"body_late" in told
        writer.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_openapi_lists_exactly_the_routes(shared: Site) -> None:
    """The description is valid, and has every route of the API and no other."""
    answer = await shared.get("/v1/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    from fastapi.openapi.models import OpenAPI

    OpenAPI.model_validate(document)
    listed = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert listed == ROUTES
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    assert len({one["operationId"] for one in operations}) == len(ROUTES)
    for reference in _references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    assert all({"401", "403", "422", "503"} <= one["responses"].keys() for one in operations)


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)


async def test_no_secret_leaves_by_an_answer_or_a_log(
    logging_restored: None,
    site: Site,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tokens, keys, signatures and credentials are in no answer of any route, and in no log line."""
    logs.configure("debug")
    secrets = [MASTER, TOKEN, WHSEC[6:], "canary"]
    jobs = []
    for provider in ("netnut", "perplexity-webhook", "pulse"):
        job = await site.submit(provider, metadata={"handler": "fails"})
        if "callback_url" in job:
            secrets.append(job["callback_url"].rpartition("/")[2])
        secrets.append(hkdf(job["id"], provider).hex())
        site.sim.release(job["remote_id"])
        jobs.append(await site.until(f"/v1/jobs/{job['id']}", lambda found: found["ended_at"]))
    await site.sim.idle(timeout=60)
    secrets += [
        value.rpartition(",")[2]
        for callback in site.sim.callbacks()
        for name, value in callback.message.headers
        if "signature" in name.lower()
    ]
    assert len(secrets) > 10
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        forged = {"webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": "v1,canary"}
        await http.post(f"{site.url}/webhooks/pulse?token=canary", headers=forged, content=b"canary")
        await http.post(f"{site.url}/callbacks/netnut/canary", content=b"canary")
    texts = [(await site.get(path)).text for path in await _paths(site, jobs)]
    out, err = capsys.readouterr()
    texts += [out, err, caplog.text]
    assert "submission_accepted" in err
    for secret in secrets:
        assert not any(secret in text for text in texts), secret


async def _paths(site: Site, jobs: list[dict[str, Any]]) -> list[str]:
    callbacks = (await site.get("/v1/callbacks")).json()["callbacks"]
    return [
        "/v1/jobs",
        "/v1/callbacks",
        "/v1/dispatches",
        "/v1/openapi.json",
        "/metrics",
        "/readyz",
        *(f"/v1/jobs/{job['id']}" for job in jobs),
        *(f"/v1/jobs/{job['id']}/result" for job in jobs),
        *(f"/v1/callbacks/{one['id']}" for one in callbacks),
    ]


@pytest.mark.parametrize("token", ["t\u00f6ken with blanks", "\u0442\u043e\u043a\u0435\u043d", "t\udcf6ken"])
def test_a_token_may_be_any_text(token: str) -> None:
    """What the environment holds is compared with what was sent byte for byte, whatever either is written in."""
    sent = token.encode("utf-8", "surrogateescape").decode("latin-1")
    authorize({"authorization": f"Bearer {sent}"}, api_token=token)
    for wrong in (sent + "x", sent[:-1], "\u2603"):
        with pytest.raises(AccessError):
            authorize({"authorization": f"Bearer {wrong}"}, api_token=token)
