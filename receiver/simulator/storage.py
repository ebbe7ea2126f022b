"""Where results link to: files behind signed links that expire, as object stores serve them.

The parameters of a link are those of Amazon S3 (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html,
generally known, not read for this); what signs them is our own. Conditional requests and ranges are those of RFC 9110,
sections 13 and 14; digests those of RFC 9530 and of RFC 1864.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from starlette.responses import RedirectResponse, Response, StreamingResponse

from receiver.simulator.answers import CUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from receiver.simulator.content import Content
    from receiver.simulator.jobs import Job

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
_STAMP: Final = "%Y%m%dT%H%M%SZ"
#: Up to this size a file's digests are told.
_DIGESTED: Final = 64 * 1024 * 1024
_ENDLESS: Final = 1 << 60
_HOP: Final = "hop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file that a job's result links to.

    Attributes:
        seconds: How long it takes to be sent.
        gone_at: When it is deleted; None if it stays.
    """

    content: Content
    seconds: float = 0.0
    gone_at: datetime | None = None


class Storage:
    """The files of one provider's results. A link is good for whoever has it: nobody asks for credentials.

    Args:
        files: What the files of a job are.
        link_seconds: How long a link is good for.
    """

    def __init__(self, *, files: Callable[[Job], list[Stored]], link_seconds: int) -> None:
        self._files = files
        self._link_seconds = link_seconds
        self._key = secrets.token_bytes(32)

    def links(self, job: Job) -> list[str]:
        """Return fresh links to the files of *job*; each time others."""
        job.issued += 1
        now = datetime.now(UTC)
        return [self._link(job, stored, now) for stored in self._files(job)]

    def _link(self, job: Job, stored: Stored, now: datetime) -> str:
        begin, seconds = now, self._link_seconds
        if stored.gone_at is not None and job.ended_at is not None:
            # No link outlives what it leads to.
            begin, seconds = job.ended_at, int((stored.gone_at - job.ended_at).total_seconds())
        fields = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Date": begin.strftime(_STAMP),
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
            "issue": str(job.issued),
        }
        path = f"/storage/{job.id}/{quote(stored.content.name)}"
        fields["X-Amz-Signature"] = self._signature(path, fields)
        return f"{job.submission.base_url}{path}?{urlencode(fields)}"

    def _signature(self, path: str, fields: dict[str, str]) -> str:
        signed = path + "?" + urlencode(sorted(fields.items()))
        return hmac.new(self._key, signed.encode(), "sha256").hexdigest()

    async def answer(self, job: Job, request: Request) -> Response:
        """Answer a request for a file of *job*, with the faults that are planned for it."""
        name = request.path_params["name"]
        refusal = self._refusal(job, request, name)
        if refusal is not None:
            return refusal
        stored = next((one for one in self._files(job) if one.content.name == name), None)
        if stored is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        if stored.gone_at is not None and datetime.now(UTC) > stored.gone_at:
            return _error(403, "AccessDenied", "Request has expired")
        if elsewhere := _elsewhere(job, request, name):
            return elsewhere
        return await _sent(job, request, stored)

    def _refusal(self, job: Job, request: Request, name: str) -> Response | None:
        fields = {k: v for k, v in request.query_params.items() if k not in {"X-Amz-Signature", _HOP}}
        given = request.query_params.get("X-Amz-Signature", "")
        path = f"/storage/{job.id}/{quote(name)}"
        if not hmac.compare_digest(given.encode(), self._signature(path, fields).encode()):
            return _error(403, "SignatureDoesNotMatch", "The signature does not match the request.")
        if "authorization" in request.headers:
            return _error(400, "InvalidArgument", "Only one auth mechanism allowed")
        begin = datetime.strptime(fields["X-Amz-Date"], _STAMP).replace(tzinfo=UTC)
        # A link to what is deleted sooner is as good as that is.
        own = begin + timedelta(seconds=self._link_seconds)
        if int(fields["X-Amz-Expires"]) == self._link_seconds and datetime.now(UTC) > own:
            return _error(403, "AccessDenied", "Request has expired")
        revoked = job.plan.get("file_revoked", name)
        if revoked is not None and (not revoked.times or int(fields["issue"]) <= revoked.times):
            return _error(revoked.status or 403, "AccessDenied", "Access Denied")
        if failing := job.plan.spend("file_5xx", name):
            return _error(failing.status or 503, "SlowDown", "Please reduce your request rate.")
        if limited := job.plan.spend("file_429", name):
            answer = _error(429, "TooManyRequests", "Please reduce your request rate.")
            answer.headers["retry-after"] = f"{limited.seconds or 0:g}"
            return answer
        return None


def _elsewhere(job: Job, request: Request, name: str) -> Response | None:
    private = job.plan.spend("file_private", name)
    if private is not None:
        return RedirectResponse(private.value or "/", status_code=private.status or 302)
    hops = job.plan.get("file_hops", name)
    taken = int(request.query_params.get(_HOP, "0"))
    if hops is not None and (not hops.times or taken < hops.times):
        url = request.url.include_query_params(**{_HOP: str(taken + 1)})
        return RedirectResponse(str(url), status_code=hops.status or 302)
    return None


