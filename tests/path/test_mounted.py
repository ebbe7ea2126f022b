"""The receiver inside somebody else's application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI

from receiver import Job, JobState, Receiver, Settings
from receiver.core.model import Source
from receiver.wire.server import server

from .world import API_TOKEN, REQUESTS, World, ended, until


@contextlib.asynccontextmanager
async def serving(app: FastAPI, port: int) -> AsyncIterator[None]:
    """Serve *app* on *port* of loopback."""
    serving = server(app, host="127.0.0.1", port=port, receive_timeout=5)
    task = asyncio.create_task(serving.serve())
    try:
        await until(lambda: serving.started or task.done())
        yield
    finally:
        serving.should_exit = True
        await task


async def test_a_mounted_receiver_takes_callbacks_under_its_path(world: World) -> None:
    """FastAPI(lifespan=receiver.lifespan) and app.mount: addresses are minted and taken under the mount path."""
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
    async with serving(app, world.port), httpx.AsyncClient(trust_env=False) as client:
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


async def test_a_receiver_that_was_never_started_says_so(world: World) -> None:
    """A mounted application's lifespan does not run by itself: 503, a code, and the line that is missing."""
    receiver = Receiver(Settings.load(world.environ))
    app = FastAPI()
    app.mount("/hooks", receiver.asgi)
    async with serving(app, world.port), httpx.AsyncClient(trust_env=False) as client:
        for method, path in (("POST", "/hooks/callbacks/netnut/token"), ("GET", "/hooks/livez")):
            answer = await client.request(method, world.url + path)
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "receiver_not_started"
            assert "lifespan=receiver.lifespan" in answer.json()["detail"]


async def test_a_receiver_can_be_started_again(world: World) -> None:
    """Stopped and started with its application, it goes on with the same database."""
    receiver = Receiver(Settings.load(world.environ))
    app = FastAPI(lifespan=receiver.lifespan)
    app.mount("/", receiver.asgi)
    async with serving(app, world.port):
        job = await ended(receiver, await receiver.submit("netnut", REQUESTS["netnut"]))
    async with serving(app, world.port):
        assert (await receiver.job(job.id)).state is JobState.SUCCEEDED
        again = await ended(receiver, await receiver.submit("netnut", REQUESTS["netnut"]))
        assert again.settled_by is Source.CALLBACK
