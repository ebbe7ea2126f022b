"""The body of an answer: within bounds, without its content codings, stored as it arrives if it is a result."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from receiver.core.asking.exchange import HttpResponse
from receiver.core.body.encoding import EncodingError, Inflation, codings_of, undone
from receiver.core.body.jsontext import BLANK
from receiver.core.body.members import Json
from receiver.core.charset import in_utf8
from receiver.core.errors import ProviderError, UnreadableError
from receiver.core.message import Message
from receiver.core.model import Held
from receiver.storage.results import CHUNK, cut, unfolded
from receiver.threads import off_loop

#: Takes a stored result's next bytes: (part, number of the first chunk, content).
Sink = Callable[[int, int, bytes], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]


async def bounded(arriving: AsyncIterator[bytes], *, largest: int) -> AsyncIterator[bytes]:
    """What is *arriving*; raises ProviderError where it is larger than *largest* bytes."""
    total = 0
    async for piece in arriving:
        total += len(piece)
        if total > largest:
            raise ProviderError(
                f"The answer is larger than RECEIVER_MAX_RESULT ({largest} bytes).",
                code="result_too_large",
            )
        yield piece


async def as_far_as_it_came(
    arriving: AsyncIterator[bytes], headers: Headers, *, largest: int
) -> AsyncIterator[bytes]:
    """What is *arriving*; that it breaks off is no matter where a whole object in JSON has come by then.

    For the answer to a submission, which nobody gives twice: where an object ends is told by itself, not by how the
    connection did. One that was packed is unpacked as far as it came.
    """
    import httpx

    body = bytearray()
    try:
        async for piece in arriving:
            body += piece
    except httpx.TransportError:
        plain = await off_loop(_unfolded_so_far, bytes(body), headers, largest=largest)
        if not _is_object(plain, headers):
            raise
        yield plain
    else:
        yield bytes(body)


def _unfolded_so_far(body: bytes, headers: Headers, *, largest: int) -> bytes:
    """*body* without its codings, as far as it can be told."""
    codings, plain = codings_of(headers), bytearray()
    try:
        for piece in Inflation(codings, largest=largest).feed(body):
            plain += piece
    except EncodingError:
        return bytes(plain) or body
    return bytes(plain)


def _is_object(body: bytes, headers: Headers) -> bool:
    kind = Message(headers=headers).header(b"content-type") or b""
    text = in_utf8(body, kind.decode("latin-1"))
    try:
        return text.strip(BLANK)[:1] == b"{" and Json(text) is not None
    except UnreadableError:
        return False


async def whole(
    status: int, headers: Headers, arriving: AsyncIterator[bytes], *, largest: int
) -> HttpResponse:
    """The answer with its body in memory: without its codings, or as it arrived where they cannot be undone."""
    body = b"".join([piece async for piece in arriving])
    if codings_of(headers):
        try:
            # A few bytes may unfold into megabytes: not on the event loop.
            body = await off_loop(undone, body, headers, largest=largest)
        except EncodingError as error:
            coded = error.code if error.packed else None
            return HttpResponse(status=status, headers=tuple(headers), body=body, coded=coded)
        headers = _unlabelled(headers)
    return HttpResponse(status=status, headers=tuple(headers), body=body)


async def stored(
    status: int, headers: Headers, arriving: AsyncIterator[bytes], *, sink: Sink, part: int, largest: int
) -> HttpResponse:
    """The answer with its body handed to *sink*, as *part*, a chunk at a time: a large one is never in memory whole.

    A body with codings is written twice, as it arrived and as it unfolds: whether that ends well is known at its
    end, and one that was sent only once must be kept either way. The store drops the part that is not the result.
    """
    kind = Message(headers=headers).header(b"content-type")
    received = Storing(sink, part)
    unfolding = _Unfolding(codings_of(headers), Storing(sink, unfolded(part)), largest=largest)
    async for piece in arriving:
        await received.add(piece)
        await unfolding.add(piece)
    plain = unfolding.end()
    if plain is None:
        held = await received.end(kind)
        return HttpResponse(status=status, headers=tuple(headers), held=held, coded=unfolding.trouble)
    return HttpResponse(status=status, headers=_unlabelled(headers), held=await plain.end(kind))


class Storing:
    """One part of a result on its way into the store."""

    def __init__(self, sink: Sink, part: int) -> None:
        """Take what *part* is to hold, and hand it to *sink*."""
        self._sink = sink
        self._part = part
        self._digest = hashlib.sha256()
        self._number = 0
        self._size = 0
        self._gathered = 0
        self._waiting: list[bytes] = []

    async def add(self, arrived: bytes) -> None:
        """Take what comes next."""
        self._digest.update(arrived)
        self._size += len(arrived)
        for piece in cut(arrived):
            if self._waiting and self._gathered + len(piece) > CHUNK:
                await self._write()
            self._gathered += len(piece)
            self._waiting.append(piece)

    async def end(self, kind: bytes | None) -> Held:
        """Hand over what is left; where all of it lies, of the content type *kind*."""
        if self._waiting or self._number == 0:
            await self._write()
        content_type = (kind or b"application/octet-stream").decode("latin-1")[:200]
        return Held(
            callback_id=None,
            offset=self._part,
            size=self._size,
            sha256=self._digest.hexdigest(),
            content_type=content_type,
        )

    async def _write(self) -> None:
        chunk = b"".join(self._waiting)
        self._waiting.clear()
        await self._sink(self._part, self._number, chunk)
        self._number, self._gathered = self._number + 1, 0


class _Unfolding:
    """What a body with codings unfolds to, as long as that goes well."""

    def __init__(self, codings: Sequence[bytes], into: Storing, *, largest: int) -> None:
        self._into: Storing | None = into if codings else None
        self._inflation: Inflation | None = None
        #: Why it was given up, if the bytes look packed all the same.
        self.trouble: str | None = None
        try:
            self._inflation = Inflation(codings, largest=largest)
        except EncodingError as error:
            self._give_up(error)

    async def add(self, piece: bytes) -> None:
        if self._into is None or self._inflation is None:
            return
        try:
            for plain in self._inflation.feed(piece):
                await self._into.add(plain)
        except EncodingError as error:
            self._give_up(error)

    def end(self) -> Storing | None:
        if self._into is not None and self._inflation is not None:
            try:
                self._inflation.end()
            except EncodingError as error:
                self._give_up(error)
        return self._into

    def _give_up(self, error: EncodingError) -> None:
        self._into = None
        self.trouble = error.code if error.packed else None


def _unlabelled(headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
    # The length and the label described the body that arrived.
    return tuple((n, v) for n, v in headers if n not in {b"content-encoding", b"content-length"})
