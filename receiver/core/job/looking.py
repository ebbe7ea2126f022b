"""What a look at a provider, poll or fetch, does to its job: what was found, and what the clocks make of that.

No clock ends a job by itself. A deadline and a retention end it once a look that began after them has brought no
outcome; where the provider gives no answer at all then, it is asked again for a bounded time.
"""

from typing import Final, TypeAlias

from msgspec.structs import replace

from receiver.core.asking.exchange import Gone, Pending, Seen
from receiver.core.description.keeping import UNKNOWN_RETENTION, past_retention
from receiver.core.job import transition
from receiver.core.job.transition import ASKED_FOR_RESULT, ASKED_WHY, Move, observe
from receiver.core.model import DAY, MINUTE, Due, Failure, Job, JobState, Source, Value
from receiver.core.reading.given import Given

#: How long a provider that gives no answer once a clock has run out is asked again before the clock counts.
LAST_WORD: Final = 10 * MINUTE
#: The same where the clock is only our guess of how long a result is kept.
GUESS_DOUBTED: Final = DAY
#: However much time has passed, so many looks must have failed before: the receiver may have been away.
_FEWEST_FAILURES: Final = 2
_DELETED: Final = 410
#: Why a job ended without an outcome whose provider answered with something else than its description says.
ANSWER_UNUSABLE: Final = "answer_unusable"
_LONGEST_BEGINNING: Final = 200


class Unanswered(Value, frozen=True, kw_only=True):
    """Nothing was learned: no answer, or none that says how the job stands; ``wait`` as the provider asked, in ms."""

    code: str
    wait: int | None = None
    #: Whether a single-use address surely was not used up by the attempt.
    unspent: bool = False
    #: What the provider said, where it answered; this may confirm a failure that a wake-up told of.
    words: str | None = None
    #: All of it.
    given: Given | None = None


class Nowhere(Value, frozen=True, kw_only=True):
    """There is no address to ask at."""


class Lost(Value, frozen=True, kw_only=True):
    """A single-use address was asked once already, and there is no other."""


class Interrupted(Value, frozen=True, kw_only=True):
    """A GET of a single-use address was begun and never settled: the address must not be asked a second time."""


#: What a look found.
Finding: TypeAlias = Seen | Pending | Gone | Unanswered | Nowhere | Lost | Interrupted


class Conclusion(Value, frozen=True, kw_only=True):
    """What becomes of a job and of its looks."""

    move: Move | None = None
    #: Since when something has spoken for the job's end that is not believed at once; none if nothing does.
    doubt_since: int | None = None
    failures: int = 0


class _Clock(Value, frozen=True, kw_only=True):
    """A clock that has run out for a job."""

    patience: int
    #: Whether it is only our guess, so that an answer without an outcome does not end the job either.
    guessed: bool = False


class Terms(Value, frozen=True, kw_only=True):
    """What a provider's description says about 404s."""

    #: For how many milliseconds one is doubted that comes after success and within retention.
    patience: int
    #: Whether one counts after a wake-up already.
    after_wake_up: bool = False
    #: The states other than success that may come with a result.
    result_for: frozenset[JobState] = frozenset()


def conclude(job: Job, due: Due, finding: Finding, *, started: int, now: int, terms: Terms) -> Conclusion:
    """Decide what a look does.

    Args:
        job: The job as it stands.
        due: The look, as it is planned.
        finding: What it found.
        started: When it began: an answer to a question asked before a deadline is no answer at it.
        now: The time.
        terms: What a 404 means at its provider.
    """
    move = _heard(job, due, finding, now=now, terms=terms)
    if move is not None and move.taken:
        return Conclusion(move=move)
    after = job if move is None else move.job
    told = _told(after, finding, now=now, terms=terms)
    if told is not None:
        return Conclusion(move=told)
    clock = _run_out(after, started=started)
    named = move is not None and move.result_url is not None
    if clock is not None and not named and _counts(clock, due, after, finding, now=now):
        end = transition.unreachable if after.state is JobState.FETCHING else transition.timed_out
        return Conclusion(move=_with_last_word(end(after, now=now), finding))
    doubted = clock is not None or (isinstance(finding, Gone) and _may_be_gone(after, terms))
    doubt_since = _doubt(due, after)
    if doubted and doubt_since is None:
        return Conclusion(move=move, doubt_since=now, failures=1)
    if fails(after, finding) or (doubted and not named):
        return Conclusion(move=move, doubt_since=doubt_since, failures=due.failures + 1)
    # A poll that names an address again must not hide that fetching from there keeps failing.
    failures = due.failures if has_succeeded(after) else 0
    return Conclusion(move=move, doubt_since=doubt_since, failures=failures)


