"""A result in pages: how each is asked for, and all of them as one document."""

import json
from collections.abc import Generator
from typing import Final
from urllib.parse import parse_qsl

from msgspec.structs import replace

from receiver.core.asking.exchange import Gone, HttpRequest, HttpResponse, Pending, Seen, TryLater
from receiver.core.body.jsontext import BLANK
from receiver.core.body.members import place_of
from receiver.core.charset import in_utf8
from receiver.core.description.parts import own_headers
from receiver.core.description.placeholders import fill_all
from receiver.core.description.provider import Provider
from receiver.core.description.shape import Shape
from receiver.core.errors import UnreadableError
from receiver.core.message import Message
from receiver.core.model import HOUR, Job, JobState, Observation
from receiver.core.reading.observation import read
from receiver.core.reading.pagination import page_of
from receiver.core.retry import parse_retry_after

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
    job: Job,
    largest: int,
    now: int,
) -> Generator[HttpRequest, HttpResponse, Seen | Pending | Gone | TryLater]:
    """Ask for page *number* of a result at *url*; *before* is how many items came in front of it.

    What comes back has a ``page``, or, where there is nothing after the first one, the whole result.
    """
    response = yield _asked(provider, shape, url, job)
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
    if seen.remote_id is not None and job.remote_id is not None and seen.remote_id != job.remote_id:
        return TryLater(code="answer_for_another_job", wait=wait)
    unsuccessful = seen.state is not None and seen.state is not JobState.SUCCEEDED
    if seen.state is not None and unsuccessful and not shape.may_have_result(seen.state, seen.word):
        return TryLater(code="page_unsuccessful", wait=wait) if seen.state.ended else Pending(wait=wait)
    if number == 1 and found.next_url is None:
        return Seen(seen=Observation(state=JobState.SUCCEEDED, result=seen.result))
    return Seen(seen=Observation(state=JobState.SUCCEEDED, result_url=found.next_url), page=found)


def _asked(provider: Provider, shape: Shape, url: str, job: Job) -> HttpRequest:
    """What is sent for a page: as the status is asked for, where the page is an answer to that."""
    ours, poll = provider.lists(url), provider.poll
    asked = HttpRequest(
        purpose="poll",
        method="GET",
        url=url,
        credentials=ours and provider.fetch.authenticated,
        anywhere=not ours,
    )
    if poll is None or not ours or provider.shapes[poll.answer] is not shape:
        return asked
    headers = own_headers(poll.headers, job.operation)
    if not (shape.next or "").startswith("#"):
        return replace(asked, headers=headers)
    address, _, fields = url.partition("#")
    body = {**(fill_all(poll.body, job, None) or {}), **dict(parse_qsl(fields, keep_blank_values=True))}
    headers = {"content-type": "application/json"} | headers
    return replace(asked, method=poll.method, url=address, headers=headers, body=json.dumps(body).encode())


def taken_apart(content: bytes, content_type: str, shape: Shape) -> tuple[bytes, bytes, bytes]:
    """A page as UTF-8: the result up to its items, the items without the brackets around them, and the rest.

    Raises:
        UnreadableError: it is no page of that shape.
    """
    text = in_utf8(content, content_type).strip(BLANK)
    places = (place_of(text, _keys(path)) for path in shape.lists)
    items = next((one for one in places if one is not None and text[one[0] : one[0] + 1] == b"["), None)
    whole = place_of(text, _keys(shape.result))
    if items is None or whole is None:
        raise UnreadableError("There is no list that pages add to.", code="items_missing")
    (begin, end), (start, stop) = items, whole
    return text[start : begin + 1], text[begin + 1 : end - 1].strip(BLANK), text[end - 1 : stop]


def _keys(path: str | None) -> tuple[str, ...]:
    return () if path in {None, "."} else tuple((path or "").split("."))
