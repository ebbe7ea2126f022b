"""Which state a job enters next, and why: every change of a job's state is decided in this file.

Each function takes the job as it is and returns a Move: the job as it is to be, and what follows from it.
The store carries a move out in one transaction; nothing here does.
"""

from typing import Final

from msgspec.structs import replace

from receiver.core.description.keeping import late_look
from receiver.core.description.shape import UNSUCCESSFUL
from receiver.core.enum_members import (
    BY_CALLBACK,
    BY_POLL,
    EXPIRED,
    FAILED,
    FETCHING,
    SUBMITTED,
    SUCCEEDED,
    TIMED_OUT,
)
from receiver.core.identity import made_at
from receiver.core.job.noting import with_addresses, with_attention
from receiver.core.job.standing import gathering, hears, presumed_gone, settled
from receiver.core.model import MINUTE, Failure, Held, Job, JobState, Observation, Source, Value

#: How long a wake-up is followed until what the provider says agrees with it.
FOLLOWED: Final = 5 * MINUTE
#: For how long a provider is asked why a job failed whose callback does not say, and for a result that may be there.
ASKED_WHY: Final = MINUTE
ASKED_FOR_RESULT: Final = 10 * MINUTE
#: What the error of an open job is called that a wake-up, which is not believed, says has failed.
HINTED: Final = "failure_hinted"
#: What the errors are called of jobs whose outcome, or result, was not seen in time.
OVERDUE: Final = "deadline_passed"
UNREACHABLE: Final = "result_unreachable"


class Move(Value, frozen=True, kw_only=True):
    """What an observation does to a job."""

    job: Job
    #: Whether the job is told anything new at all.
    changed: bool = False
    #: Whether this is the job's end, so that handlers hear of it.
    completed: bool = False
    #: Whether its result is here, and the files that it links to are to be fetched.
    gather: bool = False
    #: Whether it is the one late outcome that may follow ``timed_out``.
    late: bool = False
    #: Whether it is the result of a job that we took for *expired*.
    found: bool = False
    #: Whether to ask the provider now rather than at the next regular time.
    look_now: bool = False
    #: The address at which the result waits, if the observation named one.
    result_url: str | None = None
    #: What the timeline notes about an observation without effect.
    note: str | None = None

    @property
    def taken(self) -> bool:
        """Whether the result that came along is the job's: it is stored with it, and nobody is asked any more."""
        return self.completed or self.gather


def observe(job: Job, seen: Observation, *, source: Source, now: int, held: Held | None = None) -> Move:
    """Take what an authenticated source says about *job*. *held* is where its result is already stored.

    The first terminal observation wins; what comes later is evidence and changes nothing, except that one
    late outcome replaces ``timed_out``, and a success whose result is here replaces ``expired``.
    """
    if not hears(job, seen):
        conflicting = seen.state is not None and seen.state.ended and seen.state is not job.state
        return Move(job=job, note="conflicting_outcome" if conflicting else "already_ended")
    known = with_attention(with_addresses(job, seen), seen)
    if told(job):
        return _after_told(known, seen, source=source, now=now, held=held)
    if job.ends_as is not None and seen.state is not None and seen.state.ended and seen.result_url is None:
        # The first word about the end stands; what was still wanted was the result.
        error = _clearer(seen.error, job.error)
        return _unsuccessful(known, job.ends_as, source=source, now=now, held=held, error=error)
    if seen.state is SUCCEEDED:
        return _success(known, seen, source=source, now=now, held=held)
    if seen.state in UNSUCCESSFUL and seen.result_url is not None and held is None and not job.state.ended:
        return _unsuccessful_with_result(known, seen, now=now)
    if seen.state is not None and seen.state.ended:
        return _unsuccessful(known, seen.state, source=source, now=now, held=held, error=seen.error)
    if job.state is TIMED_OUT:
        return Move(job=known, changed=known is not job, note="still_running")
    state = seen.state if seen.state is not None and seen.state.rank > job.state.rank else job.state
    moved = replace(known, state=state) if state is not job.state else known
    return Move(job=moved, changed=moved is not job)


