"""A dispatch as JSON."""

from receiver.core.model import Dispatch
from receiver.views.document import Document, FailureDocument, Moment, failure_document, fields, timestamp


class DispatchDocument(Document, frozen=True, kw_only=True):
    """One completion for one handler, not finished yet or dead."""

    id: str
    job_id: str
    handler: str
    replay_id: str | None
    #: ready, lined (it waits for its turn behind others of its key), or dead.
    state: str
    #: Whether an attempt is running.
    running: bool
    attempt: int
    #: When the next attempt is due; while one is running, when its lease ends.
    run_at: Moment
    created_at: Moment
    error: FailureDocument | None


def dispatch_document(dispatch: Dispatch) -> DispatchDocument:
    """Describe a dispatch."""
    return DispatchDocument(
        **fields(
            DispatchDocument,
            dispatch,
            replay_id=dispatch.replay_id or None,
            running=dispatch.owner is not None,
            run_at=timestamp(dispatch.run_at),
            created_at=timestamp(dispatch.created_at),
            error=failure_document(dispatch.error),
        )
    )
