"""When to ask a provider about a job."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.cadence import first_look, next_look
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Delivery, Due, Job, JobState, Step
from tests.core.making import NOW, SYSTEMS, acme, job, packaged


def due(job: Job, **changes: Any) -> Due:  # noqa: ANN401
    """A due look of *job*."""
    return Due(**{"job_id": job.id, "step": Step.LOOK, "provider": job.provider, "run_at": NOW, **changes})


@pytest.mark.parametrize(
    ("name", "delivery", "wait"),
    [
        ("netnut", Delivery.NOTIFICATION, 10 * MINUTE),
        ("netnut", Delivery.NONE, 10 * SECOND),
        ("pulse", Delivery.NOTIFICATION, 5 * MINUTE),
        ("yandex", Delivery.NONE, 10 * SECOND),
        ("perplexity", Delivery.NONE, 10 * SECOND),
        ("perplexity-webhook", Delivery.RESULT, 10 * MINUTE),
    ],
)
def test_the_first_look_waits_for_an_expected_callback(name: str, delivery: Delivery, wait: int) -> None:
    """Without callbacks polling begins at its cadence; with them once the callback is overdue."""
    assert first_look(packaged(name), job(delivery=delivery), now=NOW) == NOW + wait


def test_no_first_look_is_later_than_the_deadline() -> None:
    """A short deadline brings the first look forward; without an address to ask, it is the first look."""
    short = job(delivery=Delivery.RESULT, deadline_at=NOW + 1_000)
    assert first_look(packaged("perplexity-webhook"), short, now=NOW) == NOW + 1_000
    mute = acme(poll=None)
    assert first_look(mute, short, now=NOW) == NOW + 1_000


def test_looks_come_further_apart() -> None:
    """The waits grow by the description's factor up to its longest."""
    provider, one = packaged("pulse"), job(state=JobState.RUNNING, deadline_at=NOW + DAY)
    waits = [next_look(provider, one, due(one, attempt=n), now=NOW, jitter=0) - NOW for n in (1, 2, 3, 60)]
    assert waits == [5_000, 7_500, 11_250, 60_000]


@given(
    attempt=st.integers(0, 10**9),
    failures=st.integers(0, 10**9),
    jitter=st.floats(0, 1, exclude_max=True),
    wait=st.none() | st.integers(0, HOUR),
    failed=st.booleans(),
    state=st.sampled_from(JobState),
    name=st.sampled_from(SYSTEMS),
)
def test_a_next_look_is_always_in_the_near_future(
    attempt: int,
    failures: int,
    jitter: float,
    wait: int | None,
    failed: bool,  # noqa: FBT001
    state: JobState,
    name: str,
) -> None:
    """Whatever happened, the next look is never at once, and within the hour that a provider may ask for."""
    one = job(state=state, ended_at=NOW if state.ended else None)
    when = next_look(
        packaged(name),
        one,
        due(one, attempt=attempt, failures=failures),
        now=NOW,
        jitter=jitter,
        wait=wait,
        failed=failed,
    )
    assert NOW + 100 <= when <= NOW + HOUR


def test_the_deadline_is_a_time_to_look() -> None:
    """However long a provider asks us to wait, a job is looked at when its deadline passes."""
    one = job(state=JobState.RUNNING, deadline_at=NOW + 1_000)
    assert next_look(packaged("pulse"), one, due(one), now=NOW, jitter=0, wait=HOUR) == NOW + 1_000


def test_a_waiting_result_is_not_bound_by_the_deadline() -> None:
    """While a result waits at the provider, the deadline hurries nobody."""
    one = job(state=JobState.FETCHING, deadline_at=NOW - 1)
    assert next_look(packaged("pulse"), one, due(one), now=NOW, jitter=0, wait=HOUR) == NOW + HOUR


def test_a_job_that_timed_out_is_not_asked_without_pause() -> None:
    """A late wake-up leads to looks at the usual distance, although the deadline has passed."""
    one = job(state=JobState.TIMED_OUT, deadline_at=NOW - 1, ended_at=NOW - 1)
    assert next_look(packaged("pulse"), one, due(one), now=NOW, jitter=0) == NOW + 5_000
