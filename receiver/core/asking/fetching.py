"""The conversation by which a result is fetched from an address of its own, or from one that is named there."""

import hashlib
from collections.abc import Generator
from typing import Final

from receiver.core.asking.exchange import (
    Fetched,
    Gone,
    HttpRequest,
    HttpResponse,
    Seen,
    TryLater,
    failure,
    given,
    read_answer,
)
from receiver.core.description.provider import Provider
from receiver.core.errors import UnreadableError
from receiver.core.model import HOUR, Held, JobState, Observation
from receiver.core.retry import parse_retry_after

_OK: Final = range(200, 300)
_GONE: Final = {404, 410}


def result(
    provider: Provider, url: str, *, part: int, largest: int, now: int
) -> Generator[HttpRequest, HttpResponse, Fetched | Seen | Gone | TryLater]:
    """Fetch a result from *url*; the driver stores the body as it arrives.

    Where the description says that only another address is there (``fetch.answer``), the bytes are fetched from that.
    *part* is the number of the look, which is where they are stored.
    """
    if provider.fetch.answer is not None:
        named = yield from _named(provider, url, part=part, largest=largest, now=now)
        if not isinstance(named, str):
            return named
        url = named
    ours = provider.lists(url)
    response = yield HttpRequest(
        purpose="fetch",
        method="GET",
        url=url,
        credentials=ours and provider.fetch.authenticated,
        anywhere=not ours,
    )
    if response.held is not None:
        return Fetched(held=response.held, coded=response.coded)
    return _unfetched(provider, response, now=now)


def _named(
    provider: Provider, url: str, *, part: int, largest: int, now: int
) -> Generator[HttpRequest, HttpResponse, str | Seen | Gone | TryLater]:
    """Ask at *url* where the bytes are; what it says instead, if it does not say that."""
    shape = provider.fetch.answer or ""
    ours = provider.lists(url)
    response = yield HttpRequest(purpose="poll", method="GET", url=url, credentials=ours, anywhere=not ours)
    if response.status not in _OK:
        return _unfetched(provider, response, now=now)
    try:
        seen = read_answer(provider, shape, response, largest)
    except UnreadableError as error:
        return TryLater(code=error.code, answer=response)
    if seen.state is not None and seen.state.ended and seen.state is not JobState.SUCCEEDED:
        return Seen(seen=seen, given=given(response))
    if seen.result_url is not None:
        return seen.result_url
    if seen.result is None:
        return TryLater(code="result_missing", answer=response)
    # Small ones come along.
    content = seen.result.content
    held = Held(
        offset=part,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        content_type=seen.result.content_type,
    )
    return Seen(seen=Observation(state=JobState.SUCCEEDED), held=held, content=content)


def _unfetched(provider: Provider, response: HttpResponse, *, now: int) -> Seen | Gone | TryLater:
    """What an answer says that brought no result."""
    if response.status in provider.fetch.failed and not response.broken:
        return Seen(seen=failure(response), given=given(response))
    if response.status in _GONE:
        return Gone(status=response.status)
    wait = parse_retry_after(response.header(b"retry-after"), now=now, longest=HOUR)
    return TryLater(code=f"status_{response.status}", wait=wait)
