"""What a look does to its job: no clock ends one unasked, and no single 404 a result that was told of."""

from typing import Any

import pytest

from receiver.core.asking.exchange import Gone, Pending, Seen
from receiver.core.description.keeping import UNKNOWN_RETENTION
from receiver.core.job.looking import (
    GUESS_DOUBTED,
    LAST_WORD,
    Conclusion,
    Finding,
    Interrupted,
    Lost,
    Nowhere,
    Terms,
    Unanswered,
    conclude,
)
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Due, Held, Job, JobState, Observation, Source, Step
from tests.core.making import NOW, job

OPEN = [state for state in JobState if not state.ended and state is not JobState.FETCHING]
PATIENCE = 2 * MINUTE
TERMS = Terms(patience=PATIENCE)
HELD = Held(offset=1, size=2, sha256="0" * 64)
RUNNING = Seen(seen=Observation(state=JobState.RUNNING))
DONE = Seen(seen=Observation(state=JobState.SUCCEEDED), held=HELD)
WHERE = Seen(seen=Observation(state=JobState.SUCCEEDED, result_url="https://api.acme.example/r"))
SILENCE = Unanswered(code="no_answer")
#: Answers without an outcome.
ANSWERED: list[Finding] = [RUNNING, Pending(), Gone(status=404)]


def due(**changes: Any) -> Due:  # noqa: ANN401
    """A look that was claimed for the first time."""
    return Due(
        **{"job_id": "job_1", "step": Step.LOOK, "provider": "acme", "run_at": NOW, "attempt": 1, **changes}
    )


def looked(one: Job, finding: Finding, *, at: int, **changes: Any) -> Conclusion:  # noqa: ANN401
    """What a look at *one* came to that began and ended *at*."""
    return conclude(one, due(**changes), finding, started=at, now=at, terms=TERMS)


def looked_until_the_end(one: Job, finding: Finding, *, at: int, every: int) -> tuple[Conclusion, int, int]:
    """Look again and again with the same finding: how it ended, how long that took, and how many looks."""
    began, plan, looks = at, due(), 0
    while True:
        looks += 1
        assert looks < 10_000
        found = conclude(one, plan, finding, started=at, now=at, terms=TERMS)
        if found.move is not None and found.move.completed:
            return found, at - began, looks
        plan = due(doubt_since=found.doubt_since, failures=found.failures)
        at += every


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("late", [0, 30 * DAY], ids=["at it", "long after it"])
@pytest.mark.parametrize("finding", [*ANSWERED, Nowhere()], ids=repr)
def test_the_deadline_ends_a_job_that_was_asked_about(state: JobState, late: int, finding: Finding) -> None:
    """An answer without an outcome, to a question asked at the deadline or after it, or nobody to ask: timed out."""
    one = job(state=state)
    before = looked(one, finding, at=one.deadline_at - 1)
    assert before.move is None or not before.move.completed
    move = looked(one, finding, at=one.deadline_at + late).move
    assert move is not None
    assert (move.job.state, move.completed, move.job.settled_by) == (
        JobState.TIMED_OUT,
        True,
        Source.DEADLINE,
    )
    assert move.job.error is not None
    assert move.job.error.code == "deadline_passed"


def test_a_question_asked_before_the_deadline_is_none_at_it() -> None:
    """The answer that comes after it may be older than the outcome: it is asked once more."""
    one = job(state=JobState.RUNNING)
    found = conclude(
        one, due(), RUNNING, started=one.deadline_at - 1, now=one.deadline_at + MINUTE, terms=TERMS
    )
    assert found.move is not None
    assert not found.move.completed


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("finding", [DONE, WHERE, Seen(seen=Observation(state=JobState.FAILED))], ids=repr)
def test_what_the_provider_says_at_the_deadline_counts(state: JobState, finding: Seen) -> None:
    """However long after it the receiver comes to ask: the outcome is the provider's, or the result is fetched."""
    one = job(state=state)
    move = looked(one, finding, at=one.deadline_at + 9 * DAY).move
    assert move is not None
    wanted = JobState.FETCHING if finding is WHERE else finding.seen.state
    assert (move.job.state, move.late) == (wanted, False)


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("every", [SECOND, MINUTE, DAY], ids=["often", "seldom", "after a long absence"])
@pytest.mark.parametrize("finding", [SILENCE, Interrupted()], ids=repr)
def test_a_provider_that_does_not_answer_at_the_deadline_is_asked_again(
    state: JobState, every: int, finding: Finding
) -> None:
    """For ten minutes, and at least three times however long that takes: then the deadline counts."""
    one = job(state=state)
    found, took, looks = looked_until_the_end(one, finding, at=one.deadline_at, every=every)
    assert found.move is not None
    assert found.move.job.state is JobState.TIMED_OUT
    assert took >= LAST_WORD
    assert took <= max(LAST_WORD, 2 * every)
    assert looks >= 3


def test_failures_before_the_deadline_are_none_at_it() -> None:
    """A provider that has been silent for hours gets its ten minutes all the same."""
    one = job(state=JobState.RUNNING)
    found = looked(one, SILENCE, at=one.deadline_at, failures=40)
    assert (found.move, found.doubt_since, found.failures) == (None, one.deadline_at, 1)


