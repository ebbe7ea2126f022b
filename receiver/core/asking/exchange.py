"""Conversations with a provider, as generators of requests: one driver sends them, tests just answer.

A generator yields what to send, is sent the answer, and returns what was learned. It knows no credential:
whoever sends a request attaches those, and only at the provider's own origins.
"""

import json
from collections.abc import Generator, Mapping
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlencode

from msgspec.structs import replace

from receiver.core.asking.assembly import Extras, assemble, with_addresses
from receiver.core.asking.wanted import is_nameless
from receiver.core.description.parts import own_headers
from receiver.core.description.placeholders import fill, fill_all
from receiver.core.description.provider import Poll, Provider
from receiver.core.errors import RequestError, UnreadableError
from receiver.core.message import Message
from receiver.core.model import (
    HOUR,
    Due,
    Failure,
    Held,
    Job,
    JobState,
    Observation,
    ResultAt,
    Value,
)
from receiver.core.reading.document import Document
from receiver.core.reading.given import Given
from receiver.core.reading.observation import UNREADABLE, lost_to_readers, read, unreadable_failure
from receiver.core.reading.pagination import ResultPage, page_of
from receiver.core.retry import parse_retry_after

_LONGEST_WORDS: Final = 2000
#: What a failure is called whose reason is the body of an answer.
ANSWERED: Final = "provider_answered"
_LONGEST_TYPE: Final = 200
#: An answer that cannot be read is asked for again after so many milliseconds, before it is believed.
_CONFIRMED_AFTER: Final = (1000, 2000)
_OK: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)
_GONE: Final = {404, 410}
_TRY_LATER: Final = 429
_SERVER_ERROR: Final = 500


class FilePart(Value, frozen=True, kw_only=True):
    """A file of a multipart submission."""

    name: str
    content: bytes


class HttpRequest(Value, frozen=True, kw_only=True):
    """A request to a provider."""

    purpose: Literal["submit", "poll", "fetch", "cancel", "keys", "download", "upload"]
    method: str
    url: str
    headers: dict[str, str] = {}
    body: bytes | None = None
    #: Text fields and files of a multipart body.
    fields: dict[str, str] = {}
    files: dict[str, FilePart] = {}
    credentials: bool = True
    #: Whether any public https origin will do; it gets no credentials.
    anywhere: bool = False
    #: Milliseconds to wait before it is sent.
    after: int = 0


