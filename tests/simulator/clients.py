from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.pauses import pauses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx
    from starlette.types import Receive, Scope, Send

    from receiver.simulator import Simulator

_AUTH = {
    "netnut": {"authorization": "Basic dXNlcjpwYXNz"},
    "pulse": {"x-api-key": "key"},
    "yandex": {"authorization": "Api-Key key", "x-folder-id": "b1g"},
    "perplexity": {"authorization": "Bearer key"},
    "perplexity-webhook": {"authorization": "Bearer key"},
    "runway": {"authorization": "Bearer key"},
    "firecrawl": {"authorization": "Bearer key"},
}
_CHAT: dict[str, Any] = {
    "request": {"model": "sonar-deep-research", "messages": [{"role": "user", "content": "?"}]}
}
_SUBMIT: dict[str, tuple[str, dict[str, Any]]] = {
    "netnut": ("/search", {"engine": "perplexity", "prompt": "coffee?", "async": True}),
    "pulse": ("/extract", {"file_url": "https://example.com/a.pdf", "async": True}),
    "yandex": (
        "/foundationModels/v1/completionAsync",
        {"modelUri": "gpt://b1g/yandexgpt", "messages": [{"role": "user", "text": "To be"}]},
    ),
    "perplexity": ("/async/chat/completions", _CHAT),
    "perplexity-webhook": ("/async/chat/completions", _CHAT),
    "runway": ("/v1/image_to_video", {"model": "gen4_turbo", "promptImage": "https://example.com/a.png"}),
    "firecrawl": ("/v2/crawl", {"url": "https://example.com"}),
}
_ID = {"netnut": "traceId", "pulse": "job_id"}
_STATUS = {
    "netnut": "/search/response/",
    "pulse": "/job/",
    "yandex": "/operations/",
    "runway": "/v1/tasks/",
    "firecrawl": "/v2/crawl/",
}

#: A secret as Standard Webhooks writes it.
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True, kw_only=True)
class Client:
    """Speaks to one provider by its documentation."""

    sim: Simulator
    http: httpx.AsyncClient
    name: str

    async def request(
        self,
        method: str,
        path: str,
        *,
        auth: bool = True,
        headers: dict[str, str] | None = None,
        **sent: Any,  # noqa: ANN401  httpx's own arguments
    ) -> httpx.Response:
        """Send a request with the provider's credentials."""
        return await self.http.request(
            method,
            self.sim.base_url(self.name) + path,
            headers={**(_AUTH[self.name] if auth else {}), **(headers or {})},
            **sent,
        )

    async def submit(self, *, headers: dict[str, str] | None = None, **extra: object) -> httpx.Response:
        """Submit a job, with *extra* fields in the body."""
        path, body = _SUBMIT[self.name]
        return await self.request("POST", path, headers=headers, json={**body, **extra})

    async def submitted(self, *, headers: dict[str, str] | None = None, **extra: object) -> str:
        """Submit a job and return its id."""
        answer = (await self.submit(headers=headers, **extra)).raise_for_status()
        return str(answer.json()[_ID.get(self.name, "id")])

    async def done(self, **extra: object) -> str:
        """Submit a job, let it end, and return its id."""
        job_id = await self.submitted(headers=None, **extra)
        await self.sim.idle(timeout=60)
        return job_id

    @property
    def path(self) -> str:
        """Where jobs are submitted."""
        return _SUBMIT[self.name][0]

    async def status(self, job_id: str) -> httpx.Response:
        """Ask for the status of a job."""
        return await self.request("GET", _STATUS.get(self.name, "/async/chat/completions/") + job_id)


@dataclass
class Arrived:
    """One request as the sink got it."""

    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  whatever was sent
        """Return the body's JSON."""
        return json.loads(self.body)


@dataclass
class Sink:
    """A server that takes callbacks, answering from *answers* while there are some and then 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    arrived: list[Arrived] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.arrived.append(Arrived({k.decode(): v.decode() for k, v in scope["headers"]}, body))
        status = self.answers.pop(0) if self.answers else 200
        headers = [(b"location", b"/elsewhere"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def callback_fields(name: str, url: str) -> dict[str, Any]:
    """Return the fields that make *name* call *url* back; Pulse is told elsewhere."""
    fields: dict[str, dict[str, Any]] = {
        "netnut": {"callback_url": url},
        "firecrawl": {"webhook": {"url": url, "events": ["completed", "failed"]}},
        "perplexity-webhook": {"webhook": {"url": url, "secret": "per-job secret"}},
    }
    return fields.get(name, {})


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Return once *condition* is true; fail after 40 seconds."""
    async with asyncio.timeout(40):
        waits = pauses(0.01)
        while not await condition():  # noqa: ASYNC110  what is awaited happens elsewhere
            await asyncio.sleep(next(waits))
