"""The body of an answer: read within bounds, and stored as it arrives where it is a result."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

from receiver.core.errors import ProviderError
from receiver.core.model import Held
from receiver.storage.results import CHUNK, cut

#: Takes a stored result's next bytes: (number of the first chunk, content).
Sink = Callable[[int, bytes], Awaitable[None]]


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


async def store(arriving: AsyncIterator[bytes], sink: Sink, *, part: int, content_type: str | None) -> Held:
    """Hand what is *arriving* to *sink*, a chunk at a time, so that a large result never is in memory whole."""
    digest, number = hashlib.sha256(), 0
    size = gathered = 0
    waiting: list[bytes] = []
    async for arrived in arriving:
        digest.update(arrived)
        size += len(arrived)
        for piece in cut(arrived):
            if waiting and gathered + len(piece) > CHUNK:
                chunk = b"".join(waiting)
                waiting.clear()
                await sink(number, chunk)
                number, gathered = number + 1, 0
            gathered += len(piece)
            waiting.append(piece)
    if waiting or number == 0:
        await sink(number, b"".join(waiting))
    kind = (content_type or "application/octet-stream")[:200]
    return Held(callback_id=None, offset=part, size=size, sha256=digest.hexdigest(), content_type=kind)