class HttpResponse(Value, frozen=True, kw_only=True):
    """A provider's answer, its body bounded by whoever received it."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    #: Where the body was stored instead, if the request was a fetch.
    held: Held | None = None
    #: Why the body is as it arrived, if it is packed by a content coding that could not be undone.
    coded: str | None = None
    #: Whether it broke off after its headers, so that nobody knows what it would have said.
    broken: bool = False

    def header(self, name: bytes) -> str | None:
        """The first header of that (lower-case) name, as text."""
        value = Message(headers=self.headers).header(name)
        return None if value is None else value.decode("latin-1")


class Accepted(Value, frozen=True, kw_only=True):
    """The provider took the job."""

    seen: Observation
    #: The key for its callbacks, where the answer brings one.
    key: str | None = None
    #: All that it said, where it says that the job has ended already.
    given: Given | None = None

    def __repr__(self) -> str:
        return f"Accepted(seen={self.seen!r})"


class Refused(Value, frozen=True, kw_only=True):
    """The provider will not take the job as it stands."""

    error: Failure
    answer: HttpResponse | None = None


class TryLater(Value, frozen=True, kw_only=True):
    """The provider said that it did nothing: it may be asked again, after ``wait`` ms if it named a wait."""

    code: str
    wait: int | None = None
    answer: HttpResponse | None = None


class Unknown(Value, frozen=True, kw_only=True):
    """Nobody knows whether the provider took the job."""

    code: str
    answer: HttpResponse | None = None


class Seen(Value, frozen=True, kw_only=True):
    """The provider answered about the job."""

    seen: Observation
    #: Where the result is stored, or to be stored with this, if it came along; and the result itself, in that case.
    held: Held | None = None
    content: bytes | None = None
    #: Why the result is kept packed, as it arrived, where it could not be unpacked.
    coded: str | None = None
    #: One page of the result, where that comes in several.
    page: ResultPage | None = None
    #: All that it said, where it says how the job ended.
    given: Given | None = None


class Fetched(Value, frozen=True, kw_only=True):
    """The result is stored; ``coded`` says why it is still packed, if it is."""

    held: Held
    coded: str | None = None


class Pending(Value, frozen=True, kw_only=True):
    """The provider says "not yet"."""

    wait: int | None = None


class Gone(Value, frozen=True, kw_only=True):
    """The provider knows nothing at this address (404, 410)."""

    status: int


Submission: TypeAlias = Accepted | Refused | TryLater | Unknown
Look: TypeAlias = Seen | Pending | Gone | TryLater
#: What an answer about a status says, how many milliseconds to wait after it, and the answer.
_Answered: TypeAlias = tuple[Observation, int | None, HttpResponse]


def submit(
    provider: Provider,
    job: Job,
    request: Mapping[str, Any],
    *,
    callback_url: str | None,
    secret: bytes | None,
    files: Mapping[str, FilePart],
    extras: Extras = Extras(),  # noqa: B008  (it is frozen)
    largest: int,
    now: int,
) -> Generator[HttpRequest, HttpResponse, Submission]:
    """Start *job* at the provider.

    Raises:
        RequestError: the request sets a field that the receiver sets.
    """
    response = yield submission_request(
        provider, job, request, callback_url=callback_url, secret=secret, files=files, extras=extras
    )
    wait = parse_retry_after(response.header(b"retry-after"), now=now, longest=HOUR)
    if response.status == _TRY_LATER:
        return TryLater(code="too_many_requests", wait=wait, answer=response)
    if response.status >= _SERVER_ERROR or response.status in _REDIRECTS:
        return Unknown(code=f"status_{response.status}", answer=response)
    if response.status not in _OK:
        refused = Failure(code=f"submission_refused_{response.status}", text=words(response))
        return Refused(error=refused, answer=response)
    assert provider.submit is not None  # noqa: S101  (submission_request looked)
    try:
        seen = read_answer(provider, provider.submit.answer, response, largest)
    except UnreadableError as error:
        # A 2xx means that the job is running and being paid for, so the submission is not sent again.
        return Unknown(code=error.code, answer=response)
    seen = with_addresses(provider.submit, seen, request)
    if is_nameless(provider, job, seen):
        return Unknown(code="id_missing", answer=response)
    whole = given(response) if seen.state is not None and seen.state.ended else None
    return Accepted(seen=seen, key=_key(provider, response, largest), given=whole)


def submission_request(
    provider: Provider,
    job: Job,
    request: Mapping[str, Any],
    *,
    callback_url: str | None,
    secret: bytes | None = None,
    files: Mapping[str, FilePart] = {},
    extras: Extras = Extras(),  # noqa: B008  (it is frozen)
) -> HttpRequest:
    """The request that starts *job*; raises RequestError as ``submit`` does."""
    terms = provider.submit
    if terms is None:
        raise RequestError(
            f"{provider.name} only sends callbacks; jobs cannot be submitted to it.",
            code="submit_unsupported",
        )
    made = assemble(provider, job, request, callback_url=callback_url, secret=secret, extras=extras)
    headers = own_headers(terms.headers, job.operation or "") | made.headers
    if made.content == "form":
        headers = {"content-type": "application/x-www-form-urlencoded"} | headers
        body = urlencode(made.fields()).encode()
        return HttpRequest(purpose="submit", method=terms.method, url=made.url, headers=headers, body=body)
    if made.content == "multipart":
        operation = provider.operations.get(job.operation)
        field = (operation.field if operation is not None else None) or terms.field
        fields = {name: value for name, value in made.fields().items() if name not in files}
        return HttpRequest(
            purpose="submit",
            method=terms.method,
            url=made.url,
            headers=headers,
            fields=fields,
            files={field if name == "file" else name: one for name, one in files.items()},
        )
    if made.content == "query":
        return HttpRequest(purpose="submit", method=terms.method, url=made.url, headers=headers)
    headers = {"content-type": "application/json"} | headers
    body = json.dumps(made.body).encode()
    return HttpRequest(purpose="submit", method=terms.method, url=made.url, headers=headers, body=body)


def can_look(provider: Provider, job: Job, due: Due) -> bool:
    """Whether there is an address to ask about *job*."""
    return due.result_url is not None or _status_url(provider, job, due.candidate_id) is not None


def status(
    provider: Provider, job: Job, *, candidate_id: str | None, largest: int, now: int
) -> Generator[HttpRequest, HttpResponse, Look]:
    """Ask for *job*'s state; *candidate_id* is tried where the provider's id is not known."""
    url = _status_url(provider, job, candidate_id)
    if url is None or provider.poll is None:
        return Pending()
    headers = own_headers(provider.poll.headers, job.operation or "")
    asked = HttpRequest(purpose="poll", method=provider.poll.method, url=url, headers=headers)
    if provider.poll.body is not None:
        body = json.dumps(fill_all(provider.poll.body, job, candidate_id)).encode()
        asked = replace(asked, headers={"content-type": "application/json"} | headers, body=body)
    answered = yield from _asked_for(provider, provider.poll, asked, largest=largest, now=now)
    if not isinstance(answered, tuple):
        return answered
    seen, wait, response = answered
    if seen.error is not None and seen.error.code in {UNREADABLE, ANSWERED}:
        return Seen(seen=seen, given=given(response))
    wanted = job.remote_id or candidate_id
    if (seen.remote_id is not None and wanted is not None and seen.remote_id != wanted) or (
        job.remote_id is None and seen.remote_id is None
    ):
        return TryLater(code="answer_for_another_job", wait=wait)
    if seen.state is None:
        return TryLater(code="status_missing", wait=wait, answer=response)
    if seen.goes_on:
        return _paged(provider, seen, response, url, largest) or TryLater(
            code="page_repeated", wait=wait, answer=response
        )
    if seen.state is JobState.SUCCEEDED and seen.result is None and seen.result_url is None:
        return TryLater(code="result_missing", wait=wait, answer=response)
    if seen.state.ended:
        return Seen(seen=seen, given=given(response))
    return Pending(wait=wait) if wait else Seen(seen=seen)


def _paged(
    provider: Provider, seen: Observation, response: HttpResponse, url: str, largest: int
) -> Seen | None:
    """The first page of a result, and where it goes on; ``None`` where that is the same page."""
    message = Message(body=response.body, headers=response.headers)
    assert provider.poll is not None  # noqa: S101  (it was asked)
    page = page_of(message, provider.shapes[provider.poll.answer], url=url, largest=largest)
    if page.next_url == url:
        return None
    return Seen(seen=replace(seen, result_url=page.next_url), page=page)


def _asked_for(
    provider: Provider, poll: Poll, asked: HttpRequest, *, largest: int, now: int
) -> Generator[HttpRequest, HttpResponse, _Answered | Pending | Gone | TryLater]:
    """Ask for a status until the answer can be read: what it says, how long to wait then, and the answer itself."""
    for pause in (*_CONFIRMED_AFTER, None):
        response = yield asked
        wait = parse_retry_after(response.header(b"retry-after"), now=now, longest=HOUR)
        told = _told_by_status(poll, response, wait)
        if told is not None:
            return told
        try:
            seen = read_answer(provider, poll.answer, response, largest)
        except UnreadableError as error:
            if response.status not in _OK or not lost_to_readers(error.code, response.body):
                return TryLater(code=error.code, wait=wait, answer=response)
            code = error.code
        else:
            ended = seen.state is not None and seen.state.ended
            if response.status not in _OK and not ended:
                return TryLater(code=f"status_{response.status}", wait=wait, answer=response)
            return seen, wait, response
        if pause is not None:
            # It may have been a moment's trouble on the way; an answer that comes three times is what the provider
            # means.
            asked = replace(asked, after=pause)
    return _unreadable(response, code), wait, response


def _told_by_status(
    poll: Poll, response: HttpResponse, wait: int | None
) -> _Answered | Pending | Gone | TryLater | None:
    """What the HTTP status of an answer says by itself; ``None`` where its body is to be read."""
    if response.status in poll.pending:
        return Pending(wait=wait)
    if response.status in poll.failed and not response.broken:
        return failure(response), wait, response
    if response.status in _OK or (response.status in poll.reads and not response.broken):
        return None
    if response.status in _GONE:
        return Gone(status=response.status)
    told = None if response.broken else response
    return TryLater(code=f"status_{response.status}", wait=wait, answer=told)


def failure(response: HttpResponse) -> Observation:
    """What a status says that is the job's own failure: it failed, and the body is the reason."""
    return Observation(state=JobState.FAILED, error=Failure(code=ANSWERED, text=words(response)))


