"""Odd callbacks, each over a real socket through a running receiver."""

import gzip
import json
import time
import zlib
from typing import Any
from urllib.parse import parse_qs

import pytest

from receiver import Job
from receiver.core.signature.verify import load_key, sign
from tests.path.world import until

from .making import scheme_of
from .world import SECRETS, World

RECORDS = b'[{"url": "https://a.example", "name": "A"}, {"url": "https://b.example", "name": "B"}]'


def now() -> int:
    """The time, in milliseconds."""
    return time.time_ns() // 1_000_000


def query_of(world: World) -> dict[str, str]:
    """The query of the first request to the provider."""
    return {name: values[0] for name, values in parse_qs(world.asked[0].url.query.decode()).items()}


def signed(name: str, body: bytes, secret: str, *, url: str = "") -> dict[str, str]:
    """The headers of a genuine callback."""
    scheme = scheme_of(name)
    key = load_key("k", secret, scheme=scheme)
    return {
        header.decode(): value.decode()
        for header, value in sign(body, scheme=scheme, key=key, now=now(), url=url)
    }


async def collect(world: World) -> tuple[Job, str, dict[str, str]]:
    """A Bright Data collection under way, its callback URL, and the header that authenticates callbacks."""
    world.answer("POST", "/datasets/v3/trigger", b'{"snapshot_id": "s_1"}')
    job = await world.submit("brightdata", {"dataset_id": "gd_1", "input": [{"url": "https://a.example"}]})
    asked = query_of(world)
    return job, asked["endpoint"], {"authorization": asked["auth_header"]}


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
async def test_a_compressed_body(world: World, encoding: str, compress: Any) -> None:  # noqa: ANN401
    """Bright Data compresses what it posts: the result is what was compressed, and names no job."""
    job, url, headers = await collect(world)
    body = compress(RECORDS)
    answer = await world.call("POST", url, content=body, headers=headers | {"content-encoding": encoding})
    assert answer.status_code == 200
    assert await world.outcome(job) == ("succeeded", "callback", RECORDS)


async def test_a_body_compressed_beyond_the_limit(world: World) -> None:
    """A small body that inflates without end is kept, acknowledged, and ends nothing."""
    job, url, headers = await collect(world)
    bomb = gzip.compress(b"[" + b" " * 40_000_000 + b"]")
    answer = await world.call("POST", url, content=bomb, headers=headers | {"content-encoding": "gzip"})
    assert answer.status_code == 200
    record = await world.receiver.running.store.record(job.id)
    assert [(one.verdict, one.code) for one in record.callbacks] == [("unreadable", "body_inflates_too_far")]
    assert not record.job.state.ended


async def test_a_forged_compressed_body(world: World) -> None:
    """Without the header that we chose for the job, the records are nobody's."""
    job, url, _ = await collect(world)
    answer = await world.call("POST", url, content=RECORDS, headers={"authorization": "guess"})
    assert answer.status_code == 401
    assert not (await world.receiver.job(job.id)).state.ended


@pytest.mark.parametrize("twice", [True, False])
async def test_json_inside_json(world: World, *, twice: bool) -> None:
    """LlamaParse sends a JSON text that holds the JSON once more, or the object itself; both are asked for."""
    done = b'{"job": {"id": "pjb-1", "status": "COMPLETED"}, "markdown": {"pages": []}}'
    world.answer("POST", "/api/v2/parse", b'{"id": "pjb-1", "status": "PENDING"}')
    world.answer("GET", "/api/v2/parse/pjb-1", done)
    job = await world.submit("llamaparse", {"file_id": "f", "tier": "fast"})
    hook = json.loads(world.asked[0].content)["webhook_configurations"][0]
    body = json.dumps({"event_type": "parse.success", "data": {"job_id": "pjb-1"}})
    content = (json.dumps(body) if twice else body).encode()
    headers = signed("llamaparse", content, hook["webhook_signing_secret"])
    answer = await world.call("POST", hook["webhook_url"], content=content, headers=headers)
    assert answer.status_code == 200
    assert await world.outcome(job) == ("succeeded", "callback", done)


async def test_a_form(world: World) -> None:
    """Twilio posts a form to the account's address and signs the address with it."""
    body = b"CallSid=CA1234567890ABCDE&CallStatus=completed&From=%2B14158675309"
    url = f"{world.url}/webhooks/twilio?kind=call"
    headers = signed("twilio", body, SECRETS["TWILIO_AUTH_TOKEN"], url=url)
    headers["content-type"] = "application/x-www-form-urlencoded"
    assert (await world.call("POST", url, content=body, headers=headers)).status_code == 200
    elsewhere = f"{world.url}/webhooks/twilio?kind=other"
    assert (await world.call("POST", elsewhere, content=body, headers=headers)).status_code == 401
    found = await world.jobs()
    assert [job.remote_id for job in found] == ["CA1234567890ABCDE"]
    assert await world.outcome(found[0]) == ("succeeded", "callback", body)


