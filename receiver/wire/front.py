"""The front: the addresses that providers call, ahead of every router.

It is ASGI without a framework, because what a framework does for a request costs more than all that is done here:
deployed as it is, or mounted into another application, a callback takes this one way. Whatever is unknown
(provider, token, path) gets the same empty 404, so that nobody learns which.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final

import structlog
from starlette.types import Receive, Scope, Send

from receiver.core.errors import KeyUnavailableError, ProviderError
from receiver.core.message import Message
from receiver.core.model import Value
from receiver.core.signature.challenge import LARGEST
from receiver.core.signature.token import answer_to_probe
from receiver.settings import Settings
from receiver.steps.confirm import Confirm, Said
from receiver.steps.ingest import Answer, Ingest
from receiver.steps.proving import Way
from receiver.steps.refuse import Refuse
from receiver.wire.near import near
from receiver.wire.refusals import Refusals
from receiver.wire.sender import Senders
from receiver.wire.strangers import prove
from receiver.wire.web import PRIVATE, RETRY, Bodies, BodyRefused, broken

log = structlog.get_logger(__name__)

#: Bytes of bodies that may be under way at once.
_IN_FLIGHT: Final = 128 * 1024 * 1024
_NO_CONTENT: Final = 204
_UNAVAILABLE: Final = 503
#: What is refused before anything is recorded, and why.
_UNSEEN: Final = {404: "address_unknown", 405: "method_not_allowed"}
_GOOD: Final = range(200, 300)
#: Methods that only ask whether an address is there; they are answered without a look.
_ASKED: Final = frozenset({"OPTIONS", "HEAD"})
_PRIVATE: Final = [(name.encode(), value.encode()) for name, value in PRIVATE.items()]
_RETRY: Final = [(name.encode(), value.encode()) for name, value in RETRY.items()]
#: The headers of an answer without a body.
_EMPTY: Final = [*_PRIVATE, (b"content-length", b"0")]

#: An answer: its status, its headers and its body.
_Told = tuple[int, list[tuple[bytes, bytes]], bytes]


class Address(Value, frozen=True):
    """What a path names, before anybody has looked whether there is such a provider or token."""

    provider: str
    token: str | None


def address_of(path: str) -> Address | None:
    """The address that *path* is: ``/callbacks/{provider}/{token}`` or ``/webhooks/{provider}``."""
    match path.split("/"):
        case ["", "callbacks", provider, token] if provider and token:
            return Address(provider, token)
        case ["", "webhooks", provider] if provider:
            return Address(provider, None)
    return None


class Front:
    """Takes callbacks off the wire."""

    def __init__(
        self, *, ingest: Ingest, confirm: Confirm, refuse: Refuse, refusals: Refusals, settings: Settings
    ) -> None:
        self._ingest = ingest
        self._confirm = confirm
        self._refuse = refuse
        self._refusals = refusals
        self._senders = Senders(settings.proxies)
        self._bodies = Bodies(
            largest=settings.max_body,
            patience=settings.receive_timeout,
            room=max(_IN_FLIGHT, 4 * settings.max_body),
        )

    async def __call__(self, address: Address, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: 2xx only after the commit, 503 if there was none, 404 for all that is unknown."""
        way = self._ingest.way(address.provider, address.token)
        try:
            status, headers, body = await self._take(address, way, scope, receive)
            # A list of its own: whatever we are mounted in may add to it.
            await send({"type": "http.response.start", "status": status, "headers": [*headers]})
            await send({"type": "http.response.body", "body": body})
            if status not in _UNSEEN:
                return
            response, code = None, _UNSEEN[status]
        except BodyRefused as refused:
            response, status, code = refused.response, refused.status, refused.code
        except Exception:
            log.exception("request_failed", route=_route(address))
            await broken()(scope, receive, send)
            return
        # Not above: an error that is being handled holds what had come of the body.
        if response is not None:
            await response(scope, receive, send)
        await self._note(address, way, scope, status, code)

    async def missed(self, scope: Scope, path: str) -> None:
        """Note that *path*, which is no address at all, was asked for and answered 404."""
        if self._refusals.look_closer():
            await self._miss("other", scope, path)
        else:
            self._refusals.note("other", 404)

    async def malformed(self, address: Address, scope: Scope, status: int) -> None:
        """Note that what was sent to *address* is no request; nothing, unless its token is good."""
        way = self._ingest.way(address.provider, address.token)
        if way is not None and way.job_id is not None:
            sender = self._senders.of(scope)
            await self._refuse(way, code="request_malformed", status=status, method="", sender=sender)

    async def _take(self, address: Address, way: Way | None, scope: Scope, receive: Receive) -> _Told:
        # Before the body: a trailer must not become a header after the fact.
        headers = tuple(scope["headers"])
        if way is None:
            if self._ingest.is_probe(address.provider, token := address.token or ""):
                self._bodies.give(len(await self._bodies.read(receive, headers)))
                return _with_body(200, answer_to_probe(token), b"text/plain; charset=utf-8")
            return 404, _EMPTY, b""
        if way.job_id is not None:
            prove(scope)
        callback, method = way.provider.callback, scope["method"]
        methods, challenges = ((), ()) if callback is None else (callback.methods, callback.challenge)
        listed = method in methods
        # Where the provider signs nothing, the token is all that can be wrong with a callback. But whoever asks for a
        # tunnel, and hears yes, has one.
        refused = not listed and (way.job_id is None or way.provider.signed or method == "CONNECT")
        may_ask = bool(challenges) and self._confirm.may_ask(way, method)
        if refused and not may_ask:
            return 405, _allowing(methods), b""
        if listed and method in _ASKED:
            return 200, _allowing(methods), b""
        here, query = self._bodies.at_once(scope), scope["query_string"]
        body = await self._bodies.read(receive, headers) if here is None else here
        #: What may be a challenge; as a rule nothing is.
        asked = Message(body=body, headers=headers, query=query, method=method) if challenges else None
        try:
            if asked is not None and may_ask and (said := self._unproved(way, asked)) is not None:
                return said
            if refused:
                return 405, _allowing(methods), b""
            answer = await self._ingest(
                way, method=method, query=query, headers=headers, body=body, sender=self._senders.of(scope)
            )
        finally:
            self._bodies.give(len(body))
        if way.job_id is None and answer.status in _GOOD:
            prove(scope)
        # Only what was proved is read, and a handshake is small: nobody has the event loop parse megabytes.
        if asked is not None and answer.status in _GOOD and len(body) <= LARGEST:
            return await self._proved(way, asked, answer)
        return _told(answer)

    def _unproved(self, way: Way, message: Message) -> _Told | None:
        """What a challenge hears that needs no proof."""
        try:
            said = self._confirm.unproved(way, message)
        except KeyUnavailableError as error:
            log.error("challenge_not_answered", provider=way.provider.name, reason=str(error))
            return _coded(_UNAVAILABLE, error.code)
        return None if said is None else _with_body(200, *said)

    async def _proved(self, way: Way, message: Message, answer: Answer) -> _Told:
        """What a genuine callback hears that may be a challenge too."""
        try:
            said = await self._confirm.proved(way, message)
        except (KeyUnavailableError, ProviderError) as error:
            # Whoever asked must ask again, or the address is never called back.
            log.error("challenge_not_answered", provider=way.provider.name, reason=str(error))
            return _coded(_UNAVAILABLE, error.code)
        return _told(answer, said)

    async def _note(self, address: Address, way: Way | None, scope: Scope, status: int, code: str) -> None:
        """Note a refusal, once it has been told: how long that takes says nothing about the address."""
        route = _route(address)
        if way is None:
            if self._refusals.look_closer():
                token = "" if address.token is None else f"/{address.token}"
                await self._miss(route, scope, f"/{route}/{address.provider}{token}")
            else:
                self._refusals.note(route, 404)
            return
        self._refusals.note(route, status, code=code, provider=way.provider.name, job=way.job_id)
        # A retired token is nobody's any more, and what had no room is sent again.
        if way.job_id is not None and status not in {404, _UNAVAILABLE}:
            await self._refuse(
                way, code=code, status=status, method=scope["method"], sender=self._senders.of(scope)
            )

    async def _miss(self, route: str, scope: Scope, path: str) -> None:
        found = near(path, ways=self._ingest.way, names=self._ingest.callers)
        if found is None:
            self._refusals.note(route, 404)
            return
        way = found.way
        job = None if way is None else way.job_id
        self._refusals.note(route, 404, provider=found.provider, job=job, near=found.kind)
        if way is not None:
            await self._refuse(
                way, code="address_missed", status=404, method=scope["method"], sender=self._senders.of(scope)
            )


