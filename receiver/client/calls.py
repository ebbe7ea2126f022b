"""What is asked of ``/v1``, and what its answers mean: conversations, apart from how they are carried.

Each is a generator that yields requests and pauses, and is sent answers. So the client for asyncio and the plain one
say the same, retries included.
"""

import json
import math
from collections.abc import Generator, Mapping
from itertools import count
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec

from receiver.clock import read_clock
from receiver.core.errors import ReceiverError
from receiver.core.file import When
from receiver.core.model import Result, Value
from receiver.core.reader import reader_name
from receiver.core.retry import Backoff, parse_retry_after
from receiver.views.completion import CompletionDocument
from receiver.views.file import FileDocument
from receiver.views.job import JobDocument

#: The longest that one request waits for news; proxies give up after a minute.
_LONG_POLL: Final = 30.0
_RETRIES: Final = Backoff(first=500, longest=10_000, attempts=6)
#: Answers after which the same request may be sent again: nothing was decided yet.
_AGAIN: Final = frozenset({429, 502, 503, 504})
_LONGEST_WAIT: Final = 60_000
_BAD: Final = 400
#: What somebody answers who has no such address.
_ELSEWHERE: Final = frozenset({404, 405})


def part(any_id: str) -> str:
    """An id as one part of an address: whatever it holds, no other thing is asked for."""
    return quote(any_id, safe="")


class ApiError(ReceiverError):
    """The receiver refused the request, or could not do it.

    Args:
        document: The problem details that it answered with.
    """

    code = "api_error"

    def __init__(self, message: str = "", *, document: Mapping[str, Any] | None = None) -> None:
        found = document or {}
        super().__init__(message or str(found.get("detail", "")), code=str(found.get("code", self.code)))
        #: The HTTP status.
        self.answered: int = int(found.get("status", 0))
        #: Which part of the request is to be changed, where one is.
        self.field: str | None = found.get("field")
        #: Everything that was answered.
        self.document = dict(found)


class NoAnswerFromReceiverError(ReceiverError):
    """The receiver did not answer, however often it was asked; whether the last request was heard is unknown."""

    code = "receiver_silent"


class StillRunningError(ReceiverError):
    """The job has not ended in time; it goes on, and can be waited for again.

    Args:
        job: The job as it stands.
    """

    code = "wait_timed_out"
    status = 504

    def __init__(self, message: str = "", *, job: JobDocument | None = None) -> None:
        super().__init__(message)
        self.job = job


class Asked(Value, frozen=True, kw_only=True):
    """A request to be sent."""

    method: str
    path: str
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: bytes | None = None
    #: Seconds that its answer may take.
    patience: float = 30.0


class Pause(Value, frozen=True, kw_only=True):
    """Seconds to wait before going on."""

    seconds: float


class Answered(Value, frozen=True, kw_only=True):
    """An answer; ``status`` 0 if there was none, ``unsent`` if the request surely was not heard either."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""
    unsent: bool = False
    #: Who answered, without what was asked: ``https://hooks.example.com/mounted/v1/jobs``.
    address: str = ""


T = TypeVar("T")
#: It yields ``None`` to be told the time, in seconds.
Talk: TypeAlias = Generator[Asked | Pause | None, Any, T]


def submit(
    provider: str,
    request: Mapping[str, Any],
    *,
    operation: str = "",
    idempotency_key: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    deadline: float | None = None,
    callback: bool = True,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, Any] | None = None,
    traceparent: str | None = None,
    files: When = "before",
) -> Talk[JobDocument]:
    """Submit a job. With a key of its own where none is given, so that no repetition of ours makes a second job."""
    order: dict[str, Any] = {
        "provider": provider,
        "request": dict(request),
        "operation": operation,
        "idempotency_key": idempotency_key or f"client-{uuid4()}",
        "metadata": dict(metadata or {}),
        "deadline": deadline,
    }
    # Left out where they say nothing: a receiver of an earlier version knows none of them.
    order |= {} if callback else {"callback": False}
    order |= {"headers": dict(headers)} if headers else {}
    order |= {"query": dict(query)} if query else {}
    order |= {} if files == "before" else {"files": files}
    answer = yield from _send(
        Asked(
            method="POST",
            path="/v1/jobs",
            headers={"traceparent": traceparent} if traceparent else {},
            body=json.dumps(order).encode(),
            patience=120,
        )
    )
    return msgspec.json.decode(answer.body, type=JobDocument)


def job(job_id: str, *, wait: float = 0.0, until: float = 0.0) -> Talk[JobDocument]:
    """One job as it is, or once it has ended, within *wait* seconds."""
    query = {"wait": f"{wait:.3f}"} if wait else {}
    asked = Asked(method="GET", path=f"/v1/jobs/{part(job_id)}", query=query, patience=30 + wait)
    answer = yield from _send(asked, until=until)
    return msgspec.json.decode(answer.body, type=JobDocument)


def wait(job_id: str, *, timeout: float | None, known: bool = False) -> Talk[JobDocument]:
    """Wait until a job has ended; a receiver that has answered once, or is *known*, may be away meanwhile."""
    now = yield None
    until = math.inf if timeout is None else now + timeout
    while True:
        left = min(_LONG_POLL, max(until - now, 0.0))
        found = yield from job(job_id, wait=left, until=until if known else 0.0)
        known = True
        if found.state.ended:
            return found
        now = yield None
        if now >= until:
            raise StillRunningError(
                f"{job_id} is {found.state} after {timeout:g} seconds. It goes on: wait for it again.",
                job=found,
            )


def result(job_id: str) -> Talk[Result]:
    """The result of a job, byte for byte."""
    return (yield from _bytes(f"/v1/jobs/{part(job_id)}/result"))


def answer(job_id: str) -> Talk[Result]:
    """The provider's last answer about a job, whole."""
    return (yield from _bytes(f"/v1/jobs/{part(job_id)}/answer"))


