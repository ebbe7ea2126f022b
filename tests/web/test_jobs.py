"""``/v1/jobs``, from the caller's side of a real socket."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import CHAT, NETNUT, REQUESTS, refused
from .test_verification import hkdf

if TYPE_CHECKING:
    from .conftest import Site

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_NOBODY = "job_" + "0" * 32


async def test_a_submitted_job_is_answered_with_its_callback_url_once(site: Site) -> None:
    """202 carries the callback URL that the provider was given; no later answer does."""
    job = await site.submit("netnut", metadata={"topic": "coffee"}, deadline=600)
    sent = site.sim.requests("netnut")[0]
    assert job["callback_url"].encode() in sent.body
    assert (job["state"], job["settled_by"], job["metadata"]) == ("submitted", None, {"topic": "coffee"})
    assert _MOMENT.fullmatch(job["created_at"])
    again = (await site.get(f"/v1/jobs/{job['id']}")).json()
    assert "callback_url" not in again
    assert {key: again[key] for key in job if key != "callback_url"} == {
        key: value for key, value in job.items() if key != "callback_url"
    }


async def test_the_operation_is_the_callers_choice(site: Site) -> None:
    """``operation`` picks one of the provider's; one that it does not have is refused by name."""
    order = {"provider": "pulse", "request": REQUESTS["pulse"], "operation": "split"}
    answer = await site.http.post("/v1/jobs", json=order)
    assert answer.json()["operation"] == "split"
    assert site.sim.requests("pulse")[0].path == "/split"
    refused(
        await site.http.post("/v1/jobs", json=order | {"operation": "dream"}),
        422,
        "operation_unknown",
        field="operation",
    )


async def test_a_repetition_is_the_same_job(site: Site) -> None:
    """The same key and request answer 200 with the job, without its callback URL; another request 409."""
    first = await site.submit("netnut", idempotency_key="k1", metadata={"n": 1})
    order = {"provider": "netnut", "request": NETNUT, "idempotency_key": "k1"}
    again = await site.http.post("/v1/jobs", json=order)
    assert again.status_code == 200
    assert (again.json()["id"], again.json()["metadata"]) == (first["id"], {"n": 1})
    assert "callback_url" not in again.json()
    assert len(site.sim.jobs("netnut")) == 1
    other = await site.http.post("/v1/jobs", json=order | {"request": NETNUT | {"prompt": "tea?"}})
    refused(other, 409, "idempotency_key_reused", field="idempotency_key")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (b"", 400, "body_not_json", None),
        (b"{", 400, "body_not_json", None),
        (b'{"provider": "netnut", "request": {"n": NaN}}', 400, "json_number_range", None),
        (b'{"provider": "netnut", "request": {"n": 1e999}}', 400, "json_number_range", None),
        (b'{"provider": "netnut", "provider": "netnut", "request": {}}', 400, "json_repeated_key", None),
        (b"[" * 100 + b"]" * 100, 400, "json_too_deep", None),
        (b"\xff\xfe", 400, "body_not_utf8", None),
        (b'{"\\ud800": 1}', 400, "body_not_utf8", None),
        (b"[]", 422, "request_invalid", None),
        (b'{"request": {}}', 422, "request_invalid", "provider"),
        (b'\xef\xbb\xbf{"provider": "nobody", "request": {}}', 422, "provider_unknown", "provider"),
        (b'{"provider": "netnut"}', 422, "request_invalid", "request"),
        (b'{"provider": "netnut", "request": {}, "reqest": 1}', 422, "request_invalid", "reqest"),
        (b'{"provider": 1, "request": {}}', 422, "request_invalid", "provider"),
        (b'{"provider": "netnut", "request": []}', 422, "request_invalid", "request"),
        (b'{"provider": "netnut", "request": {}, "metadata": 1}', 422, "request_invalid", "metadata"),
        (b'{"provider": "netnut", "request": {}, "deadline": "1"}', 422, "request_invalid", "deadline"),
        (b'{"provider": "netnut", "request": {}, "deadline": -1}', 422, "request_invalid", "deadline"),
        (b'{"provider": "nobody", "request": {}}', 422, "provider_unknown", "provider"),
        (
            b'{"provider": "netnut", "request": {}, "idempotency_key": ""}',
            422,
            "request_invalid",
            "idempotency_key",
        ),
        (b'{"provider": "netnut", "request": {"a": "\\ud800"}}', 422, "request_invalid", "request"),
        (
            b'{"provider": "pulse", "request": {"file": "/etc/passwd"}}',
            422,
            "file_not_allowed",
            "request.file",
        ),
    ],
)
async def test_a_bad_order_is_refused_by_name(
    shared: Site, body: bytes, status: int, code: str, field: str | None
) -> None:
    """Whatever is wrong with an order is named, and nothing is recorded or sent."""

    async def there() -> tuple[list[str], int]:
        # Jobs of other tests may still be asked about meanwhile.
        jobs = (await shared.get("/v1/jobs")).json()["jobs"]
        return [one["id"] for one in jobs], sum(one.method == "POST" for one in shared.sim.requests())

    before = await there()
    answer = await shared.http.post("/v1/jobs", content=body)
    problem = refused(answer, status, code, field=field)
    assert "passwd" not in problem["detail"]
    assert await there() == before


