"""Each system speaks as its page says, read with a plain HTTP client."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import pytest

from receiver.simulator import PROVIDERS, SimulatorSettings
from receiver.simulator.signing import standard_webhooks

from .clients import WHSEC, Client, Sink, callback_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.simulator import Simulator

    Clients = Callable[[str], Client]

MANUAL = SimulatorSettings(run_seconds=None, callback_backoff=0.01)


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_request_without_credentials_is_refused(client: Clients, sim: Simulator, name: str) -> None:
    """Without credentials there is a 401 and no job."""
    answer = await client(name).request("POST", client(name).path, auth=False, json={})
    assert answer.status_code == 401
    assert answer.json()
    assert sim.jobs(name) == []


@pytest.mark.parametrize("settings", [SimulatorSettings(credentials={"pulse": "only this"})])
async def test_expected_credentials_are_the_only_ones(client: Clients) -> None:
    """Once credentials are set, others are refused; other providers still take any."""
    assert (await client("pulse").submit()).status_code == 401
    assert (await client("pulse").submit(headers={"x-api-key": "only this"})).status_code == 202
    assert (await client("yandex").submit()).status_code == 200


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_body_that_is_no_request_is_refused(client: Clients, name: str) -> None:
    """A 4xx with the vendor's error body says what is missing; an unknown id is 404."""
    path = client(name).path
    for content in (b"{}", b"[]", b"{"):
        assert (await client(name).request("POST", path, content=content)).status_code in {400, 422}
    assert (await client(name).status("unknown")).status_code == 404


@pytest.mark.parametrize(("name", "field"), [("netnut", "callback_url"), ("perplexity", "idempotency_key")])
async def test_fields_of_another_type_are_refused(client: Clients, name: str, field: str) -> None:
    """A field that is no string where one is expected is a 4xx, and nothing is billed."""
    assert (await client(name).submit(headers=None, **{field: ["x"]})).status_code in {400, 422}
    assert client(name).sim.jobs() == []


@pytest.mark.parametrize("settings", [MANUAL])
async def test_netnut_async(client: Clients, sim: Simulator) -> None:
    """The answer names `response_url`, which says "processing" and then holds the result, with `traceID`."""
    ack = (await client("netnut").submit()).json()
    trace_id = ack["traceId"]
    assert ack == {
        "message": "request received",
        "traceId": trace_id,
        "response_url": f"{sim.base_url('netnut')}/search/response/{trace_id}",
    }
    pending = (await client("netnut").status(trace_id)).json()
    assert pending == {
        "status": "processing",
        "message": "Request is still processing",
        "traceId": trace_id,
    }
    assert sim.release(trace_id)
    assert not sim.release(trace_id)
    result = (await client("netnut").status(trace_id)).json()
    assert result.keys() == {
        "traceID",
        "timestamp",
        "request_duration",
        "process_duration",
        "model",
        "response",
    }
    assert result["traceID"] == trace_id
    assert result["response"]["prompt"] == "coffee?"


async def test_netnut_sync(client: Clients) -> None:
    """Without `async` and `callback_url` the result is the answer."""
    answer = await client("netnut").request("POST", "/search", json={"model": "gemini", "prompt": "?"})
    assert answer.status_code == 200
    assert answer.json()["model"] == "gemini"


async def test_netnut_notifies(client: Clients, sink: Sink) -> None:
    """With both, the callback is an unsigned notification with the address of the result."""
    ack = (await client("netnut").submit(callback_url=sink.url)).json()
    await client("netnut").sim.idle(timeout=60)
    (arrived,) = sink.arrived
    assert arrived.json() == {
        "traceId": ack["traceId"],
        "status_code": 200,
        "response_url": ack["response_url"],
    }


async def test_netnut_sends_the_result(client: Clients, sink: Sink) -> None:
    """With `callback_url` alone, the callback is the result, and the answer names no address."""
    body = {"engine": "gemini", "prompt": "?", "callback_url": sink.url}
    ack = (await client("netnut").request("POST", "/search", json=body)).json()
    assert "response_url" not in ack
    await client("netnut").sim.idle(timeout=60)
    assert sink.arrived[0].json()["traceID"] == ack["traceId"]
    assert sink.arrived[0].json()["response"]["text"]


@pytest.mark.parametrize("settings", [MANUAL])
async def test_pulse_async(client: Clients, sim: Simulator) -> None:
    """202 with `job_id`; the poll shows the state and, at the end, the result."""
    ack = await client("pulse").submit()
    assert ack.status_code == 202
    job_id = ack.json()["job_id"]
    assert ack.json() == {"job_id": job_id, "status": "pending"}
    await sim.idle(timeout=60)
    assert (await client("pulse").status(job_id)).json()["status"] == "processing"
    sim.release(job_id)
    document = (await client("pulse").status(job_id)).json()
    assert document["status"] == "completed"
    assert document["result"]["markdown"]


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("/extract", {"file_url": "https://example.com/a.pdf"}, "markdown"),
        ("/split", {"extraction_id": "e"}, "split_output"),
        ("/schema", {"extraction_id": "e"}, "schema_output"),
    ],
)
async def test_pulse_sync(client: Clients, path: str, body: dict[str, Any], key: str) -> None:
    """Without `async` the result is the answer."""
    answer = await client("pulse").request("POST", path, json=body)
    assert answer.status_code == 200
    assert answer.json()[key]


