"""In which order what is due is done, so that nothing waits for ever behind something else.

A row stands in a lane. Of four rows that are taken, three are taken by their lanes and one because it has waited
longest, whichever lane it stands in: what is urgent goes first, and the rest goes on.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from receiver.core.model import HOUR, Due, Job, JobState

#: What somebody asked for: submissions and cancellations.
ASKED: Final = 0
#: Looks at what the provider is about to delete.
NEAR_DELETION: Final = 1
#: Looks for which there is a reason besides the time: a callback came, or a result is known to wait.
AWAITED: Final = 2
#: Looks by the clock.
ROUTINE: Final = 3
LANES: Final = (ASKED, NEAR_DELETION, AWAITED, ROUTINE)
#: Lanes in which the result that is deleted first goes first; in the others, what has waited longest.
BY_DELETION: Final = frozenset({NEAR_DELETION, AWAITED})
#: Every so many rows one is taken by its age.
_BY_AGE: Final = 4
#: A deletion is near in the last quarter of the time for which a result is kept, but not before its last hour.
_QUARTER: Final = 4
_LONGEST: Final = HOUR


def urgent_at(job: Job, expires_at: int | None) -> int | None:
    """From when on the result of *job* is about to be deleted, as a time like others; ``None`` where nobody knows."""
    if expires_at is None or job.keep_ms is None:
        return None
    return expires_at - min(job.keep_ms // _QUARTER, _LONGEST)


def lane(job: Job, *, run_at: int, urgent_at: int | None) -> int:
    """The lane of a look at *job* that is due at *run_at*."""
    if urgent_at is not None and run_at >= urgent_at:
        return NEAR_DELETION
    return AWAITED if job.state is JobState.FETCHING or job.woken_by is not None else ROUTINE


def in_turn(lanes: Sequence[Sequence[Due]], *, limit: int, turn: int) -> list[Due]:
    """Which rows to take.

    Args:
        lanes: What is due in each lane, what has waited longest first.
        limit: How many to take at most.
        turn: How many were taken before, so that those who take one at a time come to the fourth as well.
    """
    by_lane = list(chain.from_iterable(_ordered(number, one) for number, one in enumerate(lanes)))
    if len(by_lane) <= limit:
        return by_lane
    by_age = sorted(by_lane, key=lambda one: one.run_at)
    taken: dict[tuple[str, str], Due] = {}
    sources = (_left(by_lane, taken), _left(by_age, taken))
    for place in range(turn + 1, turn + limit + 1):
        one = next(sources[place % _BY_AGE == 0])
        taken[one.job_id, one.step] = one
    return list(taken.values())


def _ordered(number: int, due: Sequence[Due]) -> Sequence[Due]:
    if number not in BY_DELETION:
        return due
    return sorted(due, key=lambda one: (one.expires_at is None, one.expires_at or 0))


def _left(due: Sequence[Due], taken: dict[tuple[str, str], Due]) -> Iterator[Due]:
    return (one for one in due if (one.job_id, one.step) not in taken)