def submitted(job: Job, seen: Observation, *, now: int, held: Held | None = None) -> Move:
    """Take the provider's answer to the submission; a callback may have overtaken it."""
    sent = replace(with_addresses(job, seen), submission="sent", submitted_at=job.submitted_at or now)
    if not job.state.ended and job.state.rank < SUBMITTED.rank:
        sent = replace(sent, state=SUBMITTED)
    move = observe(sent, seen, source=Source.SUBMIT, now=now, held=held)
    return replace(move, changed=True)


def refused(job: Job, error: Failure, *, now: int) -> Move:
    """The provider refused the submission: it failed, unless a callback says that it runs after all."""
    if job.state is not JobState.SUBMITTING:
        return Move(job=replace(job, submission="refused"), changed=True, note="refused_but_running")
    return _end(replace(job, submission="refused"), FAILED, source=Source.SUBMIT, now=now, error=error)


def submission_unknown(job: Job) -> Move:
    """No answer came and it must not be sent again: the job waits for its callback, deadline, or a person."""
    return Move(job=replace(job, submission="unknown"), changed=True)


def named(job: Job, *, now: int) -> Job:
    """The provider's id of *job* is known, whoever told it: the provider took the job; it must not be sent again."""
    if job.state is not JobState.SUBMITTING:
        return job
    return replace(job, state=SUBMITTED, submitted_at=job.submitted_at or now)


def woken(job: Job, *, callback_id: str, most: int) -> Move:
    """Take a wake-up, which is believed no further than that it is time to look.

    One look answers all wake-ups that came before it, and *most* callbacks are heeded in all: whoever holds a
    leaked token cannot make us poll as fast as they can post.
    """
    if (settled(job) and not presumed_gone(job)) or job.held is not None:
        return Move(job=job, note="already_ended")
    if job.callbacks >= most:
        return Move(job=job, note="look_pending")
    # The look for an earlier wake-up may be under way, and its answer older than this wake-up; or that look came before
    # the provider had finished, and is being repeated. Either way a look for this one follows, now or right after.
    note = None if job.woken_by is None else "look_pending"
    return Move(job=replace(job, woken_by=callback_id), changed=True, look_now=True, note=note)


def told(job: Job) -> bool:
    """Whether a signed callback said how an open job ended, and its provider is being asked for more.

    That is why it failed, or a result that there may be all the same.
    """
    return job.ends_as is not None and job.state is not FETCHING and not job.state.ended


def hinted(job: Job) -> bool:
    """Whether a wake-up says of an open job that it failed."""
    return job.error is not None and job.error.code == HINTED and not job.state.ended


def ask_more(job: Job, seen: Observation, *, callback_id: str) -> Move:
    """A signed callback says how *job* ended, but not why, or not with what: its provider is asked before it ends so.

    From here on only the reason and the result are taken: the callback was the first to tell of an end.
    """
    error = seen.error or Failure(code="provider_reported")
    known = replace(with_attention(with_addresses(job, seen), seen), ends_as=seen.state, error=error)
    return Move(job=replace(known, woken_by=callback_id), changed=True, look_now=True)


def hint(job: Job) -> Job:
    """A wake-up says that *job* failed: not believed, but an answer that is no outcome bears it out."""
    if job.state.ended or job.error is not None:
        return job
    return replace(job, error=Failure(code=HINTED, text="A callback that nobody signed says that it failed."))


def asked_until(job: Job, *, patience: int) -> int:
    """Until when the provider is asked for more about the end of a job that a callback told of."""
    return 0 if job.woken_by is None else made_at(job.woken_by) + patience


def ended_as_told(job: Job, *, now: int) -> Move:
    """End a job as a signed callback told."""
    state = job.ends_as or FAILED
    return _end(job, state, source=BY_CALLBACK, now=now, error=job.error)


def hint_borne_out(job: Job, words: str, *, now: int) -> Move:
    """End a job that has failed as a wake-up told, with what its provider said when it was asked."""
    error = Failure(code="provider_reported", text=words)
    return _end(job, FAILED, source=BY_CALLBACK, now=now, error=error)


