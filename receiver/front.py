"""The front: the addresses that providers call.

Whatever is unknown here (provider, token, path) gets the same empty 404, so that nobody learns which.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from receiver.core.provider import Provider
from receiver.core.reading import Received, text_at
from receiver.ingest import Answer, Ingest
from receiver.ingest import Request as Arrived
from receiver.settings import Settings
from receiver.web import PRIVATE, BodyRefused, Budget, read_body

_RETRY_AFTER: Final = {"retry-after": "5"}


#: Bytes of bodies that may be under way at once.
_IN_FLIGHT: Final = 128 * 1024 * 1024


class Front:
    """Takes callbacks off the wire."""

    def __init__(self, *, ingest: Ingest, settings: Settings) -> None:
        self._ingest = ingest
        self._largest = settings.max_body
        self._patience = settings.receive_timeout
        self._budget = Budget(max(_IN_FLIGHT, 4 * settings.max_body))

    @property
    def routes(self) -> list[Route]:
        """The callback URLs and the webhook endpoints; methods are each provider's own."""
        return [
            Route("/callbacks/{provider}/{token}", _AnyMethod(self)),
            Route("/webhooks/{provider}", _AnyMethod(self)),
        ]

    async def take(self, request: Request) -> Response:
        """Answer one request: 2xx only after the commit, 503 if there was none, 404 for all that is unknown."""
        # Before the body: a trailer must not become a header after the fact.
        headers = tuple(request.scope["headers"])
        name = request.path_params["provider"]
        token = request.path_params.get("token")
        provider = self._ingest.route(name, token)
        if provider is None or not request.scope["path"].isascii():
            return Response(status_code=404, headers=PRIVATE)
        if request.method not in _methods(provider):
            return Response(status_code=405, headers=PRIVATE | {"allow": ", ".join(_methods(provider))})
        if request.method == "OPTIONS":
            return Response(headers=PRIVATE | {"allow": ", ".join(_methods(provider))})
        try:
            body = await read_body(
                request, largest=self._largest, patience=self._patience, budget=self._budget
            )
        except BodyRefused as refused:
            return refused.response
        try:
            answer = await self._ingest(
                Arrived(
                    provider=name,
                    token=token,
                    method=request.method,
                    query=request.scope["query_string"],
                    headers=headers,
                    body=body,
                )
            )
        finally:
            self._budget.give(len(body))
        return _response(answer, echo=_echo(provider, body, headers))


class _AnyMethod:
    """An ASGI endpoint: Starlette would answer a wrong method before the token was looked at."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._front.take(Request(scope, receive, send))
        await response(scope, receive, send)


def _methods(provider: Provider) -> tuple[str, ...]:
    return provider.callback.methods if provider.callback is not None else ()


def _echo(provider: Provider, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> str | None:
    path = provider.callback.echo if provider.callback is not None else None
    return None if path is None else text_at(Received(body=body, headers=headers), path)


def _response(answer: Answer, *, echo: str | None = None) -> Response:
    headers = PRIVATE | (_RETRY_AFTER if answer.status == 503 else {})  # noqa: PLR2004
    if answer.status in {401, 503} and answer.code is not None:
        body = f'{{"code":"{answer.code}"}}'.encode()
        return Response(body, status_code=answer.status, headers=headers, media_type="application/json")
    if echo is not None and answer.status in range(200, 300):
        return PlainTextResponse(echo, status_code=answer.status, headers=headers)
    return Response(status_code=answer.status, headers=headers)
