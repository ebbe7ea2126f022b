"""A receiver on a real database behind a real server, with the simulated providers, for each test."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio

from receiver import Job, Receiver, Settings
from receiver.simulator import PROVIDERS, Simulator, SimulatorSettings
from receiver.simulator.embedded import address, listen
from receiver.wire.outlet import Outlet
from receiver.wire.server import server
from tests import sqlite
from tests.pauses import pauses
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from uvicorn import Server

    OpenSite = Callable[..., contextlib.AbstractAsyncContextManager["Site"]]

TOKEN = "canary-api-token-5b1f"
MASTER = "canary-master-key-0f7e19c2a4"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NETNUT = {"engine": "perplexity", "prompt": "coffee?"}
CHAT = {"model": "sonar-deep-research", "messages": [{"role": "user", "content": "?"}]}
PULSE = {"file_url": "https://example.com/a.pdf"}
REQUESTS: dict[str, dict[str, Any]] = {
    "netnut": NETNUT,
    "perplexity": CHAT,
    "perplexity-webhook": CHAT,
    "pulse": PULSE,
    "firecrawl": {"url": "https://example.com"},
}


@dataclass(kw_only=True)
class Site:
    """A receiver that serves, and a client with its API token."""

    sim: Simulator
    receiver: Receiver
    url: str
    http: httpx.AsyncClient
    server: Server
    #: The jobs that the handler ``keep`` was given.
    handled: list[Job] = field(default_factory=list)
    #: What the handler waits for, where a job's metadata has it wait.
    holding: asyncio.Event = field(default_factory=asyncio.Event)

    def hang_up(self) -> None:
        """Break every connection to it."""
        for connection in list(self.server.server_state.connections):
            assert isinstance(connection, Outlet)
            connection._transport.abort()

    async def get(self, path: str, **params: Any) -> httpx.Response:  # noqa: ANN401  httpx's own types
        """Ask for *path*."""
        return await self.http.get(path, params=params or None)

    async def submit(self, provider: str, **more: object) -> dict[str, Any]:
        """Submit a job and return its document."""
        answer = await self.http.post(
            "/v1/jobs", json={"provider": provider, "request": REQUESTS[provider], **more}
        )
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def ended(self, provider: str, **more: object) -> dict[str, Any]:
        """Submit a job, let it end, and return its record."""
        job = await self.submit(provider, **more)
        self.sim.release(job["remote_id"])
        return await self.until(f"/v1/jobs/{job['id']}", lambda found: found["ended_at"])

    async def until(self, path: str, condition: Callable[[Any], object]) -> dict[str, Any]:
        """Return the document at *path* once it meets *condition*; fail after 40 seconds."""
        async with asyncio.timeout(40):
            waits = pauses(0.01)
            while True:
                answer = await self.get(path)
                if answer.status_code == 200 and condition(answer.json()):
                    return dict(answer.json())
                await asyncio.sleep(next(waits))

    async def signed_callback(self) -> dict[str, Any]:
        """Let Pulse call back about a job, and return the callback's document."""
        job = await self.submit("pulse")
        self.sim.release(job["remote_id"])
        found = await self.until(
            f"/v1/callbacks?job={job['id']}&verdict=accepted", lambda page: page["callbacks"]
        )
        return dict(found["callbacks"][0])


def refused(answer: httpx.Response, status: int, code: str, *, field: str | None = None) -> dict[str, Any]:
    """Assert that *answer* is a problem of that status, code and field, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["code"], problem.get("field")) == (status, code, field), problem
    assert problem["detail"]
    assert problem["title"]
    return problem


@contextlib.asynccontextmanager
async def serve(sim: Simulator, folder: Path, environ: Mapping[str, str]) -> AsyncIterator[Site]:
    """Serve a receiver whose database is in *folder*."""
    listener = listen("127.0.0.1", 0)
    url = address(listener)
    settings = Settings.load({**_environ(sim, url, folder), **environ})
    receiver = Receiver(settings)
    serving = server(receiver.asgi, host="127.0.0.1", port=0, receive_timeout=settings.receive_timeout)
    sim.pulse_webhook(f"{url}/webhooks/pulse", WHSEC)
    async with httpx.AsyncClient(
        base_url=url,
        trust_env=False,
        timeout=60,
        headers={"authorization": f"Bearer {TOKEN}"},
        # A loop that stands still between two tests does not see that the server closed a connection.
        limits=httpx.Limits(max_keepalive_connections=0),
    ) as http:
        site = Site(sim=sim, receiver=receiver, url=url, http=http, server=serving)
        receiver.on(state="any", name="keep", attempts=1)(_keeper(site))
        async with served(serving, [listener]):
            yield site


def _simulator() -> Simulator:
    """Simulate every provider; a job ends when it is released."""
    return Simulator(settings=SimulatorSettings(run_seconds=None, callback_backoff=0.01))


@pytest.fixture
async def open_site(tmp_path: Path) -> AsyncIterator[OpenSite]:
    """Return what serves a receiver, with more settings."""
    async with _simulator() as sim:
        yield lambda **environ: serve(sim, tmp_path, environ)


@pytest.fixture
async def site(open_site: OpenSite) -> AsyncIterator[Site]:
    """Serve a receiver."""
    async with open_site() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Serve a receiver to every test of a module that leaves nothing in it."""
    async with _simulator() as sim, serve(sim, tmp_path_factory.mktemp("shared"), {}) as opened:
        yield opened


def _keeper(site: Site) -> Callable[[Job], Awaitable[None]]:
    async def keep(job: Job) -> None:
        site.handled.append(job)
        if job.metadata.get("handler") == "waits":
            await site.holding.wait()
        if job.metadata.get("handler") == "fails":
            raise RuntimeError(job.metadata.get("raises", "on purpose"))

    return keep


def _environ(sim: Simulator, url: str, folder: Path) -> dict[str, str]:
    bases = {f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL": sim.base_url(name) for name in PROVIDERS}
    return bases | {
        "RECEIVER_DATABASE_URL": sqlite.migrated(folder / "receiver.db"),
        "RECEIVER_SECRET_KEY": MASTER,
        "RECEIVER_API_TOKEN": TOKEN,
        "RECEIVER_PUBLIC_URL": url,
        "NETNUT_USERNAME": "canary-user",
        "NETNUT_PASSWORD": "canary-password-77",
        "PULSE_API_KEY": "canary-pulse-key",
        "PULSE_WEBHOOK_SECRET": WHSEC,
        "FIRECRAWL_API_KEY": "fc-key",
        "FIRECRAWL_WEBHOOK_SECRET": "a simulated account",
        "PERPLEXITY_API_KEY": "canary-perplexity-key",
        "YANDEX_FOLDER_ID": "b1g",
        "PATH": os.environ["PATH"],
    }
