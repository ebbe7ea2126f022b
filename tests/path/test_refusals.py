"""Requests that are refused before anything is recorded: none goes unseen, and a good token always wakes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog
from structlog.testing import LogCapture

from receiver import Job, Receiver
from receiver.core.model import Verdict
from receiver.storage.queries import Page

from .test_bad_input import SIGNED, raw
from .world import API_TOKEN, REQUESTS, World, until

#: Signs nothing; its result is fetched.
WAKER = "netnut"


@pytest.fixture(params=["sqlite", "postgresql"])
def world(world: World, request: pytest.FixtureRequest) -> World:
    """A world on either database."""
    if request.param == "postgresql":
        world.environ["RECEIVER_DATABASE_URL"] = request.getfixturevalue("migrated_url")
    return world


@pytest.fixture
def log() -> Iterator[LogCapture]:
    """What is logged."""
    capture, before = LogCapture(), structlog.get_config()
    structlog.configure(processors=[capture])
    yield capture
    structlog.configure(**before)


class Target:
    """A running receiver with one job whose callback never comes by itself."""

    def __init__(self, world: World, receiver: Receiver, client: httpx.AsyncClient, job: Job) -> None:
        self.world, self.receiver, self.client, self.job = world, receiver, client, job
        self.url = world.callback_url(job.provider)
        self.path = self.url.removeprefix(world.url)
        self.token = self.path.rpartition("/")[2]

    async def lines(self) -> list[tuple[str | None, int]]:
        """What the timeline says of refusals: code and status."""
        record = await self.receiver.running.store.record(self.job.id)
        return [(line.code, line.detail["status"]) for line in record.attempts if line.step == "receive"]

    async def noted(self) -> bool:
        """Whether the timeline says anything of one."""
        return await self.lines() != []

    async def metrics(self, name: str) -> dict[str, float]:
        """A counter, by its labels."""
        text = (await self.client.get(self.world.url + "/metrics")).text
        return {labels: float(value) for labels, value in re.findall(rf"{name}_total{{(.*)}} (\S+)", text)}


@asynccontextmanager
async def target(world: World, provider: str) -> AsyncIterator[Target]:
    """A receiver with a job of *provider*; bodies of more than a thousand bytes are too large."""
    world.environ |= {"RECEIVER_MAX_BODY": "1000", "RECEIVER_RECEIVE_TIMEOUT": "1"}
    world.simulator.faults(provider, "lost" if provider == WAKER else "never", count=None)
    async with world.receiver() as receiver, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        yield Target(world, receiver, client, await receiver.submit(provider, REQUESTS[provider]))


def _head(path: str, *lines: bytes, method: bytes = b"POST") -> bytes:
    return b"\r\n".join([method + b" " + path.encode() + b" HTTP/1.1", b"Host: a", *lines, b"", b""])


REFUSED: dict[str, tuple[int, str]] = {
    "too large": (413, "body_too_large"),
    "too large in chunks": (413, "body_too_large"),
    "late": (408, "body_late"),
    "broken off": (400, "body_incomplete"),
}


def _sent(path: str, how: str) -> bytes:
    match how:
        case "too large":
            return _head(path, b"Content-Length: 2000") + bytes(2000)
        case "too large in chunks":
            return _head(path, b"Transfer-Encoding: chunked") + b"7d0\r\n" + bytes(2000) + b"\r\n0\r\n\r\n"
        case _:
            return _head(path, b"Content-Length: 100") + b"half"


async def _send(world: World, request: bytes, *, ends: bool) -> bytes:
    if not ends:
        return await raw(world, request)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(request)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("how", REFUSED)
async def test_a_refused_body_is_seen_everywhere(world: World, log: LogCapture, how: str) -> None:
    """A line in the log without the token, a counter, a line in the timeline; nothing is kept as a callback."""
    status, code = REFUSED[how]
    async with target(world, SIGNED) as one:
        answer = await _send(world, _sent(one.path, how), ends=how == "broken off")
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        await until(one.noted)
        assert await one.lines() == [(code, status)]
        counted = await one.metrics("receiver_requests_refused")
        assert counted == {f'route="callbacks",status="{status}"': 1}
        (line,) = [entry for entry in log.entries if entry["event"] == "request_refused"]
        assert (line["status"], line["code"], line["job"]) == (status, code, one.job.id)
        assert one.token not in json.dumps(log.entries, default=str)
        assert await one.receiver.running.store.callbacks(Page()) == []
        # Its provider signs, so a token alone moves nothing.
        assert (await one.receiver.job(one.job.id)).state.value == "submitted"


@pytest.mark.parametrize("how", REFUSED)
async def test_a_refused_body_wakes_where_the_token_is_all(world: World, how: str) -> None:
    """The provider signs nothing: it is asked at once, and the job ends long before its regular look."""
    async with target(world, WAKER) as one:
        await until(lambda: world.simulator.jobs(WAKER)[-1].done)
        answer = await _send(world, _sent(one.path, how), ends=how == "broken off")
        assert answer.startswith(b"HTTP/1.1 %d " % REFUSED[how][0])
        await until(lambda: _ended(one))


async def _ended(one: Target) -> bool:
    return (await one.receiver.job(one.job.id)).state.value == "succeeded"


@pytest.mark.parametrize(
    "method",
    ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT", "TRACE", "BREW", "post", "PRI", "PLAY"],
)
async def test_any_method_wakes_where_the_token_is_all(world: World, method: str) -> None:
    """It is taken as a POST is: kept, acknowledged, and the provider is asked."""
    async with target(world, WAKER) as one:
        await until(lambda: world.simulator.jobs(WAKER)[-1].done)
        asked = _head(one.path, b"Content-Length: 2", b"Connection: close", method=method.encode())
        assert (await raw(world, asked + b"{}")).startswith(b"HTTP/1.1 200 ")
        await until(lambda: _ended(one))
        (kept,) = await one.receiver.running.store.callbacks(Page())
        assert (kept.method, kept.verdict in {Verdict.ACCEPTED, Verdict.UNREADABLE}) == (method, True)
        assert (await one.receiver.running.store.callback(kept.id)).body == b"{}"


async def test_who_asks_for_a_tunnel_wakes_and_gets_none(world: World) -> None:
    """CONNECT: a 2xx would open one (RFC 9110, 9.3.6), so it is refused as a method, and the provider is asked."""
    async with target(world, WAKER) as one:
        await until(lambda: world.simulator.jobs(WAKER)[-1].done)
        answer = await raw(world, _head(one.path, b"Connection: close", method=b"CONNECT"))
        assert answer.startswith(b"HTTP/1.1 405 ")
        await until(lambda: _ended(one))
        assert await one.lines() == [("method_not_allowed", 405)]


@pytest.mark.parametrize("method", ["PUT", "BREW", "post"])
async def test_another_method_is_refused_where_a_signature_is_due(world: World, method: str) -> None:
    """405, and the timeline has a line."""
    async with target(world, SIGNED) as one:
        asked = _head(one.path, b"Content-Length: 2", b"Connection: close", method=method.encode())
        assert (await raw(world, asked + b"{}")).startswith(b"HTTP/1.1 405 ")
        await until(one.noted)
        assert await one.lines() == [("method_not_allowed", 405)]


@pytest.mark.parametrize("provider", [SIGNED, WAKER])
@pytest.mark.parametrize(
    ("lines", "rest"),
    [
        ([b"Host: b", b"Content-Length: 2"], b"{}"),
        ([b"Transfer-Encoding: gzip, chunked"], b""),
        ([b"Content-Length: 2", b"Content-Length: 3"], b"{}"),
        ([b"X: " + b"y" * 100_000], b""),
        ([b"Transfer-Encoding: chunked"], b"no chunk\r\n"),
    ],
)
async def test_what_is_no_request_is_seen_too(
    world: World, provider: str, lines: list[bytes], rest: bytes
) -> None:
    """400: its token is in its first line, so its job has a line; and where the token is all it wakes."""
    async with target(world, provider) as one:
        if provider == WAKER:
            await until(lambda: world.simulator.jobs(WAKER)[-1].done)
        answer = await raw(world, _head(one.path, *lines) + rest)
        assert answer.startswith(b"HTTP/1.1 400 ")
        await until(one.noted)
        ((code, status),) = await one.lines()
        assert (code in {"request_malformed", "body_incomplete"}, status) == (True, 400)
        if provider == WAKER:
            await until(lambda: _ended(one))


async def test_near_misses_are_counted_and_wake(world: World, log: LogCapture) -> None:
    """A slash too many, another provider's name: 404 as ever, and what was meant is known in here."""
    async with target(world, WAKER) as one:
        for path in (one.path + "/", f"/callbacks/pulse/{one.token}", f"/hooks{one.path}"):
            answer = await one.client.post(world.url + path, content=b"{}")
            assert (answer.status_code, answer.content) == (404, b"")
        await one.client.post(f"{world.url}/webhooks/pulse/", content=b"{}")
        await one.client.post(f"{world.url}/nothing/like/it", content=b"{}")
        await until(lambda: _ended(one))
        assert await one.metrics("receiver_addresses_missed") == {
            'kind="trailing_slash",provider="netnut"': 1,
            'kind="wrong_provider",provider="netnut"': 1,
            'kind="path_prefixed",provider="netnut"': 1,
            'kind="trailing_slash",provider="pulse"': 1,
        }
        assert ("address_missed", 404) in await one.lines()
        assert one.token not in json.dumps(log.entries, default=str)


