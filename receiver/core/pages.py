"""A result in pages: how each is asked for, and all of them as one document."""

from collections.abc import Generator
from typing import Final

from receiver.core.charset import as_utf8
from receiver.core.errors import UnreadableError
from receiver.core.exchange import Gone, HttpRequest, HttpResponse, Pending, Seen, TryLater
from receiver.core.jsontext import BLANK
from receiver.core.members import place_of
from receiver.core.message import Message
from receiver.core.model import HOUR, JobState, Observation
from receiver.core.pagination import page_of
from receiver.core.provider import Provider
from receiver.core.reading import read
from receiver.core.retry import parse_retry_after
from receiver.core.shape import Shape

_OK: Final = range(200, 300)
_GONE: Final = {404, 410}
_NOT_YET: Final = (202,)


def page(
    provider: Provider,
    shape: Shape,
    url: str,
    *,
    number: int,
    before: int,
    remote_id: str | None,
    largest: int,
    now: int,
) -> Generator[HttpRequest, HttpResponse, Seen | Pending | Gone | TryLater]:
    """Ask for page *number* of a result at *url*; *before* is how many items came in front of it.

    What comes back has a ``page``, or, where there is nothing after the first one, the whole result.
    """
    ours = provider.lists(url)
    response = yield HttpRequest(
        purpose="fetch",
        method="GET",
        url=url,
        credentials=ours and provider.fetch.authenticated,
        anywhere=not ours,
    )
    wait = parse_retry_after(response.header(b"retry-after"), now=now, longest=HOUR)
    if response.status in (_NOT_YET if provider.poll is None else provider.poll.pending):
        return Pending(wait=wait)
    if response.status in _GONE:
        return Gone(status=response.status)
    if response.status not in _OK:
        return TryLater(code=f"status_{response.status}", wait=wait, answer=response)
    message = Message(body=response.body, headers=response.headers)
    try:
        seen = read(message, shape, largest=largest)
        found = page_of(message, shape, url=url, number=number, before=before, largest=largest)
    except UnreadableError as error:
        return TryLater(code=error.code, wait=wait, answer=response)
    if seen.remote_id is not None and remote_id is not None and seen.remote_id != remote_id:
        return TryLater(code="answer_for_another_job", wait=wait)
    unsuccessful = seen.state is not None and seen.state is not JobState.SUCCEEDED
    if seen.state is not None and unsuccessful and not shape.may_have_result(seen.state, seen.word):
        return TryLater(code="page_unsuccessful", wait=wait) if seen.state.ended else Pending(wait=wait)
    if number == 1 and found.next_url is None:
        return Seen(seen=Observation(state=JobState.SUCCEEDED, result=seen.result))
    return Seen(seen=Observation(state=JobState.SUCCEEDED, result_url=found.next_url), page=found)


def taken_apart(content: bytes, content_type: str, shape: Shape) -> tuple[bytes, bytes, bytes]:
    """A page as UTF-8: the result up to its items, the items without the brackets around them, and the rest.

    Raises:
        UnreadableError: it is no page of that shape.
    """
    headers = ((b"content-type", content_type.encode("latin-1", "replace")),)
    text, codec, _ = as_utf8(content, Message(headers=headers))
    if codec is not None:
        text = text.decode(codec, "replace").encode()
    text = text.strip(BLANK)
    items, whole = place_of(text, _keys(shape.items)), place_of(text, _keys(shape.result))
    if items is None or whole is None:
        raise UnreadableError(
            f"There is no list at {shape.items!r}, which pages add to.", code="items_missing"
        )
    (begin, end), (start, stop) = items, whole
    return text[start : begin + 1], text[begin + 1 : end - 1].strip(BLANK), text[end - 1 : stop]


def _keys(path: str | None) -> tuple[str, ...]:
    return () if path in {None, "."} else tuple((path or "").split("."))
