"""Each fault, shown once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from receiver.simulator import PROVIDERS, SimulatorSettings, fault

from .clients import WHSEC, Arrived, Client, Sink, callback_fields, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.simulator import Simulator

    Clients = Callable[[str], Client]

CALLING = ("netnut", "pulse", "perplexity-webhook", "firecrawl")
ENDED = ("job.completed", "job.failed")
MANUAL = SimulatorSettings(run_seconds=None, callback_backoff=0.01)


async def called_back(calling: Client, sink: Sink, *faults: Any) -> str:  # noqa: ANN401  any order
    """Submit a job with *faults* that calls *sink* back, let it end, and return its id."""
    if calling.name == "pulse":
        calling.sim.pulse_webhook(sink.url, WHSEC, events=ENDED)
    calling.sim.faults(calling.name, *faults)
    return await calling.done(**callback_fields(calling.name, sink.url))


def signed_well(name: str, arrived: Arrived) -> bool:
    """Say whether the signature that *name* put on a callback is right."""
    if name == "pulse":
        signed = f"{arrived.headers['webhook-id']}.{arrived.headers['webhook-timestamp']}.".encode()
        key = base64.b64decode(WHSEC.removeprefix("whsec_"))
        mac = base64.b64encode(hmac.new(key, signed + arrived.body, hashlib.sha256).digest()).decode()
        return arrived.headers["webhook-signature"] == f"v1,{mac}"
    if name == "firecrawl":
        mac = hmac.new(b"a simulated account", arrived.body, hashlib.sha256).hexdigest()
        return arrived.headers["x-firecrawl-signature"] == f"sha256={mac}"
    mac = hmac.new(b"per-job secret", arrived.body, hashlib.sha256).hexdigest()
    return arrived.headers["x-perplexity-signature"] == mac


def status_word(name: str, arrived: Arrived) -> str:
    """Return the status that a callback claims."""
    document = arrived.json()
    return str(
        {
            "netnut": lambda: document["status_code"],
            "pulse": lambda: document["data"]["status"],
            "perplexity-webhook": lambda: document["status"],
            "firecrawl": lambda: document["type"].removeprefix("crawl."),
        }[name]()
    )


# Callbacks


@pytest.mark.parametrize("name", CALLING)
async def test_late(client: Clients, sink: Sink, name: str) -> None:
    """The job is done long before its callback is sent."""
    job_id = await called_back(client(name), sink, fault("late", seconds=0.1))
    job = client(name).sim.job(job_id)
    (sent,) = client(name).sim.callbacks(name)
    assert job.ended_at is not None
    assert (sent.sent_at - job.ended_at).total_seconds() >= 0.1


@pytest.mark.parametrize("name", CALLING)
async def test_lost(client: Clients, sink: Sink, name: str) -> None:
    """No callback is sent, and the job can still be polled to its end."""
    job_id = await called_back(client(name), sink, "lost")
    assert sink.arrived == []
    assert (await client(name).status(job_id)).status_code == 200


@pytest.mark.parametrize("settings", [MANUAL])
@pytest.mark.parametrize("name", CALLING)
async def test_early(client: Clients, sim: Simulator, sink: Sink, name: str) -> None:
    """The callback is answered before the submission is; if it is refused, it comes again later."""
    if name == "pulse":
        sim.pulse_webhook(sink.url, WHSEC, events=ENDED)
    sim.faults(name, "early", count=None)
    await client(name).submitted(**callback_fields(name, sink.url))
    assert len(sink.arrived) == 1
    sink.answers = [503]
    await client(name).submitted(**callback_fields(name, sink.url))
    await sim.idle(timeout=60)
    assert [callback.status for callback in sim.callbacks()] == [200, 503, 200]


@pytest.mark.parametrize(("order", "copies"), [("twice", 2), (fault("burst", times=100), 100)])
@pytest.mark.parametrize("name", CALLING)
async def test_copies(client: Clients, sink: Sink, name: str, order: Any, copies: int) -> None:  # noqa: ANN401
    """Copies are the same bytes with the same headers."""
    await called_back(client(name), sink, order)
    assert len(sink.arrived) == copies
    assert len({arrived.body for arrived in sink.arrived}) == 1
    assert len({arrived.headers.get("webhook-signature") for arrived in sink.arrived}) == 1


@pytest.mark.parametrize("name", ["pulse", "perplexity-webhook", "firecrawl"])
async def test_forged(client: Clients, sink: Sink, name: str) -> None:
    """Where callbacks are signed, a forged one is signed with another key."""
    await called_back(client(name), sink, "forged")
    assert not signed_well(name, sink.arrived[0])
    await called_back(client(name), sink)
    assert signed_well(name, sink.arrived[1])


async def test_forged_without_signatures(client: Clients, sink: Sink) -> None:
    """Where nobody signs, a forged callback is one with a lying body."""
    await called_back(client("netnut"), sink, "forged")
    document = sink.arrived[0].json()
    assert document["response"] == {"text": "forged"}
    assert document["response_url"].startswith("http://attacker.invalid/")
    client("netnut").sim.faults("netnut", "forged")
    body = {"engine": "gemini", "prompt": "?", "callback_url": sink.url}
    await client("netnut").request("POST", "/search", json=body)
    await client("netnut").sim.idle(timeout=60)
    assert sink.arrived[1].json()["response"] == {"text": "forged"}


async def test_stale(client: Clients, sink: Sink) -> None:
    """The signature is right, over a time long ago."""
    await called_back(client("pulse"), sink, fault("stale", seconds=3600))
    (arrived,) = sink.arrived
    assert signed_well("pulse", arrived)
    assert 3590 < time.time() - int(arrived.headers["webhook-timestamp"]) < 3610


@pytest.mark.parametrize("name", ["pulse", "perplexity-webhook", "firecrawl"])
async def test_tampered(client: Clients, sink: Sink, name: str) -> None:
    """The body is JSON, but not the one that was signed."""
    await called_back(client(name), sink, "tampered")
    assert sink.arrived[0].json()["tampered"] is True
    assert not signed_well(name, sink.arrived[0])


async def test_lying_url(client: Clients, sink: Sink) -> None:
    """The notification names a result at another origin, by default a stranger's."""
    await called_back(client("netnut"), sink, "lying_url")
    await called_back(client("netnut"), sink, fault("lying_url", value=sink.url))
    first, second = (arrived.json()["response_url"] for arrived in sink.arrived)
    assert first.startswith("http://attacker.invalid/")
    assert second == sink.url