def followed_until(job: Job) -> int:
    """Until when a wake-up is followed that the provider's word does not bear out yet; 0 without one."""
    return 0 if job.woken_by is None else made_at(job.woken_by) + FOLLOWED


def timed_out(job: Job, *, now: int) -> Move:
    """The deadline has passed, and nobody knows better."""
    error = Failure(code=OVERDUE, text="No outcome was seen before the deadline.")
    return _end(job, TIMED_OUT, source=Source.DEADLINE, now=now, error=error)


def unreachable(job: Job, *, now: int) -> Move:
    """The provider has deleted the result by now, and it was never there for us."""
    error = Failure(code=UNREACHABLE, text="The result could not be fetched while it was kept.")
    return _without_result(job, error, source=Source.DEADLINE, now=now)


def gone(job: Job, *, source: Source, now: int) -> Move:
    """The provider has told for long enough that it knows no such result: it was deleted."""
    error = Failure(code="result_expired", text="The provider deleted the result before it was fetched.")
    return _without_result(job, error, source=source, now=now)


def lost(job: Job, *, source: Source, now: int) -> Move:
    """A single-use result was begun and not stored, and the provider has no fresh address for it."""
    error = Failure(code="result_lost", text="A single-use result was lost between its fetch and the store.")
    return _without_result(job, error, source=source, now=now)


def gathered(job: Job, *, now: int) -> Move:
    """Every file that the result links to is stored or lost: the job ends now, if its handlers waited for that."""
    if not gathering(job):
        return Move(job=job)
    state, error = (SUCCEEDED, None) if job.ends_as is None else (job.ends_as, job.error)
    return _end(job, state, source=job.settled_by or BY_POLL, now=now, held=job.held, error=error)


def abandoned(job: Job, *, now: int) -> Move:
    """A person gives the job up; one whose result is here is without the files that are not."""
    if gathering(job):
        return gathered(job, now=now)
    if job.state.ended:
        return Move(job=job, note="already_ended")
    error = Failure(code="abandoned", text="Given up by a person.")
    return _end(job, TIMED_OUT, source=Source.DEADLINE, now=now, error=error)


def worth_looking(job: Job, *, named: bool, now: int) -> bool:
    """Say whether a look that ended nothing is followed by another; *named*: it found where the result is.

    A job that timed out is looked at while its provider may have the result, and one that expired only while a callback
    is followed that says that there is something. What else has ended is looked at because a person asked for it.
    """
    if not job.state.ended or named:
        return True
    if now < followed_until(job):
        return job.state is TIMED_OUT or presumed_gone(job)
    return job.state is TIMED_OUT and late_look(job, now=now) is not None


def _without_result(job: Job, error: Failure, *, source: Source, now: int) -> Move:
    """End a job whose result cannot be had any more; one that did not succeed ends as its provider said."""
    if job.state is EXPIRED:
        return Move(job=job, note="already_ended")
    if job.ends_as is not None:
        return replace(_end(job, job.ends_as, source=source, now=now, error=job.error), note=error.code)
    return _end(job, EXPIRED, source=source, now=now, error=error)


def _unsuccessful_with_result(job: Job, seen: Observation, *, now: int) -> Move:
    """The provider says that the job did not succeed, and where there is a result of it all the same."""
    news = job.state is not FETCHING
    return Move(
        job=replace(
            job,
            state=FETCHING,
            ends_as=job.ends_as or seen.state,
            # The result's retention counts from here.
            succeeded_at=job.succeeded_at or now,
            error=_clearer(seen.error, job.error),
        ),
        changed=news,
        look_now=True,
        result_url=seen.result_url,
        note=None if news else "fetch_pending",
    )


def _clearer(seen: Failure | None, known: Failure | None) -> Failure | None:
    """The one of two accounts of a failure that says why."""
    if known is None or known.code == HINTED:
        return seen
    return seen if seen is not None and seen.text else known