def _bytes(path: str) -> Talk[Result]:
    found = yield from _send(Asked(method="GET", path=path, patience=120))
    return Result(
        content=found.body,
        content_type=found.headers.get("content-type", "application/octet-stream"),
        size=len(found.body),
    )


def files(job_id: str) -> Talk[list[FileDocument]]:
    """The files that a job's result links to."""
    answer = yield from _send(Asked(method="GET", path=f"/v1/jobs/{part(job_id)}/files"))
    return msgspec.json.decode(answer.body, type=_FileList).files


class _FileList(msgspec.Struct, frozen=True, kw_only=True):
    files: list[FileDocument]


def cancel(job_id: str) -> Talk[JobDocument]:
    """Ask the provider to cancel."""
    answer = yield from _send(Asked(method="DELETE", path=f"/v1/jobs/{part(job_id)}"))
    return msgspec.json.decode(answer.body, type=JobDocument)


def replay(any_id: str, *, handler: str | None, dry_run: bool) -> Talk[dict[str, Any]]:
    """Make new dispatches for a job, or read a callback again; never sent twice, because each makes more."""
    noun = "callbacks" if any_id.startswith("cb_") else "jobs"
    order = {"dry_run": dry_run, **({"handler": handler} if handler else {})}
    asked = Asked(method="POST", path=f"/v1/{noun}/{part(any_id)}/replay", body=json.dumps(order).encode())
    answer = yield from _send(asked, again=dry_run)
    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return found


class FeedPart(msgspec.Struct, frozen=True, kw_only=True):
    """Some completions, and the cursor to go on from."""

    completions: list[CompletionDocument]
    cursor: str

    def ends_unwanted(self, after: str) -> bool:
        """Whether the last completions after a cursor were ones that the filters left out.

        A reader that stood before them for long would be told one day that some of them were pruned.
        """
        return self.cursor != (self.completions[-1].cursor if self.completions else after)


def completions(
    after: str, *, provider: str | None, state: str | None, wait: float, until: float = 0.0
) -> Talk[FeedPart]:
    """Some of the feed, after a cursor."""
    query = {"after": after, "wait": f"{wait:.3f}", "provider": provider, "state": state}
    given = {name: value for name, value in query.items() if value is not None}
    asked = Asked(method="GET", path="/v1/completions", query=given, patience=30 + wait)
    answer = yield from _send(asked, until=until)
    return msgspec.json.decode(answer.body, type=FeedPart)


def reader(name: str) -> Talk[str | None]:
    """The cursor that a reader of the feed goes on after; ``None`` if the receiver knows none of that name."""
    try:
        answer = yield from _send(Asked(method="GET", path=f"/v1/readers/{reader_name(name)}"))
    except ApiError as error:
        if error.code == "reader_unknown":
            return None
        raise
    return str(msgspec.json.decode(answer.body)["cursor"])


def stand(name: str, cursor: str, *, until: float = 0.0) -> Talk[str]:
    """Remember how far a reader has come: a cursor, or ``latest``; return that as a cursor."""
    body = json.dumps({"cursor": cursor}).encode()
    asked = Asked(method="PUT", path=f"/v1/readers/{reader_name(name)}", body=body)
    answer = yield from _send(asked, until=until)
    return str(msgspec.json.decode(answer.body)["cursor"])


def _send(asked: Asked, *, again: bool = True, until: float = 0.0) -> Talk[Answered]:
    """Send a request, and send it again while nothing was decided: with *again*, also where it may have been heard.

    It is sent six times, and after that until the time *until*.

    Raises:
        ApiError: the receiver answered with a problem.
        NoAnswerFromReceiverError: it did not answer.
    """
    for attempt in count(1):
        answer: Answered = yield asked
        undecided = answer.status in _AGAIN or answer.status == 0
        if not undecided and answer.status < _BAD:
            return answer
        if not undecided or not (again or answer.unsent):
            break
        if attempt >= _RETRIES.attempts and (yield None) >= until:
            break
        wait = parse_retry_after(answer.headers.get("retry-after"), now=read_clock(), longest=_LONGEST_WAIT)
        yield Pause(seconds=(_RETRIES.wait(attempt, jitter=0.0) if wait is None else wait) / 1000)
    if answer.status == 0:
        raise NoAnswerFromReceiverError
    raise ApiError(document=problem_of(answer))


def problem_of(answer: Answered) -> dict[str, Any]:
    """The problem details of an answer, also where a proxy gave it."""
    try:
        found: Any = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        found = None
    if isinstance(found, dict) and "code" in found:
        return found | {"status": answer.status}
    # A proxy in between has a form of its own, and so has an application that the receiver is mounted in.
    detail = f"{answer.address or 'The address'} answered {answer.status}, and not as a receiver does."
    if answer.status in _ELSEWHERE:
        detail += " Is that its address, with the path that it is mounted at, if any?"
    return {"status": answer.status, "code": "api_error", "detail": detail}
