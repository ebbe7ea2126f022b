"""Callback: what arrived, how it was checked and why it was rejected, and what can be done with it."""

import difflib
import socket
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import Response

from receiver.api.jobs import AS_FILE
from receiver.console import exports, shown, words
from receiver.console.ask import Ask, Route
from receiver.console.callbacks import CallbacksPage
from receiver.console.causes import Causes
from receiver.console.page import Page
from receiver.console.parts import Parts
from receiver.core.address import networks, within
from receiver.core.description.provider import Provider
from receiver.core.errors import NotFoundError, RequestError
from receiver.core.identity import CALLBACK, is_id
from receiver.core.model import Callback, Job, Value, Verdict
from receiver.storage import arrived, audit, glance
from receiver.storage.queries import Submission
from receiver.threads import off_loop, resolving
from receiver.views.masking import masked_header, masked_query

#: Lines of a difference, lines of the bodies that are compared, and lines that are alike before a difference.
_MOST_LINES: Final = 200
_MOST_COMPARED: Final = 600
_BEFORE: Final = 3
_VIEWS: Final = ("pretty", "raw", "hex")
#: Headers that differ with every request, whoever sends it.
_USUAL: Final = {"date", "x-request-id", "traceparent", "content-length", "host", "user-agent", "accept"}

#: Where clouds keep the credentials of a machine: link-local addresses, and those of Amazon by IPv6, Azure and Alibaba.
#: And what names no machine.
_CLOSED: Final = networks(
    (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::254",
        "168.63.129.16",
        "100.100.100.200",
        "0.0.0.0/8",
        "::",
        "224.0.0.0/4",
        "ff00::/8",
    )
)


class Attempt(Value, frozen=True, kw_only=True):
    """Another request that may have been the same callback."""

    callback: Callback
    #: How it differs from the one that is shown.
    sentence: str


class CallbackPage(Page):
    """One callback."""

    def __init__(self, parts: Parts, callbacks: CallbacksPage, causes: Causes) -> None:
        super().__init__(parts)
        self._callbacks = callbacks
        self._causes = causes

    @property
    def routes(self) -> list[Route]:
        """What can be asked for."""
        return [
            Route("GET", "/callbacks/{id}", self.show),
            Route("POST", "/callbacks/{id}/reveal", self.reveal, acts=True),
            Route("GET", "/callbacks/{id}/body", self.body),
            Route("GET", "/callbacks/{id}/again", self.foresee, acts=True),
            Route("POST", "/callbacks/{id}/again", self.again, acts=True),
            Route("GET", "/callbacks/{id}/send", self.ask_where, acts=True),
            Route("POST", "/callbacks/{id}/send", self.send, acts=True),
        ]

    async def show(self, ask: Ask) -> Response:
        """Show the callback, the list that it was chosen from beside it."""
        return await self._page(ask, await self._named(ask), revealed=False)

    async def reveal(self, ask: Ask) -> Response:
        """Show it with its secrets; who did is on record."""
        callback = await self._named(ask)
        async with ask.deed("reveal", subject=callback.id, job_id=callback.job_id):
            pass
        return await self._page(ask, callback, revealed=True)

    async def body(self, ask: Ask) -> Response:
        """Hand the body on as a file."""
        callback = await self._named(ask)
        headers = AS_FILE | {"content-disposition": f'attachment; filename="{callback.id}"'}
        return Response(callback.body, media_type="application/octet-stream", headers=headers)

    async def foresee(self, ask: Ask) -> Response:
        """Say what would become of it."""
        callback = await self._named(ask)
        foreseen = await self._parts.replay(callback.id, dry_run=True)
        alike = None
        if callback.verdict is Verdict.REJECTED:
            counted = await self._store.read(glance.rejections)
            which = callback.provider, callback.code or ""
            alike = next((one for one in counted if (one.provider, one.code) == which), None)
        return await ask.page(
            "callback-again.html",
            callback=callback,
            foreseen=foreseen,
            alike=alike,
            diagnosis=await self._causes.of(callback),
        )

    async def again(self, ask: Ask) -> Response:
        """Verify and read it again."""
        callback = await self._named(ask)
        action = "verify" if callback.verdict is Verdict.REJECTED else "read"
        async with ask.deed(action, subject=callback.id, job_id=callback.job_id) as detail:
            done = await self._parts.replay(callback.id, by=ask.visitor.who)
            detail |= {"verdict": done.verdict, "replay_id": done.replay_id}
        handlers = f" Handlers: {', '.join(done.handlers)}." if done.handlers else ""
        said = f"Read again: {words.state(done.verdict or '')}.{handlers}"
        return ask.redirect(f"/callbacks/{callback.id}", said=said)

    async def ask_where(self, ask: Ask) -> Response:
        """Ask for the address that it is to be sent to."""
        return await ask.page("send.html", callback=await self._named(ask), sent=None, url="", answer=None)

    async def send(self, ask: Ask) -> Response:
        """Send it, byte for byte, and show what is answered."""
        callback, url = await self._named(ask), ask.field("url").strip()
        await _check_address(url)
        async with ask.deed("send", subject=callback.id, job_id=callback.job_id, url=url) as detail:
            sent = await self._parts.replay.resend(callback.id, url=url)
            detail["status"] = sent.status
        answer = await off_loop(shown.pretty, sent.body)
        return await ask.page("send.html", callback=callback, sent=sent, url=url, answer=answer)

    async def _page(self, ask: Ask, callback: Callback, *, revealed: bool) -> Response:
        provider = self._parts.catalog.get(callback.provider)
        view = ask.request.query_params.get("body", "pretty")
        view = view if view in _VIEWS else "pretty"
        asked = self._callbacks.read(ask)
        headers = _headers(callback, provider, revealed=revealed)
        body = await off_loop(_body, callback, view)
        attempts = await self._attempts(callback)
        return await ask.page(
            "callback.html",
            callback=callback,
            size=len(callback.body),
            fields=headers,
            query_text=_query(callback, provider, revealed=revealed),
            revealed=revealed,
            steps=[] if provider is None else await self._parts.proving.walk(callback, provider),
            diagnosis=await self._causes.of(callback),
            view=view,
            views=_VIEWS,
            body=body,
            attempts=attempts,
            difference=await self._difference(callback, attempts),
            copies=exports.of_callback(
                callback,
                headers,
                provider,
                self._parts.settings.public_url,
                await self._told(callback),
                token=self._token(callback, revealed=revealed),
            ),
            deeds=await self._store.read(audit.trail, subject=callback.id, limit=20),
            **await self._callbacks.rail(asked),
        )

    def _token(self, callback: Callback, *, revealed: bool) -> str:
        """The token of the address that a callback came to: a secret, so only who is on record sees it."""
        if not revealed or callback.job_id is None:
            return "TOKEN"
        return self._parts.keys.mint(callback.job_id, provider=callback.provider)

    async def _told(self, callback: Callback) -> tuple[Job, Submission] | None:
        """The job that a callback is about, and how it was submitted."""
        if callback.job_id is None:
            return None
        try:
            record = await self._store.record(callback.job_id)
        except NotFoundError:
            return None
        return None if record.submission is None else (record.job, record.submission)

    async def _attempts(self, callback: Callback) -> list[Attempt]:
        found = await self._store.read(arrived.beside, callback)
        attempts = []
        for one, _ in found:
            try:
                other = await self._store.callback(one.id)
            except NotFoundError:
                continue
            if callback.job_id is None and other.body != callback.body:
                continue
            attempts.append(Attempt(callback=one, sentence=_compared(callback, other)))
        return attempts

    async def _difference(self, callback: Callback, attempts: list[Attempt]) -> str:
        """How the body differs from that of the attempt before, line by line."""
        before = next((one.callback for one in attempts if one.callback.id < callback.id), None)
        if before is None:
            return ""
        other = await self._store.callback(before.id)
        if other.body == callback.body:
            return ""
        return await off_loop(_differing, other.body, callback.body)

    async def _named(self, ask: Ask) -> Callback:
        named = ask.named["id"]
        if not is_id(named, CALLBACK):
            raise NotFoundError("No callback has such an id.", code="callback_not_found")
        return await self._store.callback(named)


