"""Noun → JSON document: what the API answers and what ``--json`` prints, from one place.

Times are RFC 3339 in UTC with milliseconds. No document holds a token, a signature or a body: where the
outside put one into a text that is shown, it is masked.
"""

import hashlib
import re
from collections.abc import Collection
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from receiver.core.diagnosis import Diagnosis
from receiver.core.identity import is_id
from receiver.core.model import (
    Attempt,
    Callback,
    Delivery,
    Dispatch,
    Due,
    Failure,
    Held,
    Job,
    JobState,
    Source,
    Step,
    Verdict,
)
from receiver.core.timestamp import write_timestamp
from receiver.storage.queries import Record, Submission

#: What stands in the place of a secret.
MASK: Final = "***"
#: The last millisecond that RFC 3339 can write.
_LAST_MOMENT: Final = 253_402_300_799_999
#: As it stands in a URL, in JSON that escapes its slashes, and in a URL inside a URL.
_TOKEN_IN_URL: Final = re.compile(
    r"(callbacks(?:\\?/|%2F)[a-z0-9-]+(?:\\?/|%2F))[A-Za-z0-9_\-]+", re.IGNORECASE
)
_TELLING: Final = re.compile(
    r"sign|\bsig\b|hmac|digest|token|auth|secret|cookie|key|passw|credential|session|jwt", re.IGNORECASE
)
_FIELD: Final = re.compile(r"(^|&)([^=&]*)=([^&]*)")