def _success(job: Job, seen: Observation, *, source: Source, now: int, held: Held | None) -> Move:
    if held is not None and job.files_when == "before":
        state = job.state if job.state.ended else FETCHING
        moved = replace(
            job,
            state=state,
            succeeded_at=job.succeeded_at or now,
            settled_by=_settler(job, SUCCEEDED, source),
            held=held,
            error=_error_of(job),
            woken_by=None,
        )
        return Move(job=moved, changed=True, gather=True)
    if held is not None:
        move = _end(job, SUCCEEDED, source=source, now=now, held=held)
        return replace(move, gather=True) if job.files_when == "beside" else move
    state = job.state if job.state.ended else FETCHING
    news = job.state is not FETCHING and job.succeeded_at is None
    return Move(
        # A wake-up that told of a failure was wrong.
        job=replace(job, state=state, succeeded_at=job.succeeded_at or now, error=_error_of(job)),
        changed=news,
        # A callback says that a result is there which was taken for gone: the provider is asked for it.
        look_now=news or seen.result_url is not None or (source is BY_CALLBACK and job.state is EXPIRED),
        result_url=seen.result_url,
        note=None if news else "fetch_pending",
    )


def _unsuccessful(
    job: Job, state: JobState, *, source: Source, now: int, held: Held | None, error: Failure | None
) -> Move:
    """The job did not succeed; where it has a result all the same, the files of that are had before it ends."""
    if held is None or job.files_when != "before":
        move = _end(job, state, source=source, now=now, held=held, error=error)
        return replace(move, gather=True) if held is not None and job.files_when == "beside" else move
    moved = replace(
        job,
        state=job.state if job.state.ended else FETCHING,
        ends_as=state,
        # How long the files are kept counts from here.
        succeeded_at=job.succeeded_at or now,
        settled_by=_settler(job, state, source),
        held=held,
        error=error,
        woken_by=None,
    )
    return Move(job=moved, changed=True, gather=True)


def _end(
    job: Job,
    state: JobState,
    *,
    source: Source,
    now: int,
    held: Held | None = None,
    error: Failure | None = None,
) -> Move:
    late = job.state is TIMED_OUT
    ended = replace(
        job,
        state=state,
        succeeded_at=None
        if job.ends_as is not None or (held is not None and state in UNSUCCESSFUL)
        else job.succeeded_at or (now if state is SUCCEEDED else None),
        ended_at=now,
        settled_by=_settler(job, state, source),
        held=held,
        error=error,
        woken_by=None,
        ends_as=None,
    )
    return Move(job=ended, changed=True, completed=True, late=late, found=job.state is EXPIRED)


def _settler(job: Job, state: JobState, source: Source) -> Source:
    if source is BY_POLL and state is JobState.CANCELED and job.cancel_requested_at is not None:
        return Source.CANCEL
    if source is BY_POLL and job.woken_by is not None:
        # The look happened because a callback asked for it, so the callback settled the job.
        return BY_CALLBACK
    return source


def _after_told(job: Job, seen: Observation, *, source: Source, now: int, held: Held | None) -> Move:
    """Take what is said of a job whose end a callback told: only the reason for it is news, and a result."""
    asked, state = source is BY_POLL, job.ends_as or FAILED
    same = seen.state is state
    if seen.state in UNSUCCESSFUL and (asked or same) and (held is not None or seen.result_url is not None):
        if held is None:
            return _unsuccessful_with_result(job, seen, now=now)
        error = _clearer(seen.error, job.error)
        return _unsuccessful(job, state, source=BY_CALLBACK, now=now, held=held, error=error)
    if same and (asked or (seen.error is not None and seen.error.text)):
        error = _clearer(seen.error, job.error)
        return _end(job, state, source=BY_CALLBACK, now=now, error=error)
    if asked and seen.state is SUCCEEDED and seen.result_url is not None:
        # Some call a job completed whatever it came to, and tell at the result's address that it failed.
        return Move(job=job, look_now=True, result_url=seen.result_url)
    if asked and seen.state is not None and seen.state.ended:
        return replace(ended_as_told(job, now=now), note="conflicting_outcome")
    ended = seen.state is not None and seen.state.ended
    return Move(job=job, note="conflicting_outcome" if ended else "look_pending")


def _error_of(job: Job) -> Failure | None:
    return job.error if job.state.ended else None