def _with_last_word(move: Move, finding: Finding) -> Move:
    """Say what came instead of an outcome, as far as that is known."""
    error = move.job.error
    if error is None or error.code not in {transition.OVERDUE, transition.UNREACHABLE}:
        return move  # how it ended is known
    match finding:
        case Unanswered(words=str() as words, code=code):
            begins = " ".join(words.split())[:_LONGEST_BEGINNING]
            text = (
                f"The provider did answer, with what says nothing of the job ({code}); its last answer is kept and "
                f"{'begins: ' + begins if begins else 'is empty.'}"
            )
            error = replace(error, code=ANSWER_UNUSABLE, text=f"{error.text} {text}")
        case Unanswered(code="result_too_large" as code):
            error = Failure(
                code=code, text="The provider's answer is larger than RECEIVER_MAX_RESULT allows."
            )
        case Unanswered(code=code):
            error = replace(error, text=f"{error.text} What came of the last question: {code}.")
        case Gone(status=status):
            error = replace(error, text=f"{error.text} To the last question the provider answered {status}.")
    return replace(move, job=replace(move.job, error=error))


def has_succeeded(job: Job) -> bool:
    """Whether the provider has said that the job succeeded."""
    return job.state is JobState.FETCHING or job.succeeded_at is not None


def fails(job: Job, finding: Finding) -> bool:
    """Whether a look brought nothing that it should have brought, so that the next one waits the longer."""
    return isinstance(finding, Unanswered) or (isinstance(finding, Gone) and has_succeeded(job))


def _may_be_gone(job: Job, terms: Terms) -> bool:
    """Whether there was a result of *job* that a 404 can be about."""
    return has_succeeded(job) or (terms.after_wake_up and job.woken_by is not None)


def _told(job: Job, finding: Finding, *, now: int, terms: Terms) -> Move | None:
    """End a job of which a callback told the end, once its provider was asked for the reason, and for a result.

    A signed callback is the outcome: the questions are only why and with what, and are put for a bounded time. One that
    nobody signed is borne out by an answer that is neither an outcome nor "not yet".
    """
    if transition.hinted(job):
        words = finding.words if isinstance(finding, Unanswered) else None
        return None if words is None else transition.hint_borne_out(job, words, now=now)
    if not transition.told(job):
        return None
    named = isinstance(finding, Seen) and finding.seen.result_url is not None
    patience = ASKED_FOR_RESULT if job.ends_as in terms.result_for else ASKED_WHY
    if isinstance(finding, Nowhere) or (now >= transition.asked_until(job, patience=patience) and not named):
        return transition.ended_as_told(job, now=now)
    return None


def _heard(job: Job, due: Due, finding: Finding, *, now: int, terms: Terms) -> Move | None:
    """What the provider's word alone does."""
    match finding:
        case Seen(seen=seen, held=held):
            move = observe(job, seen, source=Source.POLL, now=now, held=held)
            if seen.result_url is not None and job.state is JobState.FETCHING and not move.completed:
                return replace(move, changed=True, look_now=True, result_url=seen.result_url)
            return move
        case Gone(status=status) if past_retention(job, now):
            return transition.gone(job, source=Source.POLL, now=now)
        case Gone(status=status) if _may_be_gone(job, terms):
            # A replica may lag behind the one that told of success: a 404 is asked again, a 410 leaves no doubt.
            if status == _DELETED or _borne(due, job, now=now, patience=terms.patience):
                return transition.gone(job, source=Source.POLL, now=now)
            return None
        case Lost():
            return transition.lost(job, source=Source.POLL, now=now)
        case _:
            return None


def _run_out(job: Job, *, started: int) -> _Clock | None:
    """The clock that had run out for an open job when a look began."""
    if job.state.ended:
        return None
    if job.state is not JobState.FETCHING:
        return _Clock(patience=LAST_WORD) if started >= job.deadline_at else None
    guessed = job.keep_ms is None
    if started < (job.succeeded_at or started) + (job.keep_ms or UNKNOWN_RETENTION):
        return None
    return _Clock(patience=GUESS_DOUBTED if guessed else LAST_WORD, guessed=guessed)


def _counts(clock: _Clock, due: Due, job: Job, finding: Finding, *, now: int) -> bool:
    """Whether a clock that has run out ends the job now."""
    if isinstance(finding, Nowhere):
        return True
    answered = isinstance(finding, Seen | Pending | Gone)
    return (answered and not clock.guessed) or _borne(due, job, now=now, patience=clock.patience)


def _borne(due: Due, job: Job, *, now: int, patience: int) -> bool:
    """Whether what speaks for the end has done so for long enough, and often enough."""
    since = _doubt(due, job)
    return since is not None and now >= since + patience and due.failures >= _FEWEST_FAILURES


def _doubt(due: Due, job: Job) -> int | None:
    """Since when the end has been doubted; what was heard before success says nothing about the result."""
    return None if due.doubt_since is None else max(due.doubt_since, job.succeeded_at or 0)
