"""When to ask a provider about a job."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.identity import new_id
from receiver.core.job.cadence import first_look, next_look
from receiver.core.job.transition import FOLLOWED
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


def test_two_looks_fit_before_the_deadline_and_before_deletion() -> None:
    """A short deadline or retention brings the first look forward; without an address to ask, it is the deadline."""
    short = job(delivery=Delivery.RESULT, deadline_at=NOW + 1_000)
    assert first_look(packaged("perplexity-webhook"), short, now=NOW) == NOW + 500
    fleeting = job(delivery=Delivery.RESULT, keep_ms=6 * MINUTE)
    assert first_look(packaged("perplexity-webhook"), fleeting, now=NOW) == NOW + 3 * MINUTE
    mute = acme(poll=None)
    assert first_look(mute, short, now=NOW) == NOW + 1_000


@pytest.mark.parametrize(
    ("took", "wait"),
    [
        ((), 10 * MINUTE),
        ((20 * SECOND,), 30 * SECOND),
        ((1, 2, 3), 30 * SECOND),
        ((40 * SECOND,) * 100, MINUTE),
        ((SECOND,) * 95 + (9 * MINUTE,) * 5, 30 * SECOND),
        ((SECOND,) * 94 + (4 * MINUTE,) * 6, 6 * MINUTE),
        ((HOUR,) * 100, 10 * MINUTE),
    ],
)
def test_the_first_look_goes_by_what_jobs_took_lately(took: tuple[int, ...], wait: int) -> None:
    """Half as much again as nearly all took, 30 s at least, as is expected at most; half of deadline and retention."""
    assert (
        first_look(packaged("netnut"), job(delivery=Delivery.NOTIFICATION), now=NOW, took=took) == NOW + wait
    )
    short = job(delivery=Delivery.NOTIFICATION, deadline_at=NOW + 40 * SECOND)
    assert first_look(packaged("netnut"), short, now=NOW, took=took) == NOW + 20 * SECOND
    fleeting = job(delivery=Delivery.NOTIFICATION, keep_ms=40 * SECOND)
    assert first_look(packaged("netnut"), fleeting, now=NOW, took=took) == NOW + 20 * SECOND
    polled = job(delivery=Delivery.NONE)
    assert first_look(packaged("netnut"), polled, now=NOW, took=took) == NOW + 10 * SECOND


def test_looks_come_further_apart() -> None:
    """The waits grow by the description's factor up to its longest."""
    provider, one = packaged("pulse"), job(state=JobState.RUNNING, deadline_at=NOW + DAY)
    at = NOW + HOUR
    waits = [next_look(provider, one, due(one, attempt=n), now=at, jitter=0) - at for n in (1, 2, 3, 60)]
    assert waits == [5_000, 7_500, 11_250, 60_000]


def test_a_longest_wait_is_at_least_the_first() -> None:
    """Whoever only says that a provider is asked every ten minutes has it asked every ten minutes."""
    url = ["https://api.acme.example/jobs/{id}"]
    provider = acme(poll={"url": url, "every": "10m"})
    one = job(state=JobState.RUNNING, deadline_at=NOW + DAY)
    at = NOW + HOUR
    waits = [next_look(provider, one, due(one, attempt=n), now=at, jitter=0) - at for n in (1, 2, 60)]
    assert waits == [10 * MINUTE] * 3


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
    """Whatever happened, the next look is never at once, and within the hour that a provider may ask for.

    But for a job that has ended, which is looked at rarely if at all.
    """
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
    assert NOW + 100 <= when <= NOW + (DAY if state.ended else HOUR)


