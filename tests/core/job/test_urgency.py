"""Whose turn it is: what is urgent goes first, and what waits goes on."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.job.urgency import (
    ASKED,
    AWAITED,
    BY_DELETION,
    LANES,
    NEAR_DELETION,
    ROUTINE,
    in_turn,
    lane,
    urgent_at,
)
from receiver.core.model import DAY, HOUR, MINUTE, Due, JobState, Step
from tests.core.making import NOW, job


def due(name: str, *, run_at: int = NOW, expires_at: int | None = None, step: Step = Step.LOOK) -> Due:
    """A row."""
    return Due(job_id=name, step=step, provider="acme", run_at=run_at, expires_at=expires_at)


def names(rows: Sequence[Due]) -> list[str]:
    """Which rows."""
    return [one.job_id for one in rows]


@pytest.mark.parametrize(
    ("keep_ms", "expires_at", "near"),
    [(None, NOW, None), (DAY, None, None), (DAY, NOW, NOW - HOUR), (4 * MINUTE, NOW, NOW - MINUTE)],
)
def test_deletion_is_near_in_the_last_quarter_or_hour(
    keep_ms: int | None, expires_at: int | None, near: int | None
) -> None:
    """Whichever is less; what is kept for an unknown time is never about to be deleted."""
    assert urgent_at(job(keep_ms=keep_ms), expires_at) == near


@pytest.mark.parametrize(
    ("changes", "near", "expected"),
    [
        ({"state": JobState.RUNNING}, None, ROUTINE),
        ({"state": JobState.RUNNING}, NOW + 1, ROUTINE),
        ({"state": JobState.RUNNING}, NOW, NEAR_DELETION),
        ({"state": JobState.FETCHING}, None, AWAITED),
        ({"state": JobState.FETCHING}, NOW - 1, NEAR_DELETION),
        ({"state": JobState.RUNNING, "woken_by": "cb_1"}, None, AWAITED),
    ],
)
def test_a_look_stands_where_its_reason_puts_it(
    changes: dict[str, object], near: int | None, expected: int
) -> None:
    """By what is known of the job, and by how near the deletion is when the look is due."""
    assert lane(job(**changes), run_at=NOW, urgent_at=near) == expected


def test_three_go_by_their_lane_and_the_fourth_by_its_age() -> None:
    """So a cancellation waits for no look, and a look that has waited long does not wait for ever."""
    lanes = [
        [due(f"asked{n}", step=Step.CANCEL) for n in range(9)],
        [],
        [due("awaited", run_at=NOW - 1)],
        [due(f"old{n}", run_at=NOW - DAY + n) for n in range(9)],
    ]
    assert names(in_turn(lanes, limit=8, turn=0)) == [
        "asked0",
        "asked1",
        "asked2",
        "old0",
        "asked3",
        "asked4",
        "asked5",
        "old1",
    ]
    assert names(in_turn(lanes, limit=1, turn=2)) == ["asked0"]
    assert names(in_turn(lanes, limit=1, turn=3)) == ["old0"]


def test_of_results_that_wait_the_one_deleted_first_is_first() -> None:
    """One that is kept for ever is last; what was asked for and routine go by their age."""
    waiting = [due("never"), due("late", expires_at=NOW + DAY), due("early", expires_at=NOW + 1)]
    assert names(in_turn([[], [], waiting, [due("poll")]], limit=9, turn=0)) == [
        "early",
        "late",
        "never",
        "poll",
    ]
    routine = [due("first", run_at=NOW, expires_at=NOW + DAY), due("second", run_at=NOW + 1, expires_at=NOW)]
    assert names(in_turn([[], [], [], routine], limit=9, turn=0)) == ["first", "second"]


@given(
    counts=st.tuples(*[st.integers(0, 12)] * len(LANES)),
    limit=st.integers(1, 12),
    turn=st.integers(0, 9),
    ages=st.randoms(use_true_random=False),
)
def test_none_waits_for_ever(counts: tuple[int, ...], limit: int, turn: int, ages: object) -> None:
    """Whatever comes again and again in every other lane, the row that is oldest is taken within four turns' rows."""
    rows = [
        sorted(
            (due(f"{number}-{n}", run_at=NOW + ages.randrange(1000), expires_at=NOW) for n in range(count)),  # type: ignore[attr-defined]
            key=lambda one: one.run_at,
        )
        for number, count in enumerate(counts)
    ]
    everything = [one for lane_rows in rows for one in lane_rows]
    taken: list[Due] = []
    while len(taken) < 4 and everything:
        some = in_turn(rows, limit=limit, turn=turn + len(taken))
        assert len(some) == len({one.job_id for one in some}) == min(limit, len(everything))
        taken += some
    if everything:
        assert min(one.run_at for one in everything) in {one.run_at for one in taken}
    assert {ASKED, ROUTINE}.isdisjoint(BY_DELETION)
