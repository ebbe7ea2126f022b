"""The door of the simulator: keeps a copy of every request, and can be shut while answers are under way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from receiver.simulator.answers import CUT

if TYPE_CHECKING:
    from types import MethodType

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BODY_LIMIT: Final = 64 * 1024 * 1024
_BODY_KEPT: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """One request as it arrived at a provider.

    Attributes:
        path: Below the provider's prefix, with its query string.
        headers: In order, names in lower case, duplicates kept.
        body: At most its first MiB.
        status: What it was answered; None while it is not, or because the connection was cut.
    """

    provider: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    received_at: datetime
    status: int | None = None

    def view(self) -> dict[str, Any]:
        """Return what the control API shows of it: everything, credentials included."""
        return {
            "provider": self.provider,
            "method": self.method,
            "path": self.path,
            "headers": [list(pair) for pair in self.headers],
            "body": self.body.decode(errors="replace"),
            "received_at": self.received_at.isoformat(),
            "status": self.status,
        }


class Requests:
    """The requests that arrived, oldest first, at most *keep* of them."""

    def __init__(self, *, keep: int) -> None:
        self._keep = keep
        self._count = 0
        self._kept: dict[int, ReceivedRequest] = {}

    def all(self) -> list[ReceivedRequest]:
        """Return what is kept."""
        return list(self._kept.values())

    def add(self, request: ReceivedRequest) -> int:
        """Keep *request* and return its number."""
        self._count += 1
        self._kept[self._count] = request
        if len(self._kept) > self._keep:
            del self._kept[next(iter(self._kept))]
        return self._count

    def answered(self, number: int, status: int) -> None:
        """Note with which *status* the request of that *number* was answered."""
        if number in self._kept:
            self._kept[number] = replace(self._kept[number], status=status)


class Front:
    """An ASGI application around *app*. It works with uvicorn only, of which it knows one thing: `_cut`."""

    def __init__(self, app: ASGIApp, *, requests: Requests, providers: frozenset[str]) -> None:
        self._app = app
        self._requests = requests
        self._providers = providers
        self._answering: dict[asyncio.Task[None], Receive] = {}
        self._shut = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the request whole, record it, and let *app* answer."""
        body = await _read(receive)
        if body is None:
            return
        if self._shut:
            await _gone(receive)
            return
        number = self._record(scope, body)

        async def note_status(message: Message) -> None:
            if number is not None and message["type"] == "http.response.start":
                self._requests.answered(number, message["status"])
            await send(message)

        inner = {**scope, CUT: lambda: _cut(receive)}
        task = asyncio.create_task(self._run(inner, _replay(body, receive), note_status))
        self._answering[task] = receive
        try:
            await asyncio.wait({task})
        finally:
            del self._answering[task]
        if task.cancelled():
            await _gone(receive)
        else:
            task.result()

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _record(self, scope: Scope, body: bytes) -> int | None:
        _, provider, *rest = scope["path"].split("/", 2)
        if provider not in self._providers:
            return None
        query = scope["query_string"].decode("latin-1")
        return self._requests.add(
            ReceivedRequest(
                provider=provider,
                method=scope["method"],
                path="/" + "".join(rest) + (f"?{query}" if query else ""),
                headers=tuple((k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]),
                body=body[:_BODY_KEPT],
                received_at=datetime.now(UTC),
            )
        )

    def shut(self) -> None:
        """Cut every connection with an answer under way, and every one that asks from now on."""
        self._shut = True
        for task, receive in self._answering.items():
            _cut(receive)
            task.cancel()


def _cut(receive: Receive) -> None:
    # ASGI has no way to end a connection without an answer; uvicorn's `receive` is a method of an object
    # that holds the transport.
    cycle: Any = cast("MethodType", receive).__self__
    cycle.transport.abort()


async def _gone(receive: Receive) -> None:
    """Cut the connection and return once the server knows."""
    _cut(receive)
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive) -> bytes | None:
    """Return the body; None if the client left, or sent so much that it was cut off."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > _BODY_LIMIT:
            await _gone(receive)
            return None
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives *body* first and then what *receive* gives."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return first.pop() if first else await receive()

    return replayed