async def test_jobs_are_listed_and_filtered(site: Site) -> None:
    """Every filter leaves what it names, the newest first."""
    ended = await site.ended("perplexity-webhook")
    first = await site.submit("netnut", metadata={"long": "text"})
    second = await site.submit("netnut")

    async def listed(**params: Any) -> list[str]:  # noqa: ANN401
        return [one["id"] for one in (await site.get("/v1/jobs", **params)).json()["jobs"]]

    assert await listed() == [second["id"], first["id"], ended["id"]]
    assert await listed(provider="netnut") == [second["id"], first["id"]]
    assert await listed(provider="pulse") == []
    assert await listed(state="succeeded") == [ended["id"]]
    assert await listed(state="open") == [second["id"], first["id"]]
    assert await listed(state="open", provider="perplexity-webhook") == []
    assert await listed(since=second["created_at"]) == [second["id"]]
    assert await listed(since=second["created_at"].replace("Z", "+00:00")) == [second["id"]]
    assert await listed(since="1000000000") == [second["id"], first["id"], ended["id"]]
    assert await listed(since="99999999999") == []
    assert "metadata" not in (await site.get("/v1/jobs")).json()["jobs"][1]


async def test_a_cursor_leads_through_all_jobs(site: Site) -> None:
    """Page after page, each job comes once; the last page has no cursor."""
    made = [(await site.submit("netnut"))["id"] for _ in range(4)]
    found: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    for more in (True, False):
        page = (await site.get("/v1/jobs", **params)).json()
        found += [one["id"] for one in page["jobs"]]
        assert (page["cursor"] is not None) == more
        params["cursor"] = page["cursor"]
    assert found == made[::-1]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("colour=red", "query_unknown", "colour"),
        ("state=open&state=failed", "query_repeated", "state"),
        ("state=done", "query_invalid", "state"),
        ("state=", "query_invalid", "state"),
        ("provider=nobody", "query_invalid", "provider"),
        ("since=yesterday", "query_invalid", "since"),
        ("since=2026-11-21", "query_invalid", "since"),
        ("since=1969-01-01T00:00:00Z", "query_invalid", "since"),
        ("since=-1", "query_invalid", "since"),
        ("since=%ff", "query_invalid", "since"),
        ("limit=0", "query_invalid", "limit"),
        ("limit=201", "query_invalid", "limit"),
        ("limit=%D9%A3", "query_invalid", "limit"),
        ("cursor=job_1", "query_invalid", "cursor"),
    ],
)
async def test_a_bad_filter_is_refused_by_name(shared: Site, query: str, code: str, field: str) -> None:
    """A parameter that is not understood is never ignored: an answer to another question would follow."""
    refused(await shared.get(f"/v1/jobs?{query}"), 422, code, field=field)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_job_shows_everything_that_happened_in_order(shared: Site) -> None:
    """Submission, wake-up, fetch and handler stand in the timeline, by when they ended."""
    record = await shared.ended("netnut", idempotency_key="k", metadata={"a": 1})
    assert (record["state"], record["settled_by"], record["error"]) == ("succeeded", "callback", None)
    record = await shared.until(f"/v1/jobs/{record['id']}", lambda found: _steps(found)[-1] == "dispatch")
    assert _steps(record) == ["submission", "submit", "callback", "fetch", "dispatch"]
    assert record["timeline"][0]["idempotency_key"] == "k"
    times = [entry["at"] for entry in record["timeline"]]
    ends = [
        datetime.fromisoformat(entry["at"]) + timedelta(milliseconds=entry.get("duration_ms", 0))
        for entry in record["timeline"]
    ]
    assert ends == sorted(ends)
    assert all(map(_MOMENT.fullmatch, times))


