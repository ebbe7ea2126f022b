"""When to ask a provider about a job: first, next, and after a failure."""

from collections.abc import Sequence
from typing import Final

from receiver.core.description.keeping import expires_at, late_look
from receiver.core.description.provider import Provider
from receiver.core.job.transition import FOLLOWED, followed_until
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Delivery, Due, Job, JobState
from receiver.core.retry import Backoff

#: Failing answers are asked again forever, up to the deadline; only the wait grows.
FAILING = Backoff(first=2 * SECOND, longest=5 * MINUTE, attempts=1_000_000)
_SOONEST: Final = 100
#: How many of the last completions say how long jobs take, and how early a job may be looked at because of them.
COMPLETIONS: Final = 100
_EARLIEST: Final = 30 * SECOND
#: Where nothing says for how long a result is kept, a callback that does not come is looked after by then.
_UNTOLD: Final = HOUR
#: The last look before the deadline is planned so long ahead of it, or a tenth of the job's time if that is less.
_AHEAD: Final = MINUTE
#: While a result waits that is going to be deleted, half of the time that is left is waited, but at least so long.
_HURRIED: Final = 30 * SECOND


def first_look(provider: Provider, job: Job, *, now: int, took: Sequence[int] = ()) -> int:
    """When to ask first: at the poll's cadence, or once an expected callback is overdue.

    *took* is how long such jobs took lately until their callbacks came. A job is asked about early once nearly all of
    those had their callback and it has none.
    """
    if provider.poll is None:
        return job.deadline_at
    if job.delivery is Delivery.NONE or provider.callback is None:
        return planned(job, int(provider.poll.every), now=now)
    expected = int(provider.callback.expected)
    if took:
        expected = min(expected, max(_percentile(took, 95) * 3 // 2, _EARLIEST))
    return planned(job, expected, now=now)


def usual_lag(lags: Sequence[int], *, expected: int) -> int:
    """How long a callback may take before it is missed, by what the last ones took; *expected* where there are none.

    The time within which nearly all of them came, and half as much again. Callbacks that came hours late, because of an
    outage, do not make it longer than expected, or than three times what is common.
    """
    if not lags:
        return expected
    most = max(expected, _percentile(lags, 50) * 3)
    return max(min(_percentile(lags, 99) * 3 // 2, most), _EARLIEST)


def _percentile(values: Sequence[int], percent: int) -> int:
    """By the nearest rank."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def planned(job: Job, wait: int, *, now: int) -> int:
    """When a first look in *wait* milliseconds is: two of them are to fit before the deadline, and before deletion."""
    halves = [(job.deadline_at - job.created_at) // 2]
    halves.append(_UNTOLD if job.keep_ms is None else job.keep_ms // 2)
    return min(now + min(wait, *halves), job.deadline_at)


def next_look(
    provider: Provider,
    job: Job,
    due: Due,
    *,
    now: int,
    jitter: float,
    wait: int | None = None,
    failed: bool = False,
) -> int:
    """When to ask again; *jitter* is in [0, 1), *wait* is what the provider asked for.

    An open job is asked about shortly before its deadline, and at it.
    """
    pause = (
        FAILING.wait(due.failures + 1, jitter=jitter) if failed else _pause(provider, job, due, now, jitter)
    )
    when = now + max(pause if wait is None else max(wait, _SOONEST), _SOONEST)
    if job.state.ended:
        return when
    if job.state is JobState.FETCHING:
        # While a result waits at the provider its retention bounds the job, not the deadline.
        deleted_at = expires_at(job)
        if deleted_at is None or now >= deleted_at:
            return when
        return min(when, now + max((deleted_at - now) // 2, _HURRIED))
    return _before_deadline(job, when, now=now, asked=wait is not None)


def _pause(provider: Provider, job: Job, due: Due, now: int, jitter: float) -> int:
    """How long to wait after an answer that was not the end."""
    since = max(followed_until(job) - FOLLOWED, (job.succeeded_at or 0) if not job.state.ended else 0)
    # Somebody has said that the job is done: at first its provider is asked again soon, then less and less, and a last
    # time when that is over.
    left = since + FOLLOWED - now
    followed = min(max(now - since, SECOND), left) if left > 0 else None
    if job.state.ended:
        late = late_look(job, now=now)
        regular = DAY if late is None else late - now
    elif provider.poll is None:
        return DAY
    else:
        looks = min(max(due.attempt - 1, 0), 64)
        regular = int(min(provider.poll.every * provider.poll.factor**looks, provider.poll.longest))
        if job.keep_ms is not None:
            regular = min(regular, max(job.keep_ms // 3, SECOND))
        regular -= int(regular * jitter / 10)
    return regular if followed is None else min(regular, followed)


def _before_deadline(job: Job, when: int, *, now: int, asked: bool) -> int:
    if when < job.deadline_at:
        return when
    ahead = job.deadline_at - min(_AHEAD, (job.deadline_at - job.created_at) // 10)
    if not asked and now + _SOONEST < ahead:
        return ahead
    # Past the deadline the provider has given no answer, and is asked again as after any other failure.
    return job.deadline_at if now < job.deadline_at else when