Moment: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every document."""


class FailureDocument(Document, frozen=True, kw_only=True):
    """Why something did not succeed."""

    code: str
    text: str


class ResultDocument(Document, frozen=True, kw_only=True):
    """A stored result, without its bytes."""

    size: int
    sha256: str
    content_type: str


class JobDocument(Document, frozen=True, kw_only=True):
    """One piece of work at a provider."""

    id: str
    provider: str
    operation: str
    state: JobState
    #: The provider's id of the job.
    remote_id: str | None
    #: sending, sent, refused, unknown, or none (it was not submitted here).
    submission: str
    #: What the provider was asked to send to the callback URL.
    delivery: Delivery
    created_at: Moment
    submitted_at: Moment | None
    succeeded_at: Moment | None
    ended_at: Moment | None
    deadline_at: Moment
    cancel_requested_at: Moment | None
    #: What ended the job; null until it has ended.
    settled_by: Source | None
    error: FailureDocument | None
    result: ResultDocument | None
    #: How many callbacks arrived for it.
    callbacks: int
    #: The caller's own; left out of lists.
    metadata: dict[str, Any] | UnsetType = UNSET
    #: A capability: shown once, in the answer that made it.
    callback_url: str | UnsetType = UNSET


class CallbackDocument(Document, frozen=True, kw_only=True):
    """One request that arrived."""

    id: str
    provider: str
    #: callbacks (an address for one job) or webhooks (one for the account).
    route: str
    job_id: str | None
    remote_id: str | None
    received_at: Moment
    method: str
    verdict: Verdict
    #: Why it was rejected, unreadable or without effect.
    code: str | None
    key_id: str | None
    delivery_id: str | None


class DiagnosisDocument(Document, frozen=True, kw_only=True):
    """The cause of a rejection, and what to do next."""

    code: str
    sentence: str


class CallbackDetail(CallbackDocument, frozen=True, kw_only=True):
    """One request that arrived, with everything but its body; what could be a secret is masked."""

    query: str
    headers: list[tuple[str, str]]
    size: int
    sha256: str
    #: Why it was rejected, found by trying; null where it was not.
    diagnosis: DiagnosisDocument | None


class DispatchDocument(Document, frozen=True, kw_only=True):
    """One completion for one handler, not finished yet or dead."""

    id: str
    job_id: str
    handler: str
    replay_id: str | None
    #: ready or dead.
    state: str
    #: Whether an attempt is running.
    running: bool
    attempt: int
    #: When the next attempt is due; while one is running, when its lease ends.
    run_at: Moment
    created_at: Moment
    error: FailureDocument | None


class SubmissionEntry(Document, frozen=True, kw_only=True, tag_field="kind", tag="submission"):
    """The job was recorded, and what the provider answered."""

    at: Moment
    idempotency_key: str | None
    answer_status: int | None


class CallbackEntry(Document, frozen=True, kw_only=True, tag_field="kind", tag="callback"):
    """A callback arrived."""

    at: Moment
    callback: CallbackDocument


class AttemptEntry(Document, frozen=True, kw_only=True, tag_field="kind", tag="attempt"):
    """A step or a handler was run."""

    at: Moment
    id: str
    #: submit, receive, poll, fetch, cancel, deadline, dispatch or replay.
    step: str
    number: int
    duration_ms: int
    outcome: str
    code: str | None
    handler: str | None
    replay_id: str | None
    detail: dict[str, Any]


class DispatchEntry(Document, frozen=True, kw_only=True, tag_field="kind", tag="dispatch"):
    """A dispatch was made that is not finished."""

    at: Moment
    dispatch: DispatchDocument


class DueEntry(Document, frozen=True, kw_only=True, tag_field="kind", tag="due"):
    """A step that is still to be done, at the time when it is due."""

    at: Moment
    step: Step
    attempt: int
    failures: int
    running: bool
    #: When the provider deletes the result.
    expires_at: Moment | None


Entry: TypeAlias = SubmissionEntry | CallbackEntry | AttemptEntry | DispatchEntry | DueEntry


class RecordDocument(JobDocument, frozen=True, kw_only=True):
    """A job and everything that happened to it, in the order of time."""

    timeline: list[Entry]


def timestamp(milliseconds: int) -> str:
    """Write a time: ``2026-11-21T05:00:00.000Z``."""
    return write_timestamp(min(max(milliseconds, 0), _LAST_MOMENT), "iso8601").decode()


def job_document(job: Job, *, listed: bool = False, callback_url: str | None = None) -> JobDocument:
    """Describe a job; in a list without its metadata, which lists do not load."""
    return JobDocument(**_job(job, listed=listed), callback_url=callback_url or UNSET)


def record_document(record: Record) -> RecordDocument:
    """Describe a job with its timeline."""
    return RecordDocument(**_job(record.job, listed=False), timeline=timeline(record))


def callback_document(callback: Callback) -> CallbackDocument:
    """Describe a callback."""
    return CallbackDocument(**_callback(callback))


def callback_detail(
    callback: Callback, *, proofs: Collection[str] = (), diagnosis: Diagnosis | None = None
) -> CallbackDetail:
    """Describe a callback with its headers; *proofs* names those that its provider's signature is in."""
    secret = {name.lower() for name in proofs}
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in callback.headers]
    return CallbackDetail(
        **_callback(callback),
        query=_masked_query(callback.query.decode("latin-1"), secret),
        headers=[
            (name, MASK if name.lower() in secret or _TELLING.search(name) else masked(value))
            for name, value in headers
        ],
        size=len(callback.body),
        sha256=hashlib.sha256(callback.body).hexdigest(),
        diagnosis=None
        if diagnosis is None
        else DiagnosisDocument(code=diagnosis.code, sentence=diagnosis.sentence),
    )


def dispatch_document(dispatch: Dispatch) -> DispatchDocument:
    """Describe a dispatch."""
    return DispatchDocument(
        id=dispatch.id,
        job_id=dispatch.job_id,
        handler=dispatch.handler,
        replay_id=dispatch.replay_id or None,
        state=dispatch.state,
        running=dispatch.owner is not None,
        attempt=dispatch.attempt,
        run_at=timestamp(dispatch.run_at),
        created_at=timestamp(dispatch.created_at),
        error=_failure(dispatch.error),
    )