async def test_a_get_with_the_id_in_the_query(world: World) -> None:
    """DataForSEO pings with GET, having filled in $id: the task is asked for, once and with our credentials."""
    made = b'{"tasks": [{"id": "t-1", "status_code": 20100, "result": null}]}'
    done = b'{"tasks": [{"id": "t-1", "status_code": 20000, "result": [{"items": []}]}]}'
    world.answer("POST", "/v3/serp/google/organic/task_post", made)
    world.answer("GET", "/v3/serp/google/organic/task_get/advanced/t-1", done)
    job = await world.submit("dataforseo", {"keyword": "pizza"})
    pingback = json.loads(world.asked[0].content)[0]["pingback_url"]
    assert pingback.endswith("?id=$id&tag=$tag")
    url = pingback.replace("$id", "t-1").replace("$tag", "")
    assert (await world.call("GET", url)).status_code == 200
    assert await world.outcome(job) == ("succeeded", "callback", b'[{"items": []}]')
    assert world.asked[-1].headers["authorization"].startswith("Basic ")


async def test_an_error_of_the_whole_account_is_a_refusal(world: World) -> None:
    """DataForSEO answers 200 without tasks: nothing was taken, and the reason is told; nobody waits for an outcome."""
    error = b'{"status_code": 40100, "status_message": "You are not Authorized.", "tasks_count": 0, "tasks": null}'
    world.answer("POST", "/v3/serp/google/organic/task_post", error)
    job = await world.submit("dataforseo", {"keyword": "pizza"})
    assert (str(job.state), job.settled_by) == ("failed", "submit")
    assert job.error is not None
    assert job.error.text == "You are not Authorized."


async def test_an_error_of_the_whole_account_ends_no_task(world: World) -> None:
    """Asked about a task, DataForSEO may say that we ask too often: the task runs on."""
    world.answer(
        "POST", "/v3/serp/google/organic/task_post", b'{"tasks": [{"id": "t-1", "status_code": 20100}]}'
    )
    busy = b'{"status_code": 40202, "status_message": "Too many requests.", "tasks": null}'
    world.answer("GET", "/v3/serp/google/organic/task_get/advanced/t-1", busy)
    job = await world.submit("dataforseo", {"keyword": "pizza"})
    url = json.loads(world.asked[0].content)[0]["pingback_url"].replace("$id", "t-1").replace("$tag", "")
    assert (await world.call("GET", url)).status_code == 200
    await until(lambda: world.asked[-1].method == "GET")
    assert not (await world.receiver.job(job.id)).state.ended


async def test_a_get_for_another_job(world: World) -> None:
    """A ping that names another task is a reason to ask for ours, and what it names is not heeded."""
    world.answer(
        "POST", "/v3/serp/google/organic/task_post", b'{"tasks": [{"id": "t-1", "status_code": 20100}]}'
    )
    job = await world.submit("dataforseo", {"keyword": "pizza"})
    pingback = json.loads(world.asked[0].content)[0]["pingback_url"]
    assert (await world.call("GET", pingback.replace("$id", "t-2"))).status_code == 200
    record = await world.receiver.running.store.record(job.id)
    assert [(one.verdict, one.code) for one in record.callbacks] == [("unreadable", "job_id_mismatch")]


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_put(world: World, method: str) -> None:
    """Deepgram calls back with PUT where it is asked to; the body is all there is."""
    world.answer("POST", "/v1/listen", b'{"request_id": "r-1"}')
    job = await world.submit("deepgram", {"url": "https://a.example/a.mp3", "callback_method": "put"})
    body = b'{"metadata": {"request_id": "r-1"}, "results": {"channels": []}}'
    answer = await world.call(method, query_of(world)["callback"], content=body)
    assert answer.status_code == 200
    assert await world.outcome(job) == ("succeeded", "callback", body)


async def test_options_within_a_second(world: World) -> None:
    """HeyGen asks with OPTIONS whether an address is there; nothing is recorded, and others get 405 or 404."""
    before = time.process_time()
    answer = await world.call("OPTIONS", f"{world.url}/webhooks/heygen")
    assert time.process_time() - before < 1
    assert answer.status_code == 200
    assert answer.headers["allow"] == "POST, OPTIONS"
    assert not answer.content
    assert (await world.call("OPTIONS", f"{world.url}/webhooks/github")).status_code == 405
    assert (await world.call("OPTIONS", f"{world.url}/webhooks/nobody")).status_code == 404
    assert await world.jobs() == []


async def test_a_body_that_names_no_job(world: World) -> None:
    """NetNut's SERP API posts a result without an id: the token alone names the job."""
    world.answer("GET", "/search", b'{"message": "Request received", "traceId": "t-1", "response_url": "x"}')
    job = await world.submit("netnut-serp", {"q": "pizza"})
    assert job.remote_id == "t-1"
    body = b'{"data": {"organic": [], "input": {"jobId": "j-1"}}}'
    answer = await world.call("POST", query_of(world)["callbackUrl"], content=body)
    assert answer.status_code == 200
    assert await world.outcome(job) == ("succeeded", "callback", body)


async def test_a_challenge_is_repeated(world: World) -> None:
    """Slack verifies an address by a challenge: a genuine one is repeated, a forged one is not."""
    body = (
        b'{"type": "url_verification", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}'
    )
    url = f"{world.url}/webhooks/slack"
    headers = signed("slack", body, SECRETS["SLACK_SIGNING_SECRET"])
    answer = await world.call("POST", url, content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert answer.text == json.loads(body)["challenge"]
    forged = await world.call("POST", url, content=body.replace(b"3eZ", b"3eY"), headers=headers)
    assert forged.status_code == 401
    assert "3eY" not in forged.text
    assert await world.jobs() == []