def _route(address: Address) -> str:
    return "callbacks" if address.token is not None else "webhooks"


def _told(answer: Answer, said: Said | None = None) -> _Told:
    """What the sender hears."""
    status = answer.status
    if answer.code is not None and status in {401, _UNAVAILABLE}:
        return _coded(status, answer.code)
    if said is not None:
        return _with_body(status, *said)
    if status == _NO_CONTENT:
        return status, _PRIVATE, b""  # no length either (RFC 9110, 8.6)
    return status, [*_EMPTY, *_RETRY] if status == _UNAVAILABLE else _EMPTY, b""


def _allowing(methods: Sequence[str]) -> list[tuple[bytes, bytes]]:
    return [(b"allow", ", ".join(methods).encode()), *_EMPTY]


@cache
def _coded(status: int, code: str) -> _Told:
    retry = _RETRY if status == _UNAVAILABLE else ()
    return _with_body(status, f'{{"code":"{code}"}}', b"application/json", *retry)


def _with_body(status: int, text: str, kind: bytes, *more: tuple[bytes, bytes]) -> _Told:
    body = text.encode()
    length = () if status == _NO_CONTENT else ((b"content-length", b"%d" % len(body)),)
    return status, [*_PRIVATE, *more, (b"content-type", kind), *length], body