@pytest.mark.parametrize(
    ("name", "lie"),
    [("netnut", "500"), ("pulse", "failed"), ("perplexity-webhook", "FAILED"), ("firecrawl", "failed")],
)
async def test_lying_status(client: Clients, sink: Sink, name: str, lie: str) -> None:
    """A well-signed callback says the opposite of the truth, or a word that was asked for."""
    await called_back(client(name), sink, "lying_status")
    await called_back(client(name), sink, fault("lying_status", value="418"))
    assert [status_word(name, arrived) for arrived in sink.arrived] == [lie, "418"]


def _named(arrived: Arrived) -> list[Any]:
    """Return what stands where callbacks name their job."""
    document = arrived.json()
    data = document.get("data") or {}
    return [document.get("traceId"), document.get("job_id"), document.get("id"), data.get("job_id")]


@pytest.mark.parametrize("name", CALLING)
async def test_wrong_job(client: Clients, sink: Sink, name: str) -> None:
    """The callback names another job."""
    job_id = await called_back(client(name), sink, "wrong_job")
    assert job_id not in {str(value) for value in _named(sink.arrived[0])}
    other = await called_back(client(name), sink, fault("wrong_job", value="j-1"))
    assert "j-1" in _named(sink.arrived[1])
    assert other != "j-1"


@pytest.mark.parametrize("name", CALLING)
async def test_failed(client: Clients, sink: Sink, name: str) -> None:
    """The job fails, and its callback says so."""
    job_id = await called_back(client(name), sink, "failed")
    assert status_word(name, sink.arrived[0]) in {"500", "failed", "FAILED"}
    assert "fail" in (await client(name).status(job_id)).text.lower()


@pytest.mark.parametrize("name", CALLING)
async def test_not_json(client: Clients, sink: Sink, name: str) -> None:
    """The body is no JSON, however well it is signed."""
    await called_back(client(name), sink, "not_json")
    assert sink.arrived[0].body.startswith(b"<html>")
    assert name == "netnut" or signed_well(name, sink.arrived[0])


async def test_callbacks_on_demand(client: Clients, sim: Simulator, sink: Sink) -> None:
    """A callback can be sent again, forged or genuine, after the planned one was lost."""
    job_id = await called_back(client("pulse"), sink, "lost")
    forged = await sim.send_callback("pulse", job_id, "forged")
    genuine = await sim.send_callback("pulse", job_id, "twice")
    assert [signed_well("pulse", arrived) for arrived in sink.arrived] == [False, True, True]
    assert [callback.status for callback in (*forged, *genuine)] == [200, 200, 200]
    assert forged[0].message.faults == ("forged",)
    assert await sim.send_callback("yandex", await client("yandex").done()) == []


@pytest.mark.parametrize("settings", [MANUAL])
@pytest.mark.parametrize(
    ("name", "lie"), [("netnut", "200"), ("pulse", "completed"), ("perplexity-webhook", "COMPLETED")]
)
async def test_callbacks_before_the_end(
    client: Clients, sim: Simulator, sink: Sink, name: str, lie: str
) -> None:
    """A job that still runs can be called finished."""
    job_id = await called_back(client(name), sink)
    await sim.send_callback(name, job_id, fault("lying_status", value=lie))
    assert [status_word(name, arrived) for arrived in sink.arrived] == [lie]
    assert not sim.job(job_id).done


# Submissions


@pytest.mark.parametrize("name", PROVIDERS)
async def test_refused_submissions(client: Clients, sim: Simulator, name: str) -> None:
    """A submission is refused as often as ordered, with a body and nothing billed, and then accepted."""
    sim.faults(name, fault("submit_5xx", status=502, times=2))
    sim.faults(name, fault("submit_429", seconds=7), fault("submit_4xx", status=403))
    answers = [await client(name).submit() for _ in range(5)]
    assert [answer.status_code for answer in answers[:4]] == [502, 502, 429, 403]
    assert answers[2].headers["retry-after"] == "7"
    assert all(answer.json() for answer in answers[:4])
    assert answers[4].is_success
    assert len(sim.jobs(name)) == 1
    assert not any(sim.planned().values())


