"""What bad input gets at the addresses that providers call: the table of docs/http.md, line by line."""

import asyncio
import hmac
import json
import socket
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from receiver import Job, Receiver
from receiver.core.model import Verdict
from receiver.storage.queries import Page

from .world import PATIENCE, PULSE_SECRET, REQUESTS, World

SIGNED = "perplexity-webhook"


class Target:
    """A running receiver with one signed job that never ends by itself."""

    def __init__(self, world: World, receiver: Receiver, client: httpx.AsyncClient, job: Job) -> None:
        self.world = world
        self.receiver = receiver
        self.client = client
        self.job = job
        self.url = world.callback_url(SIGNED)
        self.remote_id = job.remote_id
        keys = receiver.running.keys
        self.secret = keys.job_secret(job.id, receiver.running.catalog[SIGNED], master=keys.newest)

    def signature(self, body: bytes) -> str:
        """What the provider would sign *body* with."""
        return hmac.new(self.secret, body, "sha256").hexdigest()

    async def post(
        self,
        body: bytes,
        headers: Mapping[str, str] | list[tuple[bytes, bytes]] | None = None,
        url: str | None = None,
    ) -> httpx.Response:
        """Send a callback, genuine unless *headers* say otherwise."""
        if headers is None:
            headers = {"x-perplexity-signature": self.signature(body)}
        return await self.client.post(url or self.url, content=body, headers=headers)

    async def kept(self) -> list[tuple[Verdict, str | None]]:
        """What became of every callback that is stored."""
        found = await self.receiver.running.store.callbacks(Page())
        return [(one.verdict, one.code) for one in found]

    async def state(self) -> str:
        """The job's state."""
        return (await self.receiver.job(self.job.id)).state.value


@pytest.fixture
async def target(world: World) -> AsyncIterator[Target]:
    """A receiver with its signed job."""
    world.simulator.faults(SIGNED, "never", count=None)
    async with world.receiver() as receiver, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        job = await receiver.submit(SIGNED, REQUESTS[SIGNED])
        yield Target(world, receiver, client, job)


async def raw(world: World, request: bytes, *, patience: float = 8.0) -> bytes:
    """Send bytes as they are; return all that comes back until the connection closes or patience ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(request)
    answer = b""
    try:
        async with asyncio.timeout(patience):
            while chunk := await reader.read(65536):
                answer += chunk
                if b"\r\n\r\n" in answer and b"connection: close" not in answer.lower():
                    break
    except TimeoutError:
        answer += b"(still open)"
    finally:
        writer.close()
    return answer


async def test_unknown_addresses_get_the_same_empty_404(target: Target) -> None:
    """Unknown provider, wrong, foreign and mangled tokens, path tricks: one answer, nothing kept."""
    token = target.url.rpartition("/")[2]
    flipped = token[:-1] + ("A" if token[-1] != "A" else "B")
    base = target.world.url
    paths = [
        f"/callbacks/unknown/{token}",
        f"/callbacks/{SIGNED}/{flipped}",
        f"/callbacks/netnut/{token}",
        f"/callbacks/{SIGNED}/{token}/",
        f"/callbacks/{SIGNED}/{token}%2f",
        f"/callbacks/{SIGNED}/..%2f{token}",
        f"/callbacks/{SIGNED}/{token}%00",
        f"/callbacks/{SIGNED}/%ff%fe",
        f"/callbacks/{SIGNED}/{'A' * 10_000}",
        f"/callbacks/{SIGNED}/",
        f"/callbacks/{SIGNED}",
        f"/webhooks/{SIGNED}",
        "/webhooks/unknown",
        "/callbacks",
        "/elsewhere",
    ]
    answers = set()
    for path in paths:
        answer = await target.client.post(base + path, content=b"{}")
        headers = {k: v for k, v in answer.headers.items() if k != "date"}
        answers.add((answer.status_code, answer.content, tuple(sorted(headers.items()))))
    assert len(answers) == 1
    assert answers.pop()[:2] == (404, b"")
    assert await target.kept() == []


async def test_a_wrong_method_gets_405_with_allow(target: Target) -> None:
    """The provider posts; anything else is told so and not kept."""
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = await target.client.request(method, target.url)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert await target.kept() == []


async def test_bad_signatures_get_401_with_a_code_and_go_to_quarantine(target: Target, world: World) -> None:
    """Missing, empty, wrong, truncated, non-ASCII, doubled, another job's: each is named and kept."""
    body = json.dumps({"job_id": target.remote_id, "status": "COMPLETED", "response": {}}).encode()
    good = target.signature(body)
    name = b"x-perplexity-signature"
    other = await target.receiver.submit(SIGNED, REQUESTS[SIGNED])
    keys = target.receiver.running.keys
    secret = keys.job_secret(other.id, target.receiver.running.catalog[SIGNED], master=keys.newest)
    foreign = hmac.new(secret, body, "sha256").hexdigest()
    cases: list[tuple[list[tuple[bytes, bytes]], str]] = [
        ([], "signature_missing"),
        ([(name, b"")], "signature_malformed"),
        ([(name, b"0" * 64)], "signature_mismatch"),
        ([(name, good[:-2].encode())], "signature_malformed"),
        ([(name, "é".encode("latin-1") * 64)], "signature_malformed"),
        ([(name, good.encode()), (name, good.encode())], "signature_malformed"),
        ([(name, foreign.encode())], "signature_mismatch"),
    ]
    for headers, code in cases:
        answer = await target.post(body, headers)
        assert (answer.status_code, answer.json()) == (401, {"code": code})
    assert sorted(await target.kept(), key=str) == sorted(
        ((Verdict.REJECTED, code) for _, code in cases), key=str
    )
    assert await target.state() == "submitted"