@pytest.mark.parametrize("finding", [RUNNING, Pending(), Nowhere()], ids=repr)
def test_a_documented_retention_ends_a_result_that_was_asked_for(finding: Finding) -> None:
    """Past it, and asked once more: what is not there then was deleted."""
    one = job(state=JobState.FETCHING, succeeded_at=NOW, keep_ms=DAY)
    assert looked(one, finding, at=NOW + DAY - 1).move in (None, looked(one, finding, at=NOW).move)
    move = looked(one, finding, at=NOW + 5 * DAY).move
    assert move is not None
    assert move.job.error is not None
    assert (move.job.state, move.job.error.code) == (JobState.EXPIRED, "result_unreachable")


@pytest.mark.parametrize("every", [SECOND, MINUTE, DAY], ids=["often", "seldom", "after a long absence"])
def test_a_provider_that_does_not_answer_when_retention_ends_is_asked_again(every: int) -> None:
    """As at a deadline: for ten minutes, and at least three times however long that takes."""
    one = job(state=JobState.FETCHING, succeeded_at=NOW, keep_ms=DAY)
    assert looked(one, SILENCE, at=NOW + DAY - 1, failures=99).move is None
    found, took, looks = looked_until_the_end(one, SILENCE, at=NOW + DAY, every=every)
    assert found.move is not None
    assert found.move.job.state is JobState.EXPIRED
    assert LAST_WORD <= took <= max(LAST_WORD, 2 * every)
    assert looks >= 3


def test_past_retention_a_result_that_is_still_there_is_taken() -> None:
    """Providers may keep longer than they say."""
    one = job(state=JobState.FETCHING, succeeded_at=NOW, keep_ms=DAY)
    move = looked(one, DONE, at=NOW + 5 * DAY).move
    assert move is not None
    assert move.job.state is JobState.SUCCEEDED
    named = looked(one, WHERE, at=NOW + 5 * DAY).move
    assert named is not None
    assert (named.completed, named.result_url) == (False, WHERE.seen.result_url)


@pytest.mark.parametrize("finding", [RUNNING, Pending(), SILENCE], ids=repr)
def test_a_guessed_retention_ends_nothing_by_itself(finding: Finding) -> None:
    """After it, looks must have brought nothing for a whole day."""
    one = job(state=JobState.FETCHING, succeeded_at=NOW, keep_ms=None)
    at = NOW + UNKNOWN_RETENTION + DAY
    assert (looked(one, DONE, at=at).move or looked(one, finding, at=at).move) is not None
    found, took, looks = looked_until_the_end(one, finding, at=at, every=HOUR)
    assert found.move is not None
    assert found.move.job.state is JobState.EXPIRED
    assert took >= GUESS_DOUBTED
    assert looks >= 3


@pytest.mark.parametrize("state", [JobState.FETCHING, JobState.TIMED_OUT])
def test_one_404_after_success_is_doubted(state: JobState) -> None:
    """Asked again for at least two minutes, and at least three times; a 410 leaves no doubt."""
    ended = {"ended_at": NOW} if state.ended else {}
    one = job(state=state, succeeded_at=NOW, **ended)
    for every in (SECOND, MINUTE):
        found, took, looks = looked_until_the_end(one, Gone(status=404), at=NOW + MINUTE, every=every)
        assert found.move is not None
        assert found.move.job.error is not None
        assert (found.move.job.state, found.move.job.error.code) == (JobState.EXPIRED, "result_expired")
        assert PATIENCE <= took <= PATIENCE + MINUTE
        assert looks >= 3
    move = looked(one, Gone(status=410), at=NOW + MINUTE).move
    assert move is not None
    assert move.job.state is JobState.EXPIRED


def test_a_poll_that_names_the_address_again_does_not_make_a_404_forgotten() -> None:
    """Or a result that is gone would be asked for until retention is over."""
    one = job(state=JobState.FETCHING, succeeded_at=NOW, keep_ms=30 * DAY)
    doubted = looked(one, Gone(status=404), at=NOW)
    named = looked(one, WHERE, at=NOW + 1, doubt_since=doubted.doubt_since, failures=doubted.failures)
    assert (named.doubt_since, named.failures) == (NOW, 1)


def test_doubt_from_before_success_says_nothing_about_the_result() -> None:
    """The provider was silent at the deadline, then a callback told of success: a first 404 is a first one."""
    one = job(state=JobState.FETCHING, succeeded_at=NOW + HOUR)
    assert looked(one, Gone(status=404), at=NOW + HOUR + SECOND, doubt_since=NOW, failures=9).move is None


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("state", [*OPEN, JobState.TIMED_OUT])
@pytest.mark.parametrize(
    ("keep_from", "later", "past"),
    [("completion", HOUR, False), ("submission", HOUR, False), ("submission", 4 * DAY, True)],
)
def test_a_404_or_410_proves_nothing_before_success(
    status: int,
    state: JobState,
    keep_from: str,
    later: int,
    past: bool,  # noqa: FBT001
) -> None:
    """The job may not be visible yet; past a retention that counts from submission it means expired, at once."""
    ended = {"ended_at": NOW} if state.ended else {}
    one = job(
        state=state,
        submitted_at=NOW,
        keep_ms=3 * DAY,
        keep_from=keep_from,
        deadline_at=NOW + 9 * DAY,
        **ended,
    )
    move = looked(one, Gone(status=status), at=NOW + later).move
    assert (move is not None) is past
    if move is not None:
        assert (move.job.state, move.completed) == (JobState.EXPIRED, True)


def test_a_lost_result_is_the_end() -> None:
    """A used single-use address without another one."""
    move = looked(job(state=JobState.FETCHING, succeeded_at=NOW), Lost(), at=NOW).move
    assert move is not None
    assert move.job.error is not None
    assert (move.job.state, move.job.error.code) == (JobState.EXPIRED, "result_lost")