async def test_the_api_counts_what_it_refuses(world: World) -> None:
    """By status, under its own route; what is answered otherwise is not counted."""
    async with target(world, SIGNED) as one:
        bearer = {"authorization": f"Bearer {API_TOKEN}"}
        await one.client.get(world.url + "/v1/jobs")
        await one.client.get(world.url + "/v1/jobs", headers=bearer)
        await one.client.post(world.url + "/v1/jobs", headers=bearer, content=bytes(2000))
        await one.client.put(world.url + "/v1/jobs", headers=bearer)
        await one.client.post(world.url + "/livez")
        await raw(world, b"POST / HTTP/1.1\r\n\r\n")
        assert await one.metrics("receiver_requests_refused") == {
            'route="v1",status="401"': 1,
            'route="v1",status="413"': 1,
            'route="v1",status="405"': 1,
            'route="other",status="405"': 1,
            'route="none",status="400"': 1,
        }


async def test_a_flood_of_refusals_is_told_in_few_lines(world: World, log: LogCapture) -> None:
    """Each is counted; the log says the first ten of a kind."""
    async with target(world, SIGNED) as one:
        for number in range(40):
            await one.client.post(f"{world.url}/callbacks/unheard-of/{number}", content=b"{}")
        assert await one.metrics("receiver_requests_refused") == {'route="callbacks",status="404"': 40}
        assert len([entry for entry in log.entries if entry["event"] == "request_refused"]) == 10


@pytest.mark.parametrize("base", ["/hooks", "/a/b/c/", "/callbacks", "/v1", "/caf\u00e9", "/caf%C3%A9"])
async def test_what_is_below_the_path_of_the_public_url_is_served(world: World, base: str) -> None:
    """As a proxy hands it on that takes nothing away, and as one that does."""
    world.environ["RECEIVER_PUBLIC_URL"] = world.url + base
    async with target(world, WAKER) as one:
        assert one.path.startswith(base.rstrip("/") + "/callbacks/")
        below, bearer = base.rstrip("/"), {"authorization": f"Bearer {API_TOKEN}"}
        for path in (one.path, one.path.removeprefix(below)):
            assert (await one.client.post(world.url + path, content=b"{}")).status_code == 200
        for path in ("/livez", "/readyz", "/metrics", "/v1/jobs"):
            for prefix in ("", below):
                answer: Any = await one.client.get(world.url + prefix + path, headers=bearer)
                assert answer.status_code == 200, prefix + path
        assert (await one.client.get(f"{world.url}{below}/elsewhere")).status_code in {401, 404}
        assert (await one.client.post(f"{world.url}{below}{below}{one.path}")).status_code in {401, 404}
