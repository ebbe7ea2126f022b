"""The front: the addresses that providers call, ahead of every router.

It is ASGI without a framework, because what a framework does for a request costs more than all that is done here:
deployed as it is, or mounted into another application, a callback takes this one way. Whatever is unknown
(provider, token, path) gets the same empty 404, so that nobody learns which.
"""

from typing import Final

import structlog
from starlette.types import Receive, Scope, Send

from receiver.core.message import Message
from receiver.core.model import Value
from receiver.core.provider import Provider
from receiver.core.reading import text_at
from receiver.ingest import Answer, Ingest
from receiver.settings import Settings
from receiver.web import PRIVATE, RETRY, BodyRefused, Budget, broken, read_body

log = structlog.get_logger(__name__)

#: Bytes of bodies that may be under way at once.
_IN_FLIGHT: Final = 128 * 1024 * 1024
_UNAVAILABLE: Final = 503
_PRIVATE: Final = [(name.encode(), value.encode()) for name, value in PRIVATE.items()]
_RETRY: Final = [(name.encode(), value.encode()) for name, value in RETRY.items()]


class Address(Value, frozen=True):
    """What a path names, before anybody has looked whether there is such a provider or token."""

    provider: str
    token: str | None


def address_of(scope: Scope) -> Address | None:
    """The address that a request is for: ``/callbacks/{provider}/{token}`` or ``/webhooks/{provider}``."""
    path: str = scope["path"]
    if root := scope.get("root_path"):
        # Mounted: the path begins with where, or does not, by the age of the framework that mounted us.
        path = path.removeprefix(root)
    if path.startswith("/callbacks/"):
        provider, found, token = path[11:].partition("/")
        return Address(provider, token) if found and provider and token and "/" not in token else None
    if path.startswith("/webhooks/"):
        provider = path[10:]
        return Address(provider, None) if provider and "/" not in provider else None
    return None


class Front:
    """Takes callbacks off the wire."""

    def __init__(self, *, ingest: Ingest, settings: Settings) -> None:
        self._ingest = ingest
        self._largest = settings.max_body
        self._patience = settings.receive_timeout
        self._budget = Budget(max(_IN_FLIGHT, 4 * settings.max_body))

    async def __call__(self, address: Address, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: 2xx only after the commit, 503 if there was none, 404 for all that is unknown."""
        try:
            await self._take(address, scope, receive, send)
        except BodyRefused as refused:
            await refused.response(scope, receive, send)
        except Exception:
            log.exception("request_failed", route="callbacks" if address.token is not None else "webhooks")
            await broken()(scope, receive, send)

    async def _take(self, address: Address, scope: Scope, receive: Receive, send: Send) -> None:
        # Before the body: a trailer must not become a header after the fact.
        headers = tuple(scope["headers"])
        way = self._ingest.way(address.provider, address.token)
        if way is None or not scope["path"].isascii():
            await _answer(send, 404)
            return
        methods, method = _methods(way.provider), scope["method"]
        if method not in methods:
            await _answer(send, 405, (b"allow", ", ".join(methods).encode()))
            return
        if method == "OPTIONS":
            await _answer(send, 200, (b"allow", ", ".join(methods).encode()))
            return
        body = await read_body(
            receive, headers, largest=self._largest, patience=self._patience, budget=self._budget
        )
        try:
            answer = await self._ingest(
                way, method=method, query=scope["query_string"], headers=headers, body=body
            )
        finally:
            self._budget.give(len(body))
        await _tell(send, answer, echo=_echo(way.provider, body, headers))


def _methods(provider: Provider) -> tuple[str, ...]:
    return provider.callback.methods if provider.callback is not None else ()


def _echo(provider: Provider, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> str | None:
    path = provider.callback.echo if provider.callback is not None else None
    return None if path is None else text_at(Message(body=body, headers=headers), path)


async def _tell(send: Send, answer: Answer, *, echo: str | None) -> None:
    retry = _RETRY if answer.status == _UNAVAILABLE else ()
    if answer.status in {401, _UNAVAILABLE} and answer.code is not None:
        body = f'{{"code":"{answer.code}"}}'.encode()
        await _answer(send, answer.status, *retry, (b"content-type", b"application/json"), body=body)
    elif echo is not None and answer.status in range(200, 300):
        plain = (b"content-type", b"text/plain; charset=utf-8")
        await _answer(send, answer.status, plain, body=echo.encode())
    else:
        await _answer(send, answer.status, *retry)


async def _answer(send: Send, status: int, *headers: tuple[bytes, bytes], body: bytes = b"") -> None:
    length = () if status == 204 else ((b"content-length", b"%d" % len(body)),)  # noqa: PLR2004  (RFC 9110, 8.6)
    await send({"type": "http.response.start", "status": status, "headers": [*_PRIVATE, *headers, *length]})
    await send({"type": "http.response.body", "body": body})