def given(response: HttpResponse) -> Given:
    """An answer as a document."""
    content_type = response.header(b"content-type") or "application/octet-stream"
    return Given(content=response.body, content_type=content_type[:_LONGEST_TYPE])


def words(response: HttpResponse) -> str:
    """What a provider says in an answer that is not as described, as text."""
    return response.body[:_LONGEST_WORDS].decode(errors="replace").replace("\0", " ")


def _key(provider: Provider, response: HttpResponse, largest: int) -> str | None:
    if provider.key is None or provider.key.path is None or provider.submit is None:
        return None
    answer = Message(body=response.body, headers=response.headers)
    try:
        value = Document(answer, provider.shapes[provider.submit.answer], largest=largest).find(
            provider.key.path
        )
    except UnreadableError:
        return None
    return value if isinstance(value, str) and value else None


def _unreadable(response: HttpResponse, code: str) -> Observation:
    whole = given(response)
    return Observation(
        state=JobState.FAILED,
        error=unreadable_failure(code),
        result=ResultAt(content=whole.content, content_type=whole.content_type, offset=0),
    )


def read_answer(provider: Provider, shape: str, response: HttpResponse, largest: int) -> Observation:
    """What a provider's answer of that *shape* says; raises UnreadableError."""
    answer = Message(body=response.body, headers=response.headers)
    return read(answer, provider.shapes[shape], largest=largest)


def _status_url(provider: Provider, job: Job, candidate_id: str | None) -> str | None:
    for template in provider.poll.url if provider.poll is not None else ():
        url = fill(template, job, candidate_id)
        if url is not None and provider.lists(url):
            return url
    return None