async def test_a_stale_or_future_timestamp_gets_401(target: Target, world: World) -> None:
    """Genuine, but signed too long ago or too far ahead: rejected by the scheme's tolerance."""
    body = b'{"type": "job.completed", "data": {"job_id": "unheard of"}}'
    for shift, code in ((-86_400, "timestamp_stale"), (86_400, "timestamp_future")):
        when = datetime.now(UTC) + timedelta(seconds=shift)
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(when.timestamp())),
            "webhook-signature": Webhook(PULSE_SECRET).sign("msg_1", when, body.decode()),
        }
        answer = await target.post(body, headers, f"{world.url}/webhooks/pulse")
        assert (answer.status_code, answer.json()) == (401, {"code": code})


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_gets_413_and_the_connection_closes(
    world: World, *, chunked: bool
) -> None:
    """10 MiB by default, set to a little here; a chunked body is cut off just the same."""
    world.environ["RECEIVER_MAX_BODY"] = "1000"
    world.simulator.faults(SIGNED, "never")
    async with world.receiver() as receiver:
        await receiver.submit(SIGNED, REQUESTS[SIGNED])
        path = world.callback_url(SIGNED).removeprefix(world.url).encode()
        head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\n"
        if chunked:
            request = (
                head + b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n"
            )
        else:
            request = head + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001
        answer = await raw(world, request)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer.lower()
        assert b"(still open)" not in answer
        assert await receiver.running.store.callbacks(Page()) == []


async def test_a_request_that_takes_too_long_gets_408_and_closes(world: World) -> None:
    """Half a body, half a head, and silence: each connection ends by itself."""
    world.environ["RECEIVER_RECEIVE_TIMEOUT"] = "1"
    world.simulator.faults(SIGNED, "never")
    async with world.receiver() as receiver:
        await receiver.submit(SIGNED, REQUESTS[SIGNED])
        path = world.callback_url(SIGNED).removeprefix(world.url).encode()
        half = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf"
        answers = await asyncio.gather(raw(world, half), raw(world, half[:40]), raw(world, b""))
        assert answers[0].startswith(b"HTTP/1.1 408 ")
        assert list(answers[1:]) == [b"", b""]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"not json", "body_not_json"),
        (b"\xff{}", "body_not_utf8"),
        (b"[" * 100_000, "body_not_json"),
        (b'{"job_id": "x", "status": NaN}', "json_number_range"),
        (b'{"status": "COMPLETED", "status": "FAILED"}', "json_repeated_key"),
        (b"{}", "status_missing"),
        (b'{"job_id": "another", "status": "COMPLETED", "response": {}}', "job_id_mismatch"),
    ],
)
async def test_genuine_but_unreadable_is_acknowledged_and_kept(
    target: Target, body: bytes, code: str
) -> None:
    """200, `unreadable`, kept for a later replay; the provider is asked, and what the body says moves nothing."""
    answer = await target.post(body)
    assert answer.status_code == 200
    assert await target.kept() == [(Verdict.UNREADABLE, code)]
    # It may have been asked by now, and then it has said that the job runs.
    assert await target.state() in {"submitted", "running"}


