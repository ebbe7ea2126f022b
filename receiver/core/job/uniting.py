"""Uniting two jobs of ours that are one job at the provider: which of them stays, and what it takes over.

It happens at addresses for a whole account: the answer to a submission was lost, its callback came, and a job was made
of it that knows nothing of the caller's. Later the name of the caller's job becomes known, and it is the same.
"""

from typing import Final

from msgspec.structs import replace

from receiver.core.enum_members import SUBMITTED, SUCCEEDED, TIMED_OUT
from receiver.core.identity import made_at
from receiver.core.job.standing import gathering, presumed_gone
from receiver.core.model import Job, Value

#: What a job's ``submission`` says if it was not submitted here.
ADOPTED: Final = "none"


class United(Value, frozen=True, kw_only=True):
    """One job of two."""

    #: The older, as it is from now on.
    job: Job
    #: The younger, as it was.
    absorbed: Job
    #: Whether the younger's outcome is now the job's, with what its handlers are still to be told; they are not told
    #: twice.
    inherits: bool
    #: Whether the older had ended already, timed out or for want of its result, so that what is told is a late outcome.
    late: bool


def same_work(one: Job, other: Job) -> bool:
    """Whether two jobs that their provider calls the same are the same work.

    The younger must have been made of a callback. Two that were submitted here are two, even if the provider uses an
    id again; and one that was adopted before the other was even submitted is some earlier work.
    """
    return max(one, other, key=_age).submission == ADOPTED


def unite(one: Job, other: Job) -> United:
    """Put the younger of two jobs into the older, which keeps its id, its metadata and what its handlers were told."""
    older, younger = sorted((one, other), key=_age)
    outcome = (younger.state.ended and younger.state is not TIMED_OUT) or gathering(younger)
    stands = (older.state.ended and older.state is not TIMED_OUT) or gathering(older)
    if presumed_gone(older) and younger.ends_as is None and younger.succeeded_at is not None:
        # The result is here all the same, or there is word of it.
        stands = younger.state.ended and younger.state is not SUCCEEDED
    job = replace(
        older,
        remote_id=older.remote_id or younger.remote_id,
        response_url=older.response_url or younger.response_url,
        cancel_url=older.cancel_url or younger.cancel_url,
        submitted_at=older.submitted_at or younger.submitted_at,
        cancel_requested_at=older.cancel_requested_at or younger.cancel_requested_at,
        callbacks=older.callbacks + younger.callbacks,
        first_callback=older.first_callback or younger.first_callback,
    )
    if not stands and outcome:
        job = replace(
            job,
            # What had ended stays so until the files of its late result are here.
            state=older.state if gathering(younger) and older.state.ended else younger.state,
            succeeded_at=younger.succeeded_at,
            ended_at=younger.ended_at,
            settled_by=younger.settled_by,
            held=younger.held,
            answer_held=younger.answer_held,
            error=younger.error,
            woken_by=None,
            ends_as=younger.ends_as,
            attention=younger.attention,
            word=younger.word,
        )
    elif not stands:
        furthest = max(
            older.state, SUBMITTED if younger.state.ended else younger.state, key=lambda state: state.rank
        )
        job = replace(
            job,
            state=furthest,
            succeeded_at=older.succeeded_at or younger.succeeded_at,
            woken_by=older.woken_by or younger.woken_by,
            error=older.error or (None if younger.state.ended else younger.error),
            ends_as=older.ends_as or younger.ends_as,
        )
    inherits = not stands and outcome
    return United(job=job, absorbed=younger, inherits=inherits, late=inherits and older.state.ended)


def _age(job: Job) -> tuple[int, bool, str]:
    # If two were made in one millisecond, the one that was made of a callback counts as the younger.
    return made_at(job.id), job.submission == ADOPTED, job.id
