"""Two jobs that are one at the provider: which stays, with what, and whose handlers are told."""

from typing import Any

import pytest

from receiver.core.identity import new_id
from receiver.core.job.uniting import ADOPTED, same_work, unite
from receiver.core.model import Failure, Held, Job, JobState, Source
from tests.core.making import NOW, job

HELD = Held(callback_id="cb_1", size=2, sha256="0" * 64)
OPEN = [state for state in JobState if not state.ended]
#: Ends that somebody told.
TOLD = [state for state in JobState if state.ended and state is not JobState.TIMED_OUT]


def ours(**changes: Any) -> Job:  # noqa: ANN401
    """A job of a caller, whose submission nobody answered."""
    return job(**{"id": new_id("job", NOW), "submission": "unknown", "metadata": {"order": 7}, **changes})


def adopted(**changes: Any) -> Job:  # noqa: ANN401
    """A job that was made of a callback, a second later."""
    defaults = {
        "id": new_id("job", NOW + 1000),
        "submission": ADOPTED,
        "remote_id": "r1",
        "state": JobState.SUBMITTED,
    }
    return job(**defaults | changes)


def ended(state: JobState) -> dict[str, Any]:
    """How a job looks that ended so."""
    held = HELD if state is JobState.SUCCEEDED else None
    error = None if held else Failure(code="x")
    return {
        "state": state,
        "ended_at": NOW + 2000,
        "settled_by": Source.CALLBACK,
        "held": held,
        "error": error,
    }


def test_only_what_was_made_of_a_callback_is_another_jobs_work() -> None:
    """Two submissions are two jobs, whatever their provider calls them; what was there before is earlier work."""
    assert same_work(ours(), adopted())
    assert same_work(adopted(), ours())
    assert same_work(adopted(), adopted(id=new_id("job", NOW)))
    assert not same_work(ours(), ours(id=new_id("job", NOW + 1000), submission="sent"))
    assert not same_work(ours(), adopted(id=new_id("job", NOW - 1000)))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("state", [*OPEN, JobState.TIMED_OUT])
def test_the_older_stays_and_takes_the_outcome(state: JobState, told: JobState, *, turned: bool) -> None:
    """Its id and metadata are the caller's; what the other came to is its own, and late after a time-out."""
    one = ours(state=state, **({"ended_at": NOW + 500} if state.ended else {}))
    other = adopted(**ended(told), callbacks=2, first_callback="cb_1")
    united = unite(other, one) if turned else unite(one, other)
    after = united.job
    assert (after.id, after.metadata, after.remote_id) == (one.id, {"order": 7}, "r1")
    assert (after.state, after.held, after.error, after.settled_by) == (
        told,
        other.held,
        other.error,
        Source.CALLBACK,
    )
    assert (after.callbacks, after.first_callback) == (2, "cb_1")
    assert united.absorbed == other
    assert (united.inherits, united.late) == (True, state is JobState.TIMED_OUT)


@pytest.mark.parametrize("state", TOLD)
@pytest.mark.parametrize("told", TOLD)
def test_an_outcome_that_stands_stays(state: JobState, told: JobState) -> None:
    """The first one that was committed under the name that stays."""
    one = ours(**ended(state))
    united = unite(one, adopted(**ended(told)))
    assert (united.job.state, united.job.held, united.inherits) == (state, one.held, False)


@pytest.mark.parametrize("young", [*OPEN[1:], JobState.TIMED_OUT])
@pytest.mark.parametrize("old", [*OPEN, JobState.TIMED_OUT])
def test_without_an_outcome_the_further_one_counts(old: JobState, young: JobState) -> None:
    """A time-out of a job that nobody asked for is no word about the caller's."""
    one = ours(state=old, **({"ended_at": NOW + 500} if old.ended else {}))
    success = {"succeeded_at": NOW + 9} if young is JobState.FETCHING else {}
    united = unite(one, adopted(state=young, **({"ended_at": NOW + 9} if young.ended else success)))
    assert not united.inherits
    assert united.job.state.rank == max(old.rank, JobState.SUBMITTED.rank if young.ended else young.rank)
    assert (united.job.state is JobState.TIMED_OUT) is (old is JobState.TIMED_OUT)
    assert united.job.succeeded_at == success.get("succeeded_at")


def test_a_result_replaces_what_was_taken_for_gone() -> None:
    """The caller's job expired for want of its result, which came under the other's id: it is a late outcome."""
    older = ours(**ended(JobState.EXPIRED))
    united = unite(older, adopted(**ended(JobState.SUCCEEDED), succeeded_at=NOW))
    assert (united.job.id, united.job.state, united.job.held) == (older.id, JobState.SUCCEEDED, HELD)
    assert (united.inherits, united.late) == (True, True)
    # Word of a result is a reason to ask, and ends nothing.
    waiting = unite(older, adopted(state=JobState.FETCHING, succeeded_at=NOW))
    assert (waiting.job.state, waiting.job.succeeded_at, waiting.inherits) == (JobState.EXPIRED, NOW, False)