def _headers(callback: Callback, provider: Provider | None, *, revealed: bool) -> list[tuple[str, str]]:
    secret = (
        {name.lower() for name in provider.verify.headers} if provider and provider.verify else set[str]()
    )
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in callback.headers]
    return [(name, value if revealed else masked_header(name, value, secret=secret)) for name, value in pairs]


def _query(callback: Callback, provider: Provider | None, *, revealed: bool) -> str:
    text = callback.query.decode("latin-1")
    secret = (
        {name.lower() for name in provider.verify.headers} if provider and provider.verify else set[str]()
    )
    return text if revealed else masked_query(text, secret=secret)


def _body(callback: Callback, view: str) -> shown.Pretty:
    if view == "hex":
        return shown.in_hex(callback.body)
    if view == "raw":
        return shown.raw(callback.body)
    kinds = [value for name, value in callback.headers if name.lower() == b"content-type"]
    return shown.pretty(callback.body, kinds[0].decode("latin-1") if kinds else "")


def _differing(before: bytes, body: bytes) -> str:
    """How a body differs from the one before it, line by line.

    To compare thousands of lines takes minutes, so what is alike at the beginning is passed by, and only so many of the
    lines behind it are compared.
    """
    old, new = (shown.pretty(one).text.splitlines() for one in (before, body))
    alike = next(
        (place for place, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]),
        min(len(old), len(new)),
    )
    begin = max(alike - _BEFORE, 0)
    old, new = (
        [line[: shown.LONGEST] for line in lines[begin : begin + _MOST_COMPARED]] for lines in (old, new)
    )
    lines = difflib.unified_diff(old, new, "the attempt before", "this one", n=_BEFORE, lineterm="")
    found = [line for _, line in zip(range(_MOST_LINES), lines, strict=False)]
    return "\n".join(found) or "Only what is not shown here differs: compare the bodies in raw or in hex."


def _compared(callback: Callback, other: Callback) -> str:
    """How another attempt differs, in words."""
    parts = ["the same body" if other.body == callback.body else "another body"]
    one, two = ({n.decode("latin-1").lower(): v for n, v in each.headers} for each in (callback, other))
    differing = sorted(
        name for name in one.keys() | two.keys() if one.get(name) != two.get(name) and name not in _USUAL
    )
    if differing:
        parts.append("another " + ", ".join(differing[:4]))
    elif other.body == callback.body:
        parts.append("the same headers")
    return "; ".join(parts)


async def _check_address(url: str) -> None:
    """Raise RequestError unless *url* is one that an operator may have this machine send something to."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if (
        parts.scheme not in {"http", "https"}
        or not host
        or parts.username is not None
        or not url.isprintable()
    ):
        raise RequestError("The address is http://… or https://… without a user name.", field="url")
    try:
        # Names too, and what only a resolver takes for an address: 2852039166 is one.
        found = await resolving(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return  # whoever sends says so
    if any(within(str(address[0]).partition("%")[0], _CLOSED) for *_, address in found):
        raise RequestError(
            "Nothing is sent to where clouds keep the credentials of a machine.",
            code="fetch_refused",
            field="url",
        )
