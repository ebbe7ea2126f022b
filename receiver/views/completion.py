"""A completion of the feed, as the API, the command line and the client show it."""

from receiver.core.model import JobState
from receiver.storage.feed import Completion
from receiver.views.document import Document
from receiver.views.job import JobDocument, job_document


class CompletionDocument(Document, frozen=True, kw_only=True):
    """One completion of a job."""

    #: Pass it as ``after`` to go on behind this completion.
    cursor: str
    #: How the job had ended with this completion; the job says how it stands now.
    state: JobState
    #: late where this is the second completion of its job, found where it is the third; else null.
    replay_id: str | None
    job: JobDocument


def completion_document(one: Completion) -> CompletionDocument:
    """Describe a completion."""
    return CompletionDocument(
        cursor=str(one.place),
        state=one.state,
        replay_id=one.replay_id or None,
        job=job_document(one.job),
    )
