"""How a job stands: whether its end is one that may still be replaced, and what it waits for."""

from typing import Final

from receiver.core.enum_members import EXPIRED, FETCHING, SUCCEEDED, TIMED_OUT
from receiver.core.model import Job, Observation

_GATHERING: Final = frozenset({FETCHING, TIMED_OUT, EXPIRED})


def settled(job: Job) -> bool:
    """Whether the outcome of *job* stands, whatever is said about it from now on."""
    return job.state.ended and job.state is not TIMED_OUT


def presumed_gone(job: Job) -> bool:
    """Whether *job* ended because its result was taken for gone: who brings the result after all is believed."""
    return job.state is EXPIRED and job.held is None


def gathering(job: Job) -> bool:
    """Whether the result is stored, and *job* ends once the files that the result links to are stored or lost."""
    # A job that has ended as expired may have a result, too, without being known to have succeeded.
    return job.held is not None and job.state in _GATHERING and job.succeeded_at is not None


def hears(job: Job, seen: Observation) -> bool:
    """Whether what an authenticated source says may still change *job*."""
    if job.held is None and not job.state.ended:
        return True  # as most are
    if gathering(job):
        return False
    return not settled(job) or (seen.state is SUCCEEDED and presumed_gone(job))
