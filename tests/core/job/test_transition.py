"""Which state a job enters next."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from receiver.core.description.keeping import UNKNOWN_RETENTION, expires_at, late_look
from receiver.core.identity import new_id
from receiver.core.job import transition
from receiver.core.job.standing import gathering
from receiver.core.job.transition import FOLLOWED, Move, observe
from receiver.core.model import DAY, MINUTE, Failure, Held, Job, JobState, Observation, Source
from tests.core.making import NOW, job

OPEN = [state for state in JobState if not state.ended]
ENDED = [state for state in JobState if state.ended]
SAID = [None, *(s for s in JobState if s not in {"submitting", "fetching", "timed_out"})]
HELD = Held(callback_id="cb_1", size=2, sha256="0" * 64)


def at(state: JobState, **changes: object) -> Job:
    """A job in *state*."""
    ended = {"ended_at": NOW, "settled_by": Source.POLL} if state.ended else {}
    succeeded = {"succeeded_at": NOW} if state in {"fetching", "succeeded"} else {}
    return job(**{"state": state, **ended, **succeeded, **changes})


@pytest.mark.parametrize("held", [None, HELD], ids=["elsewhere", "held"])
@pytest.mark.parametrize("said", SAID, ids=str)
@pytest.mark.parametrize("state", JobState)
def test_every_state_and_every_observation(state: JobState, said: JobState | None, held: Held | None) -> None:
    """States only move to the right; only an open job, or once one that timed out, ends, with what is held of it.

    One that expired does if its result comes after all.
    """
    before = at(state)
    move = observe(before, Observation(state=said), source=Source.CALLBACK, now=NOW + 1, held=held)
    after = move.job.state
    assert after.rank >= state.rank
    if state is JobState.EXPIRED and said is JobState.SUCCEEDED:
        assert (after, move.completed, move.found) == (
            said if held else state,
            held is not None,
            held is not None,
        )
        assert (move.late, move.look_now, move.job.held) == (False, held is None, held)
    elif state.ended and state is not JobState.TIMED_OUT:
        assert (move.job, move.changed, move.completed) == (before, False, False)
        conflict = said is not None and said.ended and said is not state
        assert move.note == ("conflicting_outcome" if conflict else "already_ended")
    elif said is JobState.SUCCEEDED and held is None:
        assert not move.completed
        assert after is (JobState.TIMED_OUT if state is JobState.TIMED_OUT else JobState.FETCHING)
        assert move.look_now is (state is not JobState.FETCHING)
        assert move.job.succeeded_at == (NOW if state is JobState.FETCHING else NOW + 1)
    elif said is not None and said.ended:
        assert (after, move.completed, move.late) == (said, True, state is JobState.TIMED_OUT)
        assert (move.job.ended_at, move.job.settled_by) == (NOW + 1, Source.CALLBACK)
        assert move.job.held == held
    else:
        assert not move.completed
        rises = not state.ended and said is not None and said.rank > state.rank
        assert after is (said if rises else state)
        assert move.changed is rises


def test_addresses_are_learned_once() -> None:
    """The first id and the first addresses stay, whatever a later source says."""
    first = observe(
        at(JobState.SUBMITTED), Observation(remote_id="a", response_url="u"), source=Source.POLL, now=NOW
    )
    assert (first.job.remote_id, first.job.response_url, first.changed) == ("a", "u", True)
    second = observe(
        first.job, Observation(remote_id="b", response_url="v", cancel_url="c"), source=Source.POLL, now=NOW
    )
    assert (second.job.remote_id, second.job.response_url, second.job.cancel_url) == ("a", "u", "c")
    assert not observe(second.job, Observation(remote_id="c"), source=Source.POLL, now=NOW).changed


@pytest.mark.parametrize("state", JobState)
def test_the_submit_answer_never_moves_a_job_back(state: JobState) -> None:
    """A callback may have overtaken it, even ended the job: the answer adds what it knows and no more."""
    before = at(state, submission="sending")
    move = transition.submitted(before, Observation(state=JobState.SUBMITTED, remote_id="a"), now=NOW + 5)
    assert move.job.submission == "sent"
    assert move.changed
    assert not move.completed
    assert move.job.state is (JobState.SUBMITTED if state is JobState.SUBMITTING else state)
    assert move.job.submitted_at == NOW + 5
    if not state.ended or state is JobState.TIMED_OUT:
        assert move.job.remote_id == "a"


def test_a_submit_answer_may_be_the_end() -> None:
    """Where the provider answers with the result at once, that is the completion."""
    move = transition.submitted(
        at(JobState.SUBMITTING), Observation(state=JobState.SUCCEEDED), now=NOW, held=HELD
    )
    assert (move.job.state, move.completed, move.job.settled_by) == (JobState.SUCCEEDED, True, Source.SUBMIT)


@pytest.mark.parametrize("state", JobState)
def test_a_refusal_fails_only_a_job_that_nobody_saw_running(state: JobState) -> None:
    """A refused submission is the end, unless a callback proved that the job runs after all."""
    move = transition.refused(at(state), Failure(code="submission_refused_400"), now=NOW)
    assert move.completed is (state is JobState.SUBMITTING)
    assert move.job.state is (JobState.FAILED if state is JobState.SUBMITTING else state)
    assert move.job.submission == "refused"


@pytest.mark.parametrize("state", JobState)
def test_a_wake_up_only_asks_for_a_look(state: JobState) -> None:
    """It changes no state; one look answers all that came before it; an ended job needs none."""
    before = at(state, held=HELD if state is JobState.SUCCEEDED else None)
    move = transition.woken(before, callback_id="cb_1", most=20)
    wakes = not state.ended or state in {JobState.TIMED_OUT, JobState.EXPIRED}
    assert (move.look_now, move.changed, move.completed) == (wakes, wakes, False)
    assert move.job.state is state
    again = transition.woken(move.job, callback_id="cb_2", most=20)
    assert again.note == ("look_pending" if wakes else "already_ended")
    assert again.look_now is wakes
    assert again.job == (replace(move.job, woken_by="cb_2") if wakes else move.job)


def test_wake_ups_are_heeded_only_so_often() -> None:
    """Whoever holds a leaked token cannot make us poll as fast as they can post."""
    assert transition.woken(at(JobState.RUNNING, callbacks=19), callback_id="cb_1", most=20).look_now
    assert not transition.woken(at(JobState.RUNNING, callbacks=20), callback_id="cb_1", most=20).look_now


@pytest.mark.parametrize("state", ENDED)
def test_an_ended_job_is_not_given_up(state: JobState) -> None:
    """A person ends a job once."""
    assert not transition.abandoned(at(state), now=NOW).completed


@pytest.mark.parametrize("source", Source)
def test_a_result_that_is_found_after_all_replaces_expired(source: Source) -> None:
    """Once, whoever brings it: a callback that holds it, or a look; word of it alone ends nothing."""
    out, success = at(JobState.EXPIRED, succeeded_at=NOW), Observation(state=JobState.SUCCEEDED)
    move = observe(out, success, source=source, now=NOW + 1, held=HELD)
    assert (move.completed, move.found, move.late) == (True, True, False)
    assert (move.job.state, move.job.held, move.job.error) == (JobState.SUCCEEDED, HELD, None)
    assert not observe(move.job, success, source=source, now=NOW + 2, held=HELD).changed
    assert not observe(out, Observation(state=JobState.FAILED), source=source, now=NOW + 1).changed
    word = observe(out, success, source=source, now=NOW + 1)
    # A callback is a reason to ask; who was asked already says it without an address.
    assert (word.job.state, word.completed) == (JobState.EXPIRED, False)
    assert word.look_now is (source is Source.CALLBACK)


def test_what_ended_as_expired_with_a_result_by_its_provider_stands() -> None:
    """Its provider said both, and nobody took the result for gone."""
    out = at(JobState.EXPIRED, held=HELD)
    other = replace(HELD, callback_id="cb_2")
    move = observe(out, Observation(state=JobState.SUCCEEDED), source=Source.POLL, now=NOW + 1, held=other)
    assert (move.job, move.changed, move.note) == (out, False, "conflicting_outcome")
    assert transition.woken(out, callback_id="cb_3", most=20).note == "already_ended"


def test_what_has_expired_expires_once() -> None:
    """Whoever asks again and hears that it is gone, or lost, learns nothing new."""
    out = at(JobState.EXPIRED, succeeded_at=NOW)
    for again in (transition.gone, transition.lost):
        move = again(out, source=Source.POLL, now=NOW + 1)
        assert (move.job, move.changed, move.completed) == (out, False, False)


def test_who_settled_it() -> None:
    """A look that a wake-up asked for is the callback's; a cancellation that was wished for is the cancel's."""
    success = Observation(state=JobState.SUCCEEDED)
    woken = at(JobState.RUNNING, woken_by="cb_1")
    assert observe(woken, success, source=Source.POLL, now=NOW, held=HELD).job.settled_by is Source.CALLBACK
    assert observe(woken, success, source=Source.POLL, now=NOW, held=HELD).job.woken_by is None
    canceled = Observation(state=JobState.CANCELED)
    wished = at(JobState.RUNNING, cancel_requested_at=NOW)
    assert observe(wished, canceled, source=Source.POLL, now=NOW).job.settled_by is Source.CANCEL
    assert observe(wished, success, source=Source.POLL, now=NOW, held=HELD).job.settled_by is Source.POLL
    assert observe(at(JobState.RUNNING), canceled, source=Source.POLL, now=NOW).job.settled_by is Source.POLL


def test_a_named_address_asks_for_a_fetch_again_and_is_no_news() -> None:
    """A repeated success with an address refreshes the address; it is still a repetition."""
    success = Observation(state=JobState.SUCCEEDED, result_url="https://a.example/r")
    first = observe(at(JobState.RUNNING), success, source=Source.CALLBACK, now=NOW)
    assert (first.changed, first.look_now, first.result_url) == (True, True, success.result_url)
    again = observe(first.job, success, source=Source.CALLBACK, now=NOW + 1)
    assert (again.changed, again.look_now, again.result_url) == (False, True, success.result_url)
    bare = observe(first.job, Observation(state=JobState.SUCCEEDED), source=Source.CALLBACK, now=NOW + 1)
    assert (bare.changed, bare.look_now) == (False, False)


@pytest.mark.parametrize(
    ("changes", "until"),
    [
        ({"keep_ms": 2 * DAY}, NOW + 2 * DAY),
        ({"keep_ms": None}, NOW + UNKNOWN_RETENTION),
        ({"keep_ms": 2 * DAY, "succeeded_at": NOW + DAY}, NOW + 3 * DAY),
        ({"keep_ms": 2 * DAY, "keep_from": "submission", "submitted_at": NOW - DAY}, NOW + DAY),
        ({"keep_ms": 6 * MINUTE}, NOW + 6 * MINUTE),
    ],
)
def test_a_job_that_timed_out_is_looked_at_ever_more_rarely(changes: dict[str, object], until: int) -> None:
    """While its provider may have the result, and once more when that ends; then no more."""
    out = at(JobState.TIMED_OUT, **changes)
    now, looks = NOW, list[int]()
    while (following := late_look(out, now=now)) is not None:
        looks.append(following - now)
        now = following
    assert now == until
    assert looks[:-1] == sorted(looks[:-1])
    assert 2 <= len(looks) <= 24
    assert transition.worth_looking(out, named=False, now=until - 1)
    assert not transition.worth_looking(out, named=False, now=until)
    assert transition.worth_looking(out, named=True, now=until)


def test_a_wake_up_is_followed_for_minutes() -> None:
    """Also where nobody would ask any more; then it is let be."""
    out = at(JobState.TIMED_OUT, keep_ms=1, woken_by=new_id("cb", NOW + DAY))
    assert transition.worth_looking(out, named=False, now=NOW + DAY + FOLLOWED - 1)
    assert not transition.worth_looking(out, named=False, now=NOW + DAY + FOLLOWED)
    assert all(transition.worth_looking(at(state), named=False, now=NOW + 9 * DAY) for state in OPEN)


def test_expiry_counts_from_what_the_description_says() -> None:
    """Retention counts from submission or from completion, and is unknown until that moment is known."""
    assert expires_at(at(JobState.RUNNING, submitted_at=NOW)) is None
    assert expires_at(at(JobState.FETCHING)) == NOW + 3 * DAY
    assert expires_at(at(JobState.RUNNING, submitted_at=NOW, keep_from="submission")) == NOW + 3 * DAY
    assert expires_at(at(JobState.FETCHING, keep_ms=None)) is None


Step = Callable[[Job, int], Move | None]
SEEN = st.builds(
    Observation,
    state=st.sampled_from(SAID),
    remote_id=st.sampled_from([None, "a", "b"]),
    result_url=st.sampled_from([None, "https://a.example/r"]),
)
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        lambda seen, source, held: lambda job, now: observe(job, seen, source=source, now=now, held=held),
        SEEN,
        st.sampled_from([Source.CALLBACK, Source.POLL, Source.CANCEL]),
        st.sampled_from([None, HELD]),
    ),
    SEEN.map(lambda seen: lambda job, now: transition.submitted(job, seen, now=now)),
    st.sampled_from(
        [
            lambda job, now: transition.refused(job, Failure(code="x"), now=now),
            lambda job, _: transition.woken(job, callback_id="cb_1", most=20),
            # As in the store: only a look at an open job may end it by a clock.
            lambda job, now: None if job.state.ended else transition.timed_out(job, now=now),
            lambda job, now: None if job.state.ended else transition.unreachable(job, now=now),
            lambda job, now: transition.abandoned(job, now=now),
            lambda job, _: transition.submission_unknown(job),
            # As in the store: a look at a job that ended in any other way is fenced off.
            lambda job, now: (
                None
                if job.state.ended and job.state not in {JobState.TIMED_OUT, JobState.EXPIRED}
                else transition.gone(job, source=Source.POLL, now=now)
            ),
        ]
    ),
)


@given(st.lists(st.tuples(STEPS, st.integers(0, DAY)), max_size=30))
def test_a_job_completes_once(steps: list[tuple[Step, int]]) -> None:
    """Whatever is observed in whatever order: states move right; one completion, or after a time-out one more.

    A result that is found after *expired* is one more again.
    """
    current, now, completions = job(), NOW, list[Move]()
    for step, later in steps:
        now += later
        move = step(current, now)
        if move is None:
            continue
        assert move.job.state.rank >= current.state.rank
        assert move.completed or move.job.state is current.state or not move.job.state.ended
        assert move.completed == (move.job.state is not current.state and move.job.state.ended)
        assert move.changed or not move.completed
        assert (move.job.ended_at is not None) == move.job.state.ended
        if move.completed:
            completions.append(move)
        current = move.job
    ends = [move.job.state for move in completions]
    assert len(ends) == len(set(ends)) <= 3
    assert [move.late for move in completions[1:]] == [end is JobState.TIMED_OUT for end in ends[:-1]]
    assert [move.found for move in completions[1:]] == [end is JobState.EXPIRED for end in ends[:-1]]
    assert not any(move.late or move.found for move in completions[:1])
    assert JobState.EXPIRED not in ends[:-1] or ends[-1] is JobState.SUCCEEDED


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELED, JobState.EXPIRED])
def test_an_unsuccessful_end_waits_for_the_files_of_its_result(state: JobState) -> None:
    """It is fetching, and ends in its true state, with its reason, once they are here or given up."""
    seen = Observation(state=state, error=Failure(code="provider_reported", text="why"))
    move = observe(
        at(JobState.RUNNING, files_when="before"), seen, source=Source.POLL, now=NOW + 1, held=HELD
    )
    assert (move.job.state, move.gather, move.completed, move.taken) == (JobState.FETCHING, True, False, True)
    assert gathering(move.job)
    for other in (JobState.SUCCEEDED, JobState.FAILED):
        again = observe(move.job, Observation(state=other), source=Source.CALLBACK, now=NOW + 2, held=HELD)
        assert (again.job, again.changed) == (move.job, False)
    for finish in (transition.gathered, transition.abandoned):
        over = finish(move.job, now=NOW + 3)
        assert (over.completed, over.job.state, over.job.held) == (True, state, HELD)
        assert (over.job.error, over.job.ended_at, over.job.settled_by) == (seen.error, NOW + 3, Source.POLL)
        assert (over.job.ends_as, over.job.succeeded_at) == (None, None)
        assert not gathering(over.job)
        assert transition.gathered(over.job, now=NOW + 4).changed is False


@pytest.mark.parametrize("when", ["before", "beside", "never"])
def test_what_has_expired_with_a_result_is_not_given_up(when: str) -> None:
    """It has ended, whenever its files come, and does not turn out a success."""
    expired = at(JobState.EXPIRED, held=HELD, files_when=when)
    move = transition.abandoned(expired, now=NOW + 1)
    assert (move.job, move.completed, move.note) == (expired, False, "already_ended")
