"""A job and everything that happened to it, as JSON: in the order in which it happened, and then how things stand."""

from collections.abc import Iterable
from typing import Any, TypeAlias, TypeVar

from msgspec import UNSET, UnsetType

from receiver.core.identity import is_id
from receiver.core.model import Attempt, Due, Job, Step
from receiver.storage.pages import StoredPage
from receiver.storage.queries import Record, Submission
from receiver.views.callback import CallbackDocument, callback_document
from receiver.views.dispatch import DispatchDocument, dispatch_document
from receiver.views.document import Document, Moment, fields, moment, timestamp
from receiver.views.file import FileDocument, file_document
from receiver.views.job import JobDocument, job_fields
from receiver.views.masking import masked_value

T = TypeVar("T")


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
    """A step or a handler was run: from ``at`` on, and it stands where it ended."""

    at: Moment
    id: str
    #: submit, receive, poll, fetch, files, file, state, cancel, deadline, dispatch or replay.
    step: str
    number: int
    duration_ms: int
    outcome: str
    code: str | None
    handler: str | None
    replay_id: str | None
    detail: dict[str, Any]


class DispatchEntry(Document, frozen=True, kw_only=True, tag_field="kind", tag="dispatch"):
    """How a dispatch stands that is not finished; ``at`` is when it was made."""

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


Past: TypeAlias = SubmissionEntry | CallbackEntry | AttemptEntry
Entry: TypeAlias = Past | DispatchEntry | DueEntry


class PageDocument(Document, frozen=True, kw_only=True):
    """One page of a result that comes in several, without its bytes."""

    number: int
    size: int
    sha256: str
    content_type: str
    #: How many items it adds to the result's list.
    items: int
    fetched_at: Moment


class RecordDocument(JobDocument, frozen=True, kw_only=True):
    """A job, everything that happened to it in that order, and then how things stand."""

    #: What is here of a result that comes in pages; empty for one that does not.
    pages: list[PageDocument]
    timeline: list[Entry]
    #: The files that its result links to; left out where none are fetched.
    files: list[FileDocument] | UnsetType = UNSET


def record_document(record: Record) -> RecordDocument:
    """Describe a job with its timeline."""
    job = record.job
    files = UNSET if job.files_when == "never" else [file_document(one) for one in record.files]
    return RecordDocument(
        **job_fields(job, listed=False),
        pages=[_page(one) for one in record.pages],
        timeline=timeline(record),
        files=files,
    )


def _page(page: StoredPage) -> PageDocument:
    return PageDocument(**fields(PageDocument, page, fetched_at=timestamp(page.fetched_at)))


def timeline(record: Record) -> list[Entry]:
    """What happened to a job, by time, then how things stand: its dispatches, and what is still due."""
    standing: list[tuple[int, Entry]] = [
        (one.run_at, DispatchEntry(at=timestamp(one.created_at), dispatch=dispatch_document(one)))
        for one in record.dispatches
    ]
    standing += ((one.run_at, _due(one)) for one in record.due)
    return [*history(record), *_in_order(standing)]


def history(record: Record) -> list[Past]:
    """What happened to a job: what took a time stands where it ended."""
    past: list[tuple[int, Past]] = []
    if record.submission is not None:
        past.append((record.job.created_at, _submission(record.job, record.submission)))
    for callback in record.callbacks:
        at = callback.received_at
        past.append((at, CallbackEntry(at=timestamp(at), callback=callback_document(callback))))
    past += ((ended_at(one), attempt_entry(one)) for one in record.attempts)
    return _in_order(past)


def ended_at(attempt: Attempt) -> int:
    """When an attempt ended."""
    return attempt.started_at + attempt.duration_ms


def at_first(attempts: Iterable[Attempt]) -> dict[str, tuple[str, str | None]]:
    """What callbacks were when they arrived that were read again later: verdict and code, by their ids."""
    found: dict[str, tuple[str, str | None]] = {}
    for one in attempts:
        if one.step == "replay" and "was" in one.detail:
            found.setdefault(str(one.detail.get("callback")), (one.detail["was"], one.detail.get("was_code")))
    return found


def _in_order(entries: Iterable[tuple[int, T]]) -> list[T]:
    return [entry for _, entry in sorted(entries, key=lambda pair: pair[0])]


def attempt_entry(attempt: Attempt) -> AttemptEntry:
    """Describe a finished run of a step or of a handler."""
    # A replay's code is the id of the replay; everywhere else a code says why.
    replay_id = attempt.code if attempt.code and is_id(attempt.code, "rpl") else attempt.replay_id
    return AttemptEntry(
        **fields(
            AttemptEntry,
            attempt,
            at=timestamp(attempt.started_at),
            handler=attempt.handler or None,
            replay_id=replay_id or None,
            detail={key: masked_value(value) for key, value in attempt.detail.items()},
        )
    )


def _submission(job: Job, submission: Submission) -> SubmissionEntry:
    return SubmissionEntry(
        at=timestamp(job.created_at),
        idempotency_key=submission.idempotency_key,
        answer_status=submission.answer_status,
    )


def _due(due: Due) -> DueEntry:
    return DueEntry(
        **fields(
            DueEntry,
            due,
            at=timestamp(due.run_at),
            running=due.owner is not None,
            expires_at=moment(due.expires_at),
        )
    )
