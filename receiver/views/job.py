"""A job as JSON."""

from typing import Any

from msgspec import UNSET, UnsetType

from receiver.core.model import Delivery, Failure, Held, Job, JobState, Source
from receiver.views.document import (
    Document,
    FailureDocument,
    Moment,
    failure_document,
    fields,
    milliseconds,
    moment,
    timestamp,
)


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
    #: Whether the provider's last answer about it is kept whole: ``/v1/jobs/{id}/answer``.
    answer: bool
    #: Why somebody should look at it (needs_action, word_unlisted), and the provider's word that says so.
    attention: str | None
    word: str | None
    #: How many callbacks arrived for it; those that were rejected are not its own, and not among them.
    callbacks: int
    #: The caller's own; left out of lists.
    metadata: dict[str, Any] | UnsetType = UNSET
    #: The place in a distributed trace that it belongs to (W3C); left out of lists.
    traceparent: str | UnsetType | None = UNSET
    #: A capability: shown once, in the answer that made it.
    callback_url: str | UnsetType = UNSET


def job_document(job: Job, *, listed: bool = False, callback_url: str | None = None) -> JobDocument:
    """Describe a job; in a list without its metadata, which lists do not load."""
    return JobDocument(**job_fields(job, listed=listed, callback_url=callback_url))


def job_of(document: JobDocument) -> Job:
    """The job that *document* describes, as far as it does: its result and what only the store knows are not in it."""
    return Job(
        id=document.id,
        provider=document.provider,
        operation=document.operation,
        state=document.state,
        remote_id=document.remote_id,
        submission=document.submission,
        delivery=document.delivery,
        created_at=milliseconds(document.created_at),
        submitted_at=_read(document.submitted_at),
        succeeded_at=_read(document.succeeded_at),
        ended_at=_read(document.ended_at),
        deadline_at=milliseconds(document.deadline_at),
        cancel_requested_at=_read(document.cancel_requested_at),
        settled_by=document.settled_by,
        error=None if document.error is None else Failure(code=document.error.code, text=document.error.text),
        held=None
        if document.result is None
        else Held(
            size=document.result.size,
            sha256=document.result.sha256,
            content_type=document.result.content_type,
        ),
        attention=document.attention,
        word=document.word,
        callbacks=document.callbacks,
        metadata={} if document.metadata is UNSET else document.metadata,
        traceparent=None if document.traceparent is UNSET else document.traceparent,
    )


def _read(text: str | None) -> int | None:
    return None if text is None else milliseconds(text)


def job_fields(job: Job, *, listed: bool, callback_url: str | None = None) -> dict[str, Any]:
    """The fields of every document that describes a job."""
    return fields(
        JobDocument,
        job,
        created_at=timestamp(job.created_at),
        submitted_at=moment(job.submitted_at),
        succeeded_at=moment(job.succeeded_at),
        ended_at=moment(job.ended_at),
        deadline_at=timestamp(job.deadline_at),
        cancel_requested_at=moment(job.cancel_requested_at),
        settled_by=job.settled_by if job.state.ended else None,
        error=failure_document(job.error),
        result=_result(job.held),
        answer=job.answered,
        metadata=UNSET if listed else job.metadata,
        traceparent=UNSET if listed else job.traceparent,
        callback_url=callback_url or UNSET,
    )


def _result(held: Held | None) -> ResultDocument | None:
    if held is None:
        return None
    return ResultDocument(size=held.size, sha256=held.sha256, content_type=held.content_type)