@pytest.mark.parametrize("name", PROVIDERS)
async def test_submit_drop(client: Clients, sim: Simulator, name: str) -> None:
    """The connection ends without an answer, and the job is billed and runs."""
    sim.faults(name, "submit_drop")
    with pytest.raises(httpx.TransportError):
        await client(name).submit()
    await sim.idle(timeout=60)
    (job,) = sim.jobs(name)
    assert job.done
    assert sim.requests(name)[0].status is None
    assert (await client(name).status(job.id)).status_code == 200


async def test_submit_slow(client: Clients, sim: Simulator) -> None:
    """The job is billed at once and the answer takes its time."""
    sim.faults("perplexity", fault("submit_slow", seconds=0.2))
    started = time.monotonic()
    submission = asyncio.create_task(client("perplexity").submit())

    async def billed() -> bool:
        return len(sim.jobs()) == 1

    await until(billed)
    assert (await submission).status_code == 200
    assert time.monotonic() - started >= 0.2


# Polls and fetches


@pytest.mark.parametrize("name", PROVIDERS)
async def test_refused_polls(client: Clients, sim: Simulator, name: str) -> None:
    """Polls of the job are refused as often as ordered, and then answered."""
    sim.faults(name, fault("poll_5xx", times=2), fault("poll_429", seconds=3))
    job_id = await client(name).done()
    answers = [await client(name).status(job_id) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503, 503, 429, 200]
    assert answers[2].headers["retry-after"] == "3"


@pytest.mark.parametrize("name", PROVIDERS)
async def test_bodies(client: Clients, sim: Simulator, name: str) -> None:
    """A result is trickled, or as big as ordered; it is JSON all the same."""
    sim.faults(name, fault("slow_body", seconds=0.1))
    job_id = await client(name).done()
    started = time.monotonic()
    assert (await client(name).status(job_id)).json()
    assert time.monotonic() - started >= 0.1
    sim.faults(name, fault("huge_body", size=300_000))
    answer = await client(name).status(await client(name).done())
    assert len(answer.content) == 300_000
    assert answer.json()


@pytest.mark.parametrize("name", PROVIDERS)
async def test_redirect(client: Clients, sim: Simulator, name: str) -> None:
    """A poll is sent elsewhere."""
    sim.faults(name, fault("redirect", status=307, value="http://elsewhere.invalid/x"))
    answer = await client(name).status(await client(name).done())
    assert answer.status_code == 307
    assert answer.headers["location"] == "http://elsewhere.invalid/x"


@pytest.mark.parametrize("name", PROVIDERS)
async def test_expired(client: Clients, sim: Simulator, name: str) -> None:
    """The result is gone once the job has ended; Pulse has a state for it."""
    sim.faults(name, "expired")
    answer = await client(name).status(await client(name).done())
    if name == "pulse":
        assert answer.json()["status"] == "expired"
    else:
        assert answer.status_code == 404


@pytest.mark.parametrize("name", PROVIDERS)
async def test_never(client: Clients, sim: Simulator, name: str) -> None:
    """The job is not done, however long one waits, unless it is released."""
    sim.faults(name, "never")
    job_id = await client(name).done()
    assert not sim.job(job_id).done
    assert sim.release(job_id)


async def test_large_result(client: Clients, sim: Simulator) -> None:
    """The result is at a URL; faults of bodies and expiry are those of its download."""
    sim.faults("pulse", "large_result", fault("huge_body", size=100_000))
    job_id = await client("pulse").done()
    result = (await client("pulse").status(job_id)).json()["result"]
    assert result == {
        "is_url": True,
        "url": f"{sim.base_url('pulse')}/large_results/{job_id}",
        "page_count": 70,
    }
    path = f"/large_results/{job_id}"
    assert len((await client("pulse").request("GET", path)).content) == 100_000
    gone = await client("pulse").request("GET", path)
    assert gone.status_code == 410
    assert gone.json()["error"].keys() == {"code", "message"}
    sim.faults("pulse", "large_result", "expired")
    job_id = await client("pulse").done()
    assert (await client("pulse").request("GET", f"/large_results/{job_id}")).status_code == 410


@pytest.mark.parametrize("settings", [MANUAL])
@pytest.mark.parametrize("end", ["error", "response"])
async def test_early_error(client: Clients, sim: Simulator, end: str) -> None:
    """An operation has an error before it is done, and may even succeed."""
    sim.faults("yandex", fault("early_error", value=end))
    job_id = await client("yandex").done()
    running = (await client("yandex").status(job_id)).json()
    assert running["done"] is False
    assert running["error"]["code"] == 13
    sim.release(job_id)
    done = (await client("yandex").status(job_id)).json()
    assert done["done"] is True
    assert end in done
    assert len({"error", "response"} & done.keys()) == 1