def timeline(record: Record) -> list[Entry]:
    """Merge what is known about a job by time; what is still due comes at its own time."""
    entries: list[tuple[int, Entry]] = []
    if record.submission is not None:
        entries.append((record.job.created_at, _submission(record.job, record.submission)))
    for callback in record.callbacks:
        at = callback.received_at
        entries.append((at, CallbackEntry(at=timestamp(at), callback=callback_document(callback))))
    entries += ((one.started_at, attempt_entry(one)) for one in record.attempts)
    for dispatch in record.dispatches:
        at = dispatch.created_at
        entries.append((at, DispatchEntry(at=timestamp(at), dispatch=dispatch_document(dispatch))))
    entries += ((one.run_at, _due(one)) for one in record.due)
    return [entry for _, entry in sorted(entries, key=lambda pair: pair[0])]


def masked(text: str) -> str:
    """Mask the token of every callback URL in *text*: a provider or a proxy may repeat it."""
    return _TOKEN_IN_URL.sub(rf"\g<1>{MASK}", text)


def _masked_query(query: str, secret: Collection[str]) -> str:
    def mask(found: re.Match[str]) -> str:
        start, name, value = found.groups()
        hidden = name.lower() in secret or _TELLING.search(name)
        return f"{start}{name}={MASK if hidden else value}"

    return masked(_FIELD.sub(mask, query))


def _masked_detail(value: object) -> object:
    match value:
        case str():
            return masked(value)
        case dict():
            return {key: _masked_detail(one) for key, one in value.items()}
        case list():
            return [_masked_detail(one) for one in value]
    return value


def _job(job: Job, *, listed: bool) -> dict[str, Any]:
    return {
        "id": job.id,
        "provider": job.provider,
        "operation": job.operation,
        "state": job.state,
        "remote_id": job.remote_id,
        "submission": job.submission,
        "delivery": job.delivery,
        "created_at": timestamp(job.created_at),
        "submitted_at": _moment(job.submitted_at),
        "succeeded_at": _moment(job.succeeded_at),
        "ended_at": _moment(job.ended_at),
        "deadline_at": timestamp(job.deadline_at),
        "cancel_requested_at": _moment(job.cancel_requested_at),
        "settled_by": job.settled_by if job.state.ended else None,
        "error": _failure(job.error),
        "result": _result(job.held),
        "callbacks": job.callbacks,
        "metadata": UNSET if listed else job.metadata,
    }


def _callback(callback: Callback) -> dict[str, Any]:
    return {
        "id": callback.id,
        "provider": callback.provider,
        "route": callback.route,
        "job_id": callback.job_id,
        "remote_id": callback.remote_id,
        "received_at": timestamp(callback.received_at),
        "method": callback.method,
        "verdict": callback.verdict,
        "code": callback.code,
        "key_id": callback.key_id,
        "delivery_id": callback.delivery_id,
    }


def _submission(job: Job, submission: Submission) -> SubmissionEntry:
    return SubmissionEntry(
        at=timestamp(job.created_at),
        idempotency_key=submission.idempotency_key,
        answer_status=submission.answer_status,
    )


def attempt_entry(attempt: Attempt) -> AttemptEntry:
    """Describe a finished run of a step or of a handler."""
    # A replay's code is the id of the replay; everywhere else a code says why.
    replay_id = attempt.code if attempt.code and is_id(attempt.code, "rpl") else attempt.replay_id
    return AttemptEntry(
        at=timestamp(attempt.started_at),
        id=attempt.id,
        step=attempt.step,
        number=attempt.number,
        duration_ms=attempt.duration_ms,
        outcome=attempt.outcome,
        code=attempt.code,
        handler=attempt.handler or None,
        replay_id=replay_id or None,
        detail={key: _masked_detail(value) for key, value in attempt.detail.items()},
    )


def _due(due: Due) -> DueEntry:
    return DueEntry(
        at=timestamp(due.run_at),
        step=due.step,
        attempt=due.attempt,
        failures=due.failures,
        running=due.owner is not None,
        expires_at=_moment(due.expires_at),
    )


def _moment(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else timestamp(milliseconds)


def _failure(failure: Failure | None) -> FailureDocument | None:
    return None if failure is None else FailureDocument(code=failure.code, text=masked(failure.text))


def _result(held: Held | None) -> ResultDocument | None:
    if held is None:
        return None
    return ResultDocument(size=held.size, sha256=held.sha256, content_type=held.content_type)