async def test_a_flood_of_forged_callbacks_is_answered_and_not_all_written(world: World) -> None:
    """Each gets its 401; as many as quarantine holds are kept, and a genuine one among them is taken."""
    world.environ["RECEIVER_QUARANTINE"] = "5"
    world.simulator.faults(SIGNED, "never", count=None)
    async with world.receiver() as receiver, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        target = Target(world, receiver, client, await receiver.submit(SIGNED, REQUESTS[SIGNED]))
        body = json.dumps({"job_id": target.remote_id, "status": "COMPLETED", "response": {}}).encode()
        for _ in range(20):
            answer = await target.post(body, {"x-perplexity-signature": "0" * 64})
            assert (answer.status_code, answer.json()) == (401, {"code": "signature_mismatch"})
        assert (await target.post(body)).status_code == 200
        assert Counter(verdict for verdict, _ in await target.kept()) == {
            Verdict.REJECTED: 5,
            Verdict.ACCEPTED: 1,
        }


async def test_a_locked_database_gets_503_within_two_seconds_and_recovers(
    target: Target, world: World
) -> None:
    """While another process holds the database nothing is acknowledged; afterwards the retry is taken."""
    body = json.dumps({"job_id": target.remote_id, "status": "COMPLETED", "response": {}}).encode()
    holder = sqlite3.connect(world.folder / "receiver.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await target.post(body)
        assert loop.time() - began < 2.5
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert (await target.post(body)).status_code == 200
    assert await target.state() == "succeeded"


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_an_ambiguous_or_oversized_head_gets_400(target: Target, world: World, head: bytes) -> None:
    """What two servers might read differently reaches no application."""
    assert (await raw(world, head)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "endless",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 400_000,
        b"POST /" + b"y" * 400_000,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 100_000,
    ],
    ids=["header", "address", "trailers"],
)
async def test_a_head_without_an_end_ends_the_connection(world: World, endless: bytes) -> None:
    """What never becomes a request is not collected until its time is up."""
    world.environ["RECEIVER_RECEIVE_TIMEOUT"] = "3600"
    async with world.receiver():
        # Whoever is still sending may hear of the end before the answer that came with it.
        with suppress(ConnectionError):
            answer = await raw(world, endless, patience=PATIENCE)
            assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))
            assert b"(still open)" not in answer


async def test_a_body_before_a_pipelined_head_is_no_part_of_it(target: Target, world: World) -> None:
    """A callback that ends where another one begins is answered as if it had come alone."""
    body = json.dumps({"job_id": target.remote_id, "pad": "x" * 100_000, "response": {}}).encode()
    path = target.url.removeprefix(world.url).encode()
    head = (
        b"POST "
        + path
        + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
        + str(len(body)).encode()
        + b"\r\nX-Perplexity-Signature: "
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    try:
        writer.write(head)
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(target.signature(body).encode() + b"\r\n\r\n" + body + b"POST / HTTP/1.1\r\nHo")
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    finally:
        writer.close()


async def test_a_trailer_is_no_header(target: Target, world: World) -> None:
    """A signature that comes after the body is not there when the signature is checked."""
    body = json.dumps({"job_id": target.remote_id, "status": "COMPLETED", "response": {}}).encode()
    path = target.url.removeprefix(world.url).encode()
    request = (
        b"POST "
        + path
        + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        + f"{len(body):x}\r\n".encode()
        + body
        + b"\r\n0\r\nX-Perplexity-Signature: "
        + target.signature(body).encode()
        + b"\r\n\r\n"
    )
    assert (await raw(world, request)).startswith(b"HTTP/1.1 401 ")


async def test_a_client_that_leaves_mid_body_leaves_no_trace(target: Target, world: World) -> None:
    """Half a callback is none: nothing stored, and the server goes on."""
    path = target.url.removeprefix(world.url).encode()
    with socket.create_connection(("127.0.0.1", world.port)) as connection:
        connection.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
    await asyncio.sleep(0.1)
    assert await target.kept() == []
    assert (await target.client.get(f"{world.url}/callbacks")).status_code == 404


async def test_a_missing_key_is_our_fault(world: World) -> None:
    """Without PULSE_WEBHOOK_SECRET a webhook gets 503, never 401: the provider must try again."""
    del world.environ["PULSE_WEBHOOK_SECRET"]
    async with world.receiver(), httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.post(f"{world.url}/webhooks/pulse", content=b"{}")
        assert answer.status_code == 503
        assert answer.json()["code"] == "key_unavailable"