def test_an_open_job_is_looked_at_before_its_deadline_and_at_it() -> None:
    """The last look is planned a minute ahead, or a tenth of a short time; the deadline itself is one more."""
    provider, one = packaged("pulse"), job(state=JobState.RUNNING)
    late = due(one, attempt=60)

    def following(now: int, **more: Any) -> int:  # noqa: ANN401
        return next_look(provider, one, late, now=now, jitter=0, **more)

    assert following(one.deadline_at - 90 * SECOND) == one.deadline_at - 30 * SECOND
    assert following(one.deadline_at - 61 * SECOND) == one.deadline_at - SECOND
    assert following(one.deadline_at - 60 * SECOND) == one.deadline_at
    assert following(one.deadline_at - 2 * MINUTE, failed=True) == one.deadline_at - 2 * MINUTE + 2 * SECOND
    short = job(state=JobState.RUNNING, deadline_at=NOW + 10 * SECOND)
    assert next_look(packaged("pulse"), short, due(short, attempt=60), now=NOW, jitter=0) == NOW + 9_000


def test_the_deadline_is_a_time_to_look() -> None:
    """However long a provider asks us to wait, a job is looked at when its deadline passes."""
    one = job(state=JobState.RUNNING, deadline_at=NOW + 1_000)
    assert next_look(packaged("pulse"), one, due(one), now=NOW, jitter=0, wait=HOUR) == NOW + 1_000


def test_past_its_deadline_a_job_is_asked_about_again_as_after_other_failures() -> None:
    """The provider gave no answer at the deadline: it gets more time each time, not a question at once."""
    one = job(state=JobState.RUNNING, deadline_at=NOW)
    waits = [
        next_look(packaged("pulse"), one, due(one, failures=n), now=NOW + 1, jitter=0, failed=True) - NOW - 1
        for n in range(3)
    ]
    assert waits == [2_000, 4_000, 8_000]


def test_a_waiting_result_is_not_bound_by_the_deadline() -> None:
    """While a result waits at the provider, the deadline hurries nobody; that it will be deleted does."""
    one = job(state=JobState.FETCHING, deadline_at=NOW - 1, succeeded_at=NOW, keep_ms=None)
    assert next_look(packaged("pulse"), one, due(one), now=NOW, jitter=0, wait=HOUR) == NOW + HOUR
    kept = job(state=JobState.FETCHING, deadline_at=NOW - 1, succeeded_at=NOW, keep_ms=HOUR)
    assert next_look(packaged("pulse"), kept, due(kept), now=NOW, jitter=0, wait=HOUR) == NOW + HOUR // 2
    late = NOW + HOUR - SECOND
    assert next_look(packaged("pulse"), kept, due(kept), now=late, jitter=0, wait=HOUR) == late + 30 * SECOND


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.FETCHING, JobState.TIMED_OUT])
def test_what_somebody_said_is_done_is_asked_for_soon_again(state: JobState) -> None:
    """After a wake-up or a success a status that lags is followed: after 1 s, then at twice the time, for minutes."""
    changes: dict[str, Any] = (
        {"succeeded_at": NOW} if state is JobState.FETCHING else {"woken_by": new_id("cb", NOW)}
    )
    if state.ended:
        changes |= {"ended_at": NOW - HOUR}
    one = job(state=state, keep_ms=None, **changes)
    asked, at = list[int](), NOW
    while at < NOW + FOLLOWED:
        at = next_look(packaged("yandex"), one, due(one, attempt=60), now=at, jitter=0)
        asked.append((at - NOW) // SECOND)
    assert asked[:6] == [1, 2, 4, 8, 16, 32]
    assert asked[-1] <= FOLLOWED // SECOND
    assert len(asked) <= 12
    following = next_look(packaged("yandex"), one, due(one, attempt=60), now=at, jitter=0)
    assert following > at + MINUTE // 2


def test_a_job_that_timed_out_is_looked_at_rarely() -> None:
    """After ten minutes, then when half as much again has passed, at most twelve hours apart."""
    out = job(state=JobState.TIMED_OUT, deadline_at=NOW, ended_at=NOW)
    waits = []
    for hours in (0, 1, 10, 40):
        now = NOW + hours * HOUR
        waits.append(next_look(packaged("pulse"), out, due(out, attempt=9), now=now, jitter=0) - now)
    assert waits == [10 * MINUTE, 30 * MINUTE, 5 * HOUR, 12 * HOUR]
