"""When to ask a provider about a job: first, next, and after a failure."""

from receiver.core.model import DAY, MINUTE, SECOND, Delivery, Due, Job, JobState
from receiver.core.provider import Provider
from receiver.core.retry import Backoff

#: Failing answers are asked again forever, up to the deadline; only the wait grows.
FAILING = Backoff(first=2 * SECOND, longest=5 * MINUTE, attempts=1_000_000)
_SOONEST = 100


def first_look(provider: Provider, job: Job, *, now: int) -> int:
    """When to ask first: at the poll's cadence, or once an expected callback is overdue."""
    if provider.poll is None:
        return job.deadline_at
    if job.delivery is Delivery.NONE or provider.callback is None:
        return min(now + provider.poll.every, job.deadline_at)
    return min(now + provider.callback.expected, job.deadline_at)


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
    """When to ask again, never past the deadline; *jitter* is in [0, 1), *wait* is what the provider asked for."""
    if provider.poll is None:
        pause = DAY
    elif failed:
        pause = FAILING.wait(due.failures + 1, jitter=jitter)
    else:
        looks = min(max(due.attempt - 1, 0), 64)
        pause = int(min(provider.poll.every * provider.poll.factor**looks, provider.poll.longest))
        pause -= int(pause * jitter / 10)
    when = now + max(pause if wait is None else max(wait, _SOONEST), _SOONEST)
    # While a result waits at the provider its retention bounds the job; past the deadline, its last wake-up.
    if job.state is JobState.FETCHING or job.state.ended:
        return when
    return min(when, max(job.deadline_at, now + _SOONEST))
