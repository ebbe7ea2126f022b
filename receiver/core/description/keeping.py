"""For how long a provider keeps a result: by its documented retention, or by our guess where there is none."""

from typing import Final

from receiver.core.model import DAY, HOUR, MINUTE, Job

#: How long we guess that a provider keeps a result, where it does not say; it ends nothing by itself.
UNKNOWN_RETENTION: Final = 3 * DAY
#: A job that timed out is looked at again after at least, and at most, so long.
_RARELY: Final = (10 * MINUTE, 12 * HOUR)


def expires_at(job: Job) -> int | None:
    """When the provider deletes the result, as far as its description tells."""
    if job.keep_ms is None:
        return None
    start = job.submitted_at if job.keep_from == "submission" else job.succeeded_at
    return None if start is None else start + job.keep_ms


def past_retention(job: Job, now: int) -> bool:
    """Whether the documented retention is over; false where it counts from a completion that nobody has seen."""
    limit = expires_at(job)
    return limit is not None and now > limit


def late_look(job: Job, *, now: int) -> int | None:
    """When to ask again about a job that timed out: ever more rarely, while its provider may have the result.

    ``None`` once it cannot have it any more, by the documented retention, or by our guess where there is none.
    """
    if job.keep_from == "submission" and job.keep_ms is not None:
        start = job.submitted_at or job.created_at
    else:
        start = job.succeeded_at or job.ended_at or now
    keep = job.keep_ms or UNKNOWN_RETENTION
    if now >= start + keep:
        return None
    soonest, latest = _RARELY
    pause = max((now - (job.ended_at or now)) // 2, min(soonest, keep // 3))
    return min(now + min(pause, latest), start + keep)
