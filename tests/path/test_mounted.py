"""The receiver inside somebody else's application."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn

from receiver import Job, JobState, Receiver, Settings
from receiver.core.model import Source
from receiver.wire.server import server
from tests.serving import served

from .test_bad_input import raw
from .world import API_TOKEN, REQUESTS, World, ended, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI


@contextlib.asynccontextmanager
async def serving(app: FastAPI, port: int, theirs: uvicorn.Server | None = None) -> AsyncIterator[None]:
    """Serve *app* on *port* of loopback, by our server or by *theirs*."""
    serving = theirs or server(app, host="127.0.0.1", port=port, receive_timeout=5)
    async with served(serving):
        yield


async def test_a_mounted_receiver_takes_callbacks_under_its_path(world: World) -> None:
    """FastAPI(lifespan=receiver.lifespan) and app.mount: addresses are minted and taken under the mount path."""
    from fastapi import FastAPI

    world.environ["RECEIVER_PUBLIC_URL"] = f"{world.url}/hooks"
    receiver = Receiver(Settings.load(world.environ))
    seen: list[Job] = []
    receiver.on(name="see")(seen.append)
    app = FastAPI(lifespan=receiver.lifespan)

    @app.get("/own")
    async def own() -> str:
        return "the application's own"

    app.mount("/hooks", receiver.asgi)
    world.simulator.pulse_webhook(
        f"{world.url}/hooks/webhooks/pulse", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    )
    async with serving(app, world.port), httpx.AsyncClient(trust_env=False, timeout=60) as client:
        for provider in ("perplexity-webhook", "netnut", "pulse"):
            job = await receiver.submit(provider, REQUESTS[provider])
            done = await ended(receiver, job)
            assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
        assert world.callback_url("netnut").startswith(f"{world.url}/hooks/callbacks/netnut/")
        assert [one.provider for one in seen] == ["perplexity-webhook", "netnut", "pulse"]
        token = {"authorization": f"Bearer {API_TOKEN}"}
        assert (await client.get(f"{world.url}/hooks/v1/jobs/{done.id}", headers=token)).is_success
        assert (await client.get(f"{world.url}/hooks/readyz")).is_success
        assert (await client.get(f"{world.url}/own")).json() == "the application's own"
        outside = world.callback_url("netnut").replace("/hooks/", "/")
        assert (await client.post(outside, json={})).status_code == 404
    assert receiver._running is None


@pytest.mark.parametrize("method", ["BREW", "post", "TRACE"])
@pytest.mark.parametrize("own", [True, False], ids=["our server", "another server"])
async def test_any_method_wakes_a_mounted_receiver(world: World, method: str, *, own: bool) -> None:
    """In somebody else's application, and on their server as far as it knows the method: kept, and the job ends."""
    from fastapi import FastAPI

    world.environ["RECEIVER_PUBLIC_URL"] = f"{world.url}/hooks"
    world.simulator.faults("netnut", "lost", count=None)
    receiver = Receiver(Settings.load(world.environ))
    app = FastAPI(lifespan=receiver.lifespan)
    app.mount("/hooks", receiver.asgi)
    theirs = uvicorn.Server(uvicorn.Config(app, port=world.port, http="h11", log_config=None))
    async with serving(app, world.port, None if own else theirs):
        job = await receiver.submit("netnut", REQUESTS["netnut"])
        await until(lambda: world.simulator.jobs("netnut")[-1].done)
        path = world.callback_url("netnut").removeprefix(world.url)
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        assert (await raw(world, head.encode())).startswith(b"HTTP/1.1 200 ")
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)


async def test_a_receiver_that_was_never_started_says_so(world: World) -> None:
    """A mounted application's lifespan does not run by itself: 503, a code, and the line that is missing."""
    from fastapi import FastAPI

    receiver = Receiver(Settings.load(world.environ))
    app = FastAPI()
    app.mount("/hooks", receiver.asgi)
    async with serving(app, world.port), httpx.AsyncClient(trust_env=False, timeout=60) as client:
        for method, path in (("POST", "/hooks/callbacks/netnut/token"), ("GET", "/hooks/livez")):
            answer = await client.request(method, world.url + path)
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "receiver_not_started"
            said = "The receiver is not started: give its application lifespan=receiver.lifespan"
            assert answer.json()["detail"].startswith(said)
            assert "lifespan=receiver.lifespan" in answer.json()["detail"]


async def test_a_receiver_can_be_started_again(world: World) -> None:
    """Stopped and started with its application, it goes on with the same database."""
    from fastapi import FastAPI

    receiver = Receiver(Settings.load(world.environ))
    app = FastAPI(lifespan=receiver.lifespan)
    app.mount("/", receiver.asgi)
    async with serving(app, world.port):
        job = await ended(receiver, await receiver.submit("netnut", REQUESTS["netnut"]))
    async with serving(app, world.port):
        assert (await receiver.job(job.id)).state is JobState.SUCCEEDED
        again = await ended(receiver, await receiver.submit("netnut", REQUESTS["netnut"]))
        assert again.settled_by is Source.CALLBACK