async def test_pulse_takes_forms(client: Clients, sim: Simulator) -> None:
    """A document arrives as a form, with `async` as text."""
    answer = await client("pulse").request(
        "POST", "/extract", files={"file": ("a.pdf", b"%PDF")}, data={"async": "true"}
    )
    assert answer.status_code == 202
    assert sim.jobs("pulse")[0].submission.request["file"] == {"filename": "a.pdf", "size": 4}


async def test_pulse_signs_its_events(client: Clients, sim: Simulator, sink: Sink) -> None:
    """Each state is an event, signed as Standard Webhooks says over the bytes that were sent."""
    sim.pulse_webhook(sink.url, WHSEC)
    job_id = await client("pulse").done()
    processing, completed = sink.arrived
    assert processing.json()["type"] == "job.processing"
    event = completed.json()
    assert event["type"] == "job.completed"
    assert event["data"] == {"job_id": job_id, "status": "completed"}
    signed = b"%s.%s.%s" % (
        completed.headers["webhook-id"].encode(),
        completed.headers["webhook-timestamp"].encode(),
        completed.body,
    )
    key = base64.b64decode(WHSEC.removeprefix("whsec_"))
    mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert completed.headers["webhook-signature"] == f"v1,{mac}"


def test_the_published_vector_of_standard_webhooks() -> None:
    """The signature is that of the specification's own example."""
    headers = standard_webhooks(
        b'{"test": 2432232314}',
        secret=WHSEC,
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("settings", [MANUAL])
async def test_pulse_cancels(client: Clients, sim: Simulator, sink: Sink) -> None:
    """DELETE cancels and sends the event, for those endpoints that want it; an ended job stays as it is."""
    sim.pulse_webhook(sink.url, WHSEC, events=("job.cancelled",))
    job_id = await client("pulse").submitted()
    answer = await client("pulse").request("DELETE", f"/job/{job_id}")
    assert answer.json()["job_id"] == job_id
    await client("pulse").request("DELETE", f"/job/{job_id}")
    assert (await client("pulse").status(job_id)).json()["status"] == "canceled"
    await sim.idle(timeout=60)
    assert [arrived.json()["type"] for arrived in sink.arrived] == ["job.cancelled"]
    sim.clear_pulse_webhook()
    await client("pulse").request("DELETE", f"/job/{await client('pulse').submitted()}")
    await sim.idle(timeout=60)
    assert len(sink.arrived) == 1


async def test_pulse_endpoints_are_checked(sim: Simulator) -> None:
    """A secret that is no key and an event that does not exist are refused at once."""
    with pytest.raises(ValueError, match=r"base64|padding"):
        sim.pulse_webhook("http://127.0.0.1:1/", "whsec_?")
    with pytest.raises(ValueError, match="no such event"):
        sim.pulse_webhook("http://127.0.0.1:1/", WHSEC, events=("job.lost",))


@pytest.mark.parametrize("settings", [MANUAL])
async def test_yandex(client: Clients, sim: Simulator) -> None:
    """An operation has no status word: it is done, with `response`, or it is not."""
    ack = (await client("yandex").submit()).json()
    assert ack.keys() == {
        "id",
        "description",
        "createdAt",
        "createdBy",
        "modifiedAt",
        "done",
        "metadata",
    }
    assert ack["done"] is False
    assert ack["metadata"] is None
    sim.release(ack["id"])
    operation = (await client("yandex").status(ack["id"])).json()
    assert operation["done"] is True
    assert operation["response"]["usage"] == {
        "inputTextTokens": "31",
        "completionTokens": "10",
        "totalTokens": "41",
    }
    assert "error" not in operation


@pytest.mark.parametrize("settings", [MANUAL])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_yandex_cancels(client: Clients, method: str) -> None:
    """Both documented ways to cancel end the operation with the code CANCELLED."""
    job_id = await client("yandex").submitted()
    operation = (await client("yandex").request(method, f"/operations/{job_id}:cancel")).json()
    assert operation["done"] is True
    assert operation["error"]["code"] == 1


async def test_an_idempotency_key_makes_one_job(client: Clients, sim: Simulator) -> None:
    """The same key is the same job, billed once: in the header or the body, as each vendor has it."""
    first = await client("yandex").submitted(headers={"idempotency-key": "k"})
    assert await client("yandex").submitted(headers={"idempotency-key": "k"}) == first
    first = await client("perplexity").submitted(idempotency_key="k")
    assert await client("perplexity").submitted(idempotency_key="k") == first
    assert len(sim.jobs()) == 2


@pytest.mark.parametrize("settings", [MANUAL])
@pytest.mark.parametrize("name", ["perplexity", "perplexity-webhook"])
async def test_perplexity(client: Clients, sim: Simulator, name: str) -> None:
    """The states go by their words; the response inside keeps a status of its own, which is PENDING."""
    ack = (await client(name).submit()).json()
    assert ack["status"] == {"perplexity": "CREATED"}.get(name, "QUEUED")
    assert ack["response"] is None
    await sim.idle(timeout=60)
    assert (await client(name).status(ack["id"])).json()["status"] == "IN_PROGRESS"
    sim.release(ack["id"])
    job = (await client(name).request("GET", f"/v1/async/sonar/{ack['id']}")).json()
    assert job["status"] == "COMPLETED"
    assert job["response"]["status"] == "PENDING"
    assert job["completed_at"] >= job["created_at"]


async def test_perplexity_lists(client: Clients) -> None:
    """The list comes in pages and without responses."""
    ids = [await client("perplexity").submitted() for _ in range(21)]
    page = (await client("perplexity").request("GET", "/async/chat/completions")).json()
    assert len(page["requests"]) == 20
    assert "response" not in page["requests"][0]
    rest = await client("perplexity").request(
        "GET", "/async/chat/completions", params={"next_token": page["next_token"]}
    )
    assert [job["id"] for job in rest.json()["requests"]] == ids[20:]
    assert rest.json()["next_token"] is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (SimulatorSettings(run_seconds=0.02), lambda mac: mac.hex()),
        (
            SimulatorSettings(run_seconds=0.02, perplexity_signature="base64"),
            lambda mac: base64.b64encode(mac).decode(),
        ),
        (
            SimulatorSettings(run_seconds=0.02, perplexity_signature="sha256="),
            lambda mac: "sha256=" + mac.hex(),
        ),
    ],
)
async def test_perplexity_webhook_signs(
    client: Clients, sink: Sink, expected: Callable[[bytes], str]
) -> None:
    """The callback carries the result, and the HMAC of its bytes in the encoding that was chosen."""
    job_id = await client("perplexity-webhook").done(**callback_fields("perplexity-webhook", sink.url))
    (arrived,) = sink.arrived
    assert arrived.json().keys() == {"job_id", "status", "response"}
    assert arrived.json()["job_id"] == job_id
    assert arrived.json()["status"] == "COMPLETED"
    mac = hmac.new(b"per-job secret", arrived.body, hashlib.sha256).digest()
    assert arrived.headers["x-perplexity-signature"] == expected(mac)


