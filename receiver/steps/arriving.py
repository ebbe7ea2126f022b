"""A file as it arrives: what the answers say about it, and their bodies; after a break the download goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from receiver.core.description.provider import Provider
from receiver.core.errors import NoAnswerError
from receiver.core.file import Download
from receiver.core.files.entity import Entity, entity
from receiver.core.files.expiry import says_expired
from receiver.core.model import HOUR
from receiver.core.retry import parse_retry_after
from receiver.files.store import Writing
from receiver.outbound.downloads import Downloads

if TYPE_CHECKING:
    import httpx

#: Bytes that are handed to the file store at once.
_BUFFER: Final = 512 * 1024
#: Breaks in a row after each of which an attempt goes on, as long as each brought something.
_BREAKS: Final = 5
_AFTER_A_BREAK: Final = 0.25
#: A download has stalled if fewer than so many bytes came in so many seconds.
_WINDOW: Final = 60.0
_LEAST: Final = 60 * 1024
#: Bytes after which what is there is made safe.
_SECURE_BYTES: Final = 64 * 1024 * 1024
_GONE: Final = {403, 404, 410}
_BAD_REQUEST: Final = 400
#: How many bytes of an answer that is no file are read for its reason, and for how many seconds.
_REASON: Final = 16 * 1024
_REASON_WITHIN: Final = 5.0
_NOT_SATISFIABLE: Final = 416
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500


class AgainError(Exception):
    """The file is to be asked for again, after ``wait`` milliseconds if the other side named a wait."""

    def __init__(self, code: str, *, wait: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.wait = wait


class GoneError(AgainError):
    """The address says that the file is not there, or not for us."""


class TooLargeError(AgainError):
    """The file has more bytes than it may have."""

    def __init__(self) -> None:
        super().__init__("file_too_large")


class Arriving:
    """One file on its way from its address into *writing*.

    Args:
        source: Where it is asked for.
        largest: Bytes that it may have.
        secure: Makes safe what is here, and says so; called every *every* seconds at the latest.
        clock: Tells the time in milliseconds since the Unix epoch.
    """

    def __init__(
        self,
        writing: Writing,
        *,
        source: Downloads,
        largest: int,
        validator: str | None,
        secure: Callable[[], Awaitable[None]],
        every: float,
        clock: Callable[[], int],
    ) -> None:
        self._writing = writing
        self._source = source
        self._largest = largest
        self._secure = secure
        self._every = every
        self._clock = clock
        #: What tells the entity of which this is a part.
        self.validator = validator
        #: With which byte the last answer went on.
        self.resumed = 0

    async def take(self, provider: Provider, download: Download) -> Entity:
        """Take the whole file; return what was said of it.

        Raises:
            TooLargeError, AgainError, GoneError: as they say; what is written so far is for whoever tries again.
            ProviderError: as ``outbound.Downloads.get`` does.
            FileStoreError: as the file store does.
        """
        writing = self._writing
        for breaks in range(_BREAKS + 1):
            before = writing.size
            try:
                found = await self._ask(provider, download)
            except NoAnswerError:
                if breaks == _BREAKS or writing.size <= before or self.validator is None:
                    raise
                await asyncio.sleep(_AFTER_A_BREAK)
                continue
            for name, wanted in found.digests.items():
                if writing.digests.of(name) not in {None, wanted}:
                    await writing.restart()
                    raise AgainError("file_digest_mismatch")
            return found
        raise AssertionError("the last break is raised")

    async def _ask(self, provider: Provider, download: Download) -> Entity:
        writing = self._writing
        async with self._source.get(
            provider,
            download.url,
            authenticated=download.authenticated,
            start=writing.size,
            validator=self.validator,
        ) as answer:
            found = await self._judge(answer)
            if found.total is not None and found.total > self._largest:
                raise TooLargeError
            await self._write(answer)
        if found.total is not None and writing.size != found.total:
            raise NoAnswerError("The body ended before it was whole.", code="file_incomplete")
        return found

    async def _judge(self, answer: "httpx.Response") -> Entity:
        """What the answer brings, with what is written so far made to fit it."""
        writing, status = self._writing, answer.status_code
        if status in _GONE or (status == _BAD_REQUEST and says_expired(await _beginning(answer))):
            raise GoneError(f"status_{status}")
        found = entity(status, answer.headers.get)
        if found is None:
            if status == _NOT_SATISFIABLE:
                self.validator = None
                await writing.restart()
            wait = parse_retry_after(answer.headers.get("retry-after"), now=self._clock(), longest=HOUR)
            asked = status == _TOO_MANY or status >= _SERVER_ERROR
            raise AgainError(f"status_{status}", wait=wait if asked else None)
        if writing.size and (found.start != writing.size or found.validator not in {None, self.validator}):
            # Another entity, or a server that knows no ranges.
            await writing.restart()
        if found.start != writing.size:
            self.validator = None
            raise AgainError("file_part_unexpected")
        self.resumed = writing.size
        if writing.size == 0:
            writing.digests.want(found.digests)
        self.validator = found.validator or self.validator
        return found

    async def _write(self, answer: "httpx.Response") -> None:
        writing, loop = self._writing, asyncio.get_running_loop()
        waiting: list[bytes] = []
        gathered = 0
        pace = _Pace(loop.time(), writing.size)
        secured, secured_at = writing.size, loop.time()
        try:
            async for piece in answer.aiter_raw():
                waiting.append(piece)
                gathered += len(piece)
                if writing.size + gathered > self._largest:
                    waiting = []
                    raise TooLargeError
                now = loop.time()
                if gathered >= _BUFFER:
                    taken, waiting, gathered = waiting, [], 0
                    await writing.write(taken)
                pace.look(now, writing.size + gathered)
                if now >= secured_at + self._every or writing.size >= secured + _SECURE_BYTES:
                    await self._secure()
                    secured, secured_at = writing.size, now
        finally:
            if waiting:
                await writing.write(waiting)


async def _beginning(answer: "httpx.Response") -> bytes:
    """The first bytes of a body, as far as they come soon."""
    found = b""
    try:
        async with asyncio.timeout(_REASON_WITHIN):
            async for piece in answer.aiter_raw():
                found += piece
                if len(found) >= _REASON:
                    break
    except TimeoutError:
        pass  # what came decides
    return found[:_REASON]


class _Pace:
    """Checks that bytes keep coming."""

    def __init__(self, now: float, size: int) -> None:
        self._since = now
        self._size = size

    def look(self, now: float, size: int) -> None:
        """Raise NoAnswerError where next to nothing came for a minute."""
        if now < self._since + _WINDOW:
            return
        if size - self._size < _LEAST:
            raise NoAnswerError("Almost nothing arrived for a minute.", code="file_stalled")
        self._since, self._size = now, size
