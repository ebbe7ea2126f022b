"""The providers' side of every request: what a receiver in a test asks is answered here, without a network."""

import base64
import json
from email import message_from_bytes
from itertools import count
from re import search
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx

from receiver.core.asking.assembly import at_path
from receiver.core.description.callbacks import CallbackTerms
from receiver.core.description.provider import Provider
from receiver.testing.remote import Remote
from receiver.testing.signing import key_set, secret_text
from receiver.testing.uploading import Uploads, template

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


class Wire(httpx.AsyncBaseTransport):
    """Answers as the providers do, and remembers their jobs.

    Args:
        base: Where callbacks go.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        #: Called before the submission of a job is answered.
        self.overtaken: Callable[[Remote], Awaitable[None]] | None = None
        self._numbers = count(1)
        self.jobs: dict[str, Remote] = {}
        self._uploads = Uploads()
        self._keyed: dict[tuple[str, str], Remote] = {}
        #: Set once the descriptions are known.
        self.providers: Mapping[str, Provider] = {}
        #: What was asked, oldest first, and what nobody answers.
        self.asked: list[httpx.Request] = []
        self.unanswered: list[str] = []
        #: What is served at addresses of the test's own.
        self.served: dict[str, httpx.Response] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        await request.aread()
        self.asked.append(request)
        answer = await self._answer(request)
        # The body is still to be read, as with an answer from a network.
        stream = httpx.ByteStream(answer.content)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=stream)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        if url in self.served:
            return self.served[url]
        provider = self.providers[request.extensions["provider"]]
        if provider.key is not None and provider.key.url == url and provider.verify is not None:
            return httpx.Response(200, content=key_set(provider.verify))
        named = unquote(url)
        if provider.poll is not None and provider.poll.body is not None:
            # Where jobs are asked about by POST their ids are in the body.
            named += request.content.decode(errors="replace")
        remote = next((one for one in self.jobs.values() if one.id in named), None)
        if remote is not None:
            return remote.answer(request.method, url)
        uploaded = self._uploads.answer(provider, request)
        if uploaded is not None:
            return uploaded
        if _submits(provider, request):
            return await self._submit(provider, request)
        self.unanswered.append(f"{request.method} {url}")
        return httpx.Response(404, json={"error": "The testing kit knows nothing at this address."})

    async def _submit(self, provider: Provider, request: httpx.Request) -> httpx.Response:
        given = _fields(request)
        key = _idempotency_key(provider, request, given)
        known = self._keyed.get((provider.name, key)) if key else None
        if known is None:
            known = self._open(provider, request, given)
            if key:
                self._keyed[provider.name, key] = known
            if self.overtaken is not None:
                await self.overtaken(known)
        written = known.accepted(key=known.secret)
        if written is None:
            return httpx.Response(501, json={"error": f"No answer of {provider.name} can be written."})
        return httpx.Response(200, content=written.body, headers=written.headers)

    def _open(self, provider: Provider, request: httpx.Request, given: Any) -> Remote:  # noqa: ANN401
        terms = provider.callback
        url = None
        if terms is not None:
            registered = terms.where == "registered"
            url = (
                f"{self._base}/webhooks/{provider.name}"
                if registered
                else _callback_url(terms, request, given)
            )
        secret = None if terms is None else _secret(terms, request, given)
        if (
            provider.key is not None
            and provider.key.source == "submit-answer"
            and provider.verify is not None
        ):
            secret = secret_text(provider.verify)
        # No id is the beginning of another: a job is known by its id in an address.
        remote = Remote(provider, f"kit{next(self._numbers):06d}job", callback_url=url, secret=secret)
        self.jobs[remote.id] = remote
        return remote


def _submits(provider: Provider, request: httpx.Request) -> bool:
    terms = provider.submit
    if terms is None or request.method != terms.method:
        return False
    path = f"{request.url.scheme}://{request.url.host}{request.url.path}"
    urls = [terms.url, *(one.url for one in provider.operations.values() if one.url)]
    return any(template(url).fullmatch(path) for url in urls)


def _fields(request: httpx.Request) -> Any:  # noqa: ANN401
    """The body of a submission as JSON, or the fields of its form."""
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("multipart/"):
        parts = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + request.content)
        return {
            str(part.get_param("name", header="content-disposition")): _json(
                part.get_payload(decode=True).decode(errors="replace")  # type: ignore[union-attr]
            )
            for part in parts.walk()
            if not part.is_multipart()
        }
    if content_type.startswith("application/x-www-form-urlencoded"):
        return {name: _json(value) for name, value in parse_qsl(request.content.decode())}
    return _json(request.content.decode(errors="replace"))


def _json(text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except ValueError:
        return text


def _query(request: httpx.Request) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(str(request.url)).query))


def _at(terms: CallbackTerms, path: str, request: httpx.Request, given: Any) -> str | None:  # noqa: ANN401
    found = _query(request).get(path) if terms.where == "query" else at_path(given, path)
    return found if isinstance(found, str) else None


def _callback_url(terms: CallbackTerms, request: httpx.Request, given: Any) -> str | None:  # noqa: ANN401
    found = _at(terms, terms.path, request, given)
    if found is None or terms.encode == "plain":
        return found
    decoded = base64.b64decode(found).decode()
    inner = search(r'"(https://[^"]+/callbacks/[^"]+)"', decoded)
    return None if inner is None else inner[1]


def _secret(terms: CallbackTerms, request: httpx.Request, given: Any) -> str | None:  # noqa: ANN401
    if terms.secret_path is None:
        return None
    found = _at(terms, terms.secret_path, request, given)
    return None if found is None else found.removeprefix(terms.secret_prefix)


def _idempotency_key(provider: Provider, request: httpx.Request, given: Any) -> str | None:  # noqa: ANN401
    terms = provider.submit.idempotency if provider.submit is not None else None
    if terms is None:
        return None
    found = request.headers.get(terms.name) if terms.where == "header" else at_path(given, terms.name)
    return found if isinstance(found, str) else None
