"""A receiver on a real socket, and one small server that answers as the providers do."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from receiver import Job, Receiver, Settings
from receiver.storage.queries import Page
from receiver.wire.server import server
from tests import sqlite
from tests.path.world import ended
from tests.ports import free_port
from tests.serving import served

from .making import PROVIDERS

STANDING_IN = ("brightdata", "dataforseo", "deepgram", "llamaparse", "netnut-serp")
SECRETS = {
    "HEYGEN_WEBHOOK_SECRET": "a secret of the endpoint",
    "SLACK_SIGNING_SECRET": "8f742231b10e8888abcd99yyyzzz85a5",
    "TWILIO_AUTH_TOKEN": "a token of the account",
}


class World:
    """Answers by (method, path), what was asked, and a receiver that is pointed at it."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[httpx.Request] = []
        self.answers: dict[tuple[str, str], tuple[dict[str, str], bytes]] = {}
        self.port, self.provider_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environ = {
            "RECEIVER_DATABASE_URL": sqlite.migrated(folder / "receiver.db"),
            "RECEIVER_SECRET_KEY": "a master key for tests that is long enough",
            "RECEIVER_PUBLIC_URL": self.url,
            **SECRETS,
        }
        for name in STANDING_IN:
            variable = f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL"
            environ[variable] = f"http://127.0.0.1:{self.provider_port}"
            for one in PROVIDERS[name].credentials:
                for reference in [one.secret] if one.basic is None else one.basic:
                    environ[(reference or "").removeprefix("env:")] = "x"
        self.receiver = Receiver(Settings.load(environ))

    def answer(self, method: str, path: str, body: bytes, **headers: str) -> None:
        """Let the provider answer *path* so, from now on."""
        self.answers[method, path] = (headers, body)

    async def call(self, method: str, url: str, **options: Any) -> httpx.Response:  # noqa: ANN401
        """Call back."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            return await client.request(method, url, **options)

    async def submit(self, name: str, request: Mapping[str, Any]) -> Job:
        """Submit a job to the standing-in provider."""
        return await self.receiver.submit(name, dict(request))

    async def outcome(self, job: Job) -> tuple[str, str | None, bytes]:
        """How a job ended, by what, and its result's bytes."""
        done = await ended(self.receiver, job)
        return str(done.state), done.settled_by, await self.receiver.running.store.result(done)

    async def jobs(self) -> list[Job]:
        """Every job there is."""
        return await self.receiver.running.store.jobs(Page())

    async def provider(self, request: Request) -> Response:
        """Answer one request to the provider."""
        body = await request.body()
        self.asked.append(
            httpx.Request(request.method, str(request.url), headers=request.headers.raw, content=body)
        )
        known = self.answers.get((request.method, request.url.path))
        if known is None:
            return Response(status_code=404)
        return Response(known[1], headers=known[0])


@asynccontextmanager
async def serving(app: ASGIApp, port: int) -> AsyncIterator[None]:
    """Serve *app* on loopback."""
    running = server(app, host="127.0.0.1", port=port, receive_timeout=5)
    async with served(running):
        yield


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[World]:
    """A world whose servers run."""
    world = World(folder)
    provider = Starlette(
        routes=[Route("/{path:path}", world.provider, methods=["GET", "POST", "PUT", "DELETE"])]
    )
    async with serving(provider, world.provider_port), serving(world.receiver.asgi, world.port):
        yield world