async def _sent(job: Job, request: Request, stored: Stored) -> Response:
    """Return the file, or what was asked for of it."""
    name = stored.content.name
    changes = job.changes.get(name, 0)
    content = replace(stored.content, seed=f"{stored.content.seed} {changes}") if changes else stored.content
    headers = {
        "accept-ranges": "bytes",
        "content-type": content.content_type,
        "etag": content.etag,
        "last-modified": format_datetime(job.changed_at.astimezone(UTC), usegmt=True),
    }
    if lie := job.plan.get("file_type", name):
        headers["content-type"] = lie.value or "text/html; charset=utf-8"
    if request.headers.get("if-none-match") == content.etag:
        return Response(status_code=304, headers=headers)
    if (wanted := request.headers.get("if-match")) not in {None, "*", content.etag}:
        return _error(412, "PreconditionFailed", f"There is no {wanted} any more.")
    start, stop = 0, content.size
    status = 200
    if request.headers.get("if-range") in {None, content.etag} and "range" in request.headers:
        asked = _range(request.headers["range"], content.size)
        if asked is not None:
            start, stop = asked
            status = 206
            headers["content-range"] = f"bytes {start}-{stop - 1}/{content.size}"
            if start >= stop:
                headers["content-range"] = f"bytes */{content.size}"
                return Response(status_code=416, headers=headers)
    if content.size <= _DIGESTED:
        headers |= await _digests(job, content, whole=status == 200)  # noqa: PLR2004  the meaning of 200
    sending = _Sending(content=content, start=start, stop=stop, seconds=stored.seconds)
    headers["content-length"] = str(stop - start)
    sending, headers = _misstated(job, name, sending, headers)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return _Transfer(_broken(job, name, sending), status=status, headers=headers)


async def _digests(job: Job, content: Content, *, whole: bool) -> dict[str, str]:
    # Thirty megabytes take a while: not on the event loop, where the other answers are.
    md5, sha256 = await asyncio.to_thread(content.digests)
    if job.plan.get("file_digest", content.name):
        md5, sha256 = (
            hashlib.md5(b"another", usedforsecurity=False).digest(),
            hashlib.sha256(b"another").digest(),
        )
    of_all = {"repr-digest": f"sha-256=:{base64.b64encode(sha256).decode()}:"}
    # Content-MD5 is of what is sent, so it says nothing of the whole beside a part.
    return of_all | {"content-md5": base64.b64encode(md5).decode()} if whole else of_all


def _range(header: str, size: int) -> tuple[int, int] | None:
    """Return the range that is asked for as (start, stop), empty if there is none of it; None for other headers."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or found.group(0) == "bytes=-":
        return None  # Several ranges, or another unit: a server may send everything.
    first, last = found.groups()
    if not first:
        return max(size - int(last), 0) if int(last) else size, size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sending:
    """What is sent of a file, and how that ends.

    Attributes:
        seconds: How long the whole file would take.
        stall: After this many bytes nothing comes for `stalled` seconds; None for never.
        cut: Whether the connection is cut after the last byte.
        ended: Called once the last byte is sent.
    """

    content: Content
    start: int
    stop: int
    seconds: float
    stall: int | None = None
    stalled: float = 0.0
    cut: bool = False
    ended: Callable[[], None] = lambda: None


def _misstated(
    job: Job, name: str, sending: _Sending, headers: dict[str, str]
) -> tuple[_Sending, dict[str, str]]:
    """Return what is sent and what is said of it, with the faults that are planned for the file."""
    if wrong := job.plan.get("file_length", name):
        stated, length = wrong.size or 0, sending.stop - sending.start
        headers = headers | {"content-length": str(stated)}
        sending = replace(sending, stop=sending.start + min(stated, length), cut=stated > length)
    if job.plan.get("file_endless", name):
        headers = {key: value for key, value in headers.items() if key != "content-length"}
        sending = replace(sending, stop=_ENDLESS)
    return sending, headers


def _broken(job: Job, name: str, sending: _Sending) -> _Sending:
    """Return what is sent with the faults that happen a number of times."""
    if stalled := job.plan.spend("file_stalled", name):
        sending = replace(sending, stall=stalled.size or 0, stalled=stalled.seconds or 0.0)
    if broken := job.plan.spend("file_broken", name):
        sending = replace(sending, stop=min(sending.start + (broken.size or 0), sending.stop), cut=True)
    if changed := job.plan.spend("file_changed", name):

        def change() -> None:
            job.changes[name] = job.changes.get(name, 0) + 1

        stop = min(sending.start + (changed.size or 0), sending.stop)
        sending = replace(sending, stop=stop, cut=True, ended=change)
    return sending


class _Transfer(StreamingResponse):
    """The bytes of a file on their way, and at the end maybe a connection that is cut."""

    def __init__(self, sending: _Sending, *, status: int, headers: dict[str, str]) -> None:
        super().__init__(_pieces(sending), status_code=status, headers=headers)
        self._sending = sending
        self._cut: Callable[[], None] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._cut = scope[CUT]
        await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self.body_iterator:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        self._sending.ended()
        if self._sending.cut:
            self._cut()
            await asyncio.Event().wait()  # until the server has seen it, and ends this answer
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _pieces(sending: _Sending) -> AsyncIterator[bytes]:
    content, sent = sending.content, 0
    for piece in content.pieces(sending.start, sending.stop):
        if sending.stall is not None and sent >= sending.stall:
            await asyncio.sleep(sending.stalled)
        yield piece
        sent += len(piece)
        # Also where it takes no time: whoever has gone is noticed only while others run.
        await asyncio.sleep(sending.seconds * len(piece) / content.size if content.size else 0)


def _error(status: int, code: str, message: str) -> Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(text, status_code=status, media_type="application/xml")