@pytest.mark.parametrize("settings", [MANUAL])
async def test_perplexity_webhook_cancels(client: Clients, sim: Simulator, sink: Sink) -> None:
    """DELETE ends the job without a callback; the vendor's own API has no such thing."""
    cancelling = client("perplexity-webhook")
    job_id = await cancelling.submitted(**callback_fields("perplexity-webhook", sink.url))
    path = f"/async/chat/completions/{job_id}"
    job = (await cancelling.request("DELETE", path)).json()
    assert job["status"] == "FAILED"
    assert job["failed_reason"]
    await sim.idle(timeout=60)
    assert sink.arrived == []
    assert (await client("perplexity").request("DELETE", path)).status_code == 405


async def test_a_webhook_needs_a_secret(client: Clients) -> None:
    """A webhook without a secret is refused; the secret of another is not shown."""
    for webhook in ({"url": "http://a"}, {"url": 1, "secret": "s"}, "http://a"):
        assert (await client("perplexity-webhook").submit(webhook=webhook)).status_code == 422
    sim = client("perplexity-webhook").sim
    await client("perplexity-webhook").done(**callback_fields("perplexity-webhook", "http://127.0.0.1:1"))
    assert "per-job secret" not in repr(sim.jobs()[0])
    assert "per-job secret" not in str(sim.jobs()[0].view())


@pytest.mark.parametrize("answers", [[500, 429, 200], [302, 200]])
async def test_callbacks_are_sent_until_they_are_taken(
    client: Clients, sim: Simulator, sink: Sink, answers: list[int]
) -> None:
    """What is not 2xx is a failure, a redirect too, which is not followed; each attempt is on record."""
    sink.answers = answers.copy()
    job_id = await client("netnut").done(callback_url=sink.url)
    sent = sim.callbacks("netnut", job_id=job_id)
    assert [callback.status for callback in sent] == answers
    assert [callback.attempt for callback in sent] == list(range(1, len(answers) + 1))
    assert len({callback.message.body for callback in sent}) == 1


async def test_callbacks_are_given_up(client: Clients, sim: Simulator) -> None:
    """An address where nobody listens gets a bounded number of attempts."""
    await client("netnut").done(callback_url="http://127.0.0.1:1/")
    assert [callback.status for callback in sim.callbacks()] == [None] * 4
    assert all(callback.error for callback in sim.callbacks())