def _steps(record: dict[str, Any]) -> list[str]:
    return [entry.get("step", entry["kind"]) for entry in record["timeline"]]


@pytest.mark.asyncio(loop_scope="module")
async def test_an_open_job_shows_what_is_due_and_no_end(shared: Site) -> None:
    """What is still to be done stands at the end of the timeline; nothing has settled the job."""
    job = await shared.submit("netnut")
    record = (await shared.get(f"/v1/jobs/{job['id']}")).json()
    assert (record["settled_by"], record["ended_at"], record["result"]) == (None, None, None)
    due = record["timeline"][-1]
    assert (due["kind"], due["step"], due["running"]) == ("due", "look", False)
    assert due["at"] > record["created_at"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_refused_submission_is_shown_with_the_providers_words(shared: Site) -> None:
    """The job has failed, and its error says what the provider said."""
    answer = await shared.http.post("/v1/jobs", json={"provider": "perplexity", "request": {"model": 1}})
    assert answer.status_code == 202
    job = answer.json()
    assert (job["state"], job["submission"], job["settled_by"]) == ("failed", "refused", "submit")
    assert job["error"]["code"].startswith("submission_refused_4")
    assert job["error"]["text"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_result_comes_as_the_provider_sent_it(shared: Site) -> None:
    """The bytes, their type, length and digest; as a file that no browser runs; 304 for who has it."""
    record = await shared.ended("perplexity-webhook")
    path = f"/v1/jobs/{record['id']}/result"
    answer = await shared.get(path)
    assert answer.status_code == 200
    assert answer.json()["choices"]
    assert hashlib.sha256(answer.content).hexdigest() == record["result"]["sha256"]
    assert len(answer.content) == record["result"]["size"]
    expected = {
        "content-type": "application/json",
        "content-length": str(record["result"]["size"]),
        "x-content-type-options": "nosniff",
        "content-disposition": f'attachment; filename="{record["id"]}"',
        "etag": f'"{record["result"]["sha256"]}"',
        "cache-control": "no-store",
    }
    assert {name: answer.headers[name] for name in expected} == expected
    current = await shared.http.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (current.status_code, current.content) == (304, b"")
    head = await shared.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(record["result"]["size"])


async def test_a_large_fetched_result_is_streamed_whole(site: Site) -> None:
    """A result of many chunks arrives complete."""
    site.sim.faults("netnut", {"name": "huge_body", "size": 1_000_000})
    record = await site.ended("netnut")
    answer = await site.get(f"/v1/jobs/{record['id']}/result")
    assert len(answer.content) == record["result"]["size"] == 1_000_000
    assert hashlib.sha256(answer.content).hexdigest() == record["result"]["sha256"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_large_result_inside_a_callback_is_streamed_whole(shared: Site) -> None:
    """So does one that is a slice of the callback that brought it, exactly as it stood there."""
    job = await shared.submit("perplexity-webhook")
    result = b'{"text" : "' + b"x" * 700_000 + b'"}'
    body = b'{"job_id": "%s", "status": "COMPLETED", "response": %s}' % (job["remote_id"].encode(), result)
    secret = hkdf(job["id"], "perplexity-webhook").hex().encode()
    headers = {"x-perplexity-signature": hmac.digest(secret, body, "sha256").hex()}
    assert (await shared.http.post(job["callback_url"], content=body, headers=headers)).status_code == 200
    assert (await shared.get(f"/v1/jobs/{job['id']}/result")).content == result


@pytest.mark.asyncio(loop_scope="module")
async def test_without_a_result_the_sentence_says_why(shared: Site) -> None:
    """A running job's result is not here yet; a failed job has none."""
    running = await shared.submit("netnut")
    problem = refused(await shared.get(f"/v1/jobs/{running['id']}/result"), 404, "result_missing")
    assert "not here yet" in problem["detail"]
    failed = await shared.http.post("/v1/jobs", json={"provider": "perplexity", "request": {}})
    problem = refused(await shared.get(f"/v1/jobs/{failed.json()['id']}/result"), 404, "result_missing")
    assert "ended as failed" in problem["detail"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_job_is_canceled_upstream(shared: Site) -> None:
    """202 records the wish; the provider is asked, and its word ends the job. A second time it has ended."""
    job = await shared.submit("perplexity-webhook", metadata={"a": 1})
    answer = await shared.http.delete(f"/v1/jobs/{job['id']}")
    assert answer.status_code == 202
    assert answer.json()["cancel_requested_at"] is not None
    assert answer.json()["metadata"] == {"a": 1}
    record = await shared.until(f"/v1/jobs/{job['id']}", lambda found: found["ended_at"])
    assert record["state"] == "canceled"
    assert any(
        request.method == "DELETE" and job["remote_id"] in request.path
        for request in shared.sim.requests("perplexity-webhook")
    )
    refused(await shared.http.delete(f"/v1/jobs/{job['id']}"), 409, "job_ended")


@pytest.mark.asyncio(loop_scope="module")
async def test_what_cannot_be_canceled_says_so(shared: Site) -> None:
    """409 where the provider has no way to cancel."""
    job = await shared.submit("netnut")
    refused(await shared.http.delete(f"/v1/jobs/{job['id']}"), 409, "cancel_unsupported")


async def test_a_job_is_replayed(site: Site) -> None:
    """A dry run changes nothing; a replay calls the handler again, and stands in the timeline."""
    record = await site.ended("perplexity-webhook")
    path = f"/v1/jobs/{record['id']}/replay"
    dry = await site.http.post(path, json={"dry_run": True})
    assert (dry.status_code, dry.json()["handlers"], dry.json()["replay_id"]) == (200, ["keep"], None)
    answer = await site.http.post(path, json={"handler": "keep"})
    assert (answer.status_code, answer.json()["handlers"]) == (202, ["keep"])
    replay_id = answer.json()["replay_id"]

    def done(found: dict[str, Any]) -> bool:
        return any(e.get("replay_id") == replay_id and e["step"] == "dispatch" for e in found["timeline"])

    await site.until(f"/v1/jobs/{record['id']}", done)
    assert [job.id for job in site.handled] == [record["id"]] * 2
    assert (await site.http.post(path)).status_code == 202


@pytest.mark.asyncio(loop_scope="module")
async def test_what_cannot_be_replayed_says_so(shared: Site) -> None:
    """An open job 409, an unknown handler 404, an order with another field 422."""
    job = await shared.submit("netnut")
    path = f"/v1/jobs/{job['id']}/replay"
    refused(await shared.http.post(path), 409, "job_not_ended")
    refused(await shared.http.post(path, json={"dry_run": True}), 409, "job_not_ended")
    refused(await shared.http.post(path, json={"handler": "nobody"}), 404, "handler_unknown", field="handler")
    refused(await shared.http.post(path, json={"dry": True}), 422, "request_invalid", field="dry")
    refused(await shared.http.post(path, content=b"{"), 400, "body_not_json")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("job_id", [_NOBODY, "job_1", "x", "cb_" + "0" * 32, "%00", "job_" + "0" * 33])
@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("GET", "/result"), ("DELETE", ""), ("POST", "/replay")]
)
async def test_an_unknown_id_is_not_found(shared: Site, method: str, rest: str, job_id: str) -> None:
    """Ids are whole here: a prefix, another kind of id or nonsense is not found, whatever is asked."""
    refused(await shared.http.request(method, f"/v1/jobs/{job_id}{rest}"), 404, "job_not_found")


async def test_without_credentials_for_the_provider_nothing_is_recorded(site: Site) -> None:
    """A setting that is missing here is our fault: 503, which names it."""
    answer = await site.http.post("/v1/jobs", json={"provider": "yandex", "request": {"messages": []}})
    problem = refused(answer, 503, "credentials_missing")
    assert "YANDEX_API_KEY" in problem["detail"]
    assert answer.headers["retry-after"]
    assert (await site.get("/v1/jobs")).json()["jobs"] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_polled_provider_has_no_callback_url(shared: Site) -> None:
    """Where none is minted, 202 carries none."""
    answer = await shared.http.post("/v1/jobs", json={"provider": "perplexity", "request": CHAT})
    assert answer.status_code == 202
    assert "callback_url" not in answer.json()
