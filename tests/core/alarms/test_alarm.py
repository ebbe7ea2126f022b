"""Alarms: raised once, kept while it is close, cleared once; and what each rule makes of what it is shown."""

from collections.abc import Callable, Iterable

import pytest

from receiver.core.alarms import alarm, rules, upkeep
from receiver.core.alarms.alarm import CALM, SEVERITIES, Alarm, Finding, follow
from receiver.core.circuit import Circuit
from receiver.core.description.shape import NEEDS_ACTION
from receiver.core.job.cadence import usual_lag
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Failure
from receiver.core.reading.observation import WORD_UNLISTED
from receiver.docs.codes import groups
from tests.core.making import NOW

GIB = 1 << 30


def finding(**changes: object) -> Finding:
    """Dead letters of a handler."""
    return Finding(
        **{"name": alarm.DEAD_LETTERS, "subject": "h", "cause": "two", "advice": "retry"} | changes  # type: ignore[arg-type]
    )


def test_an_alarm_is_raised_once_and_cleared_once() -> None:
    """However often it is found, and only after a minute in which it was not."""
    standing: list[Alarm] = []
    raised, cleared = [], []
    found_at = [*range(10), 12, 13]
    for second in range(0, 300, 10):
        now = NOW + second * SECOND
        changes = follow(standing, [finding()] if second // 10 in found_at else [], now=now)
        raised += [(second, one.id) for one in changes.raised]
        cleared += [(second, one.id) for one in changes.cleared]
        gone = {one.id for one in (*changes.cleared, *changes.changed)}
        standing = [*(one for one in standing if one.id not in gone), *changes.changed, *changes.raised]
    assert [second for second, _ in raised] == [0]
    assert cleared == [(140 + CALM // SECOND, raised[0][1])]


def test_what_is_not_firm_keeps_an_alarm_and_raises_none() -> None:
    """So what goes up and down around a limit is told once."""
    assert follow([], [finding(firm=False)], now=NOW) == alarm.Changes()
    (raised,) = follow([], [finding()], now=NOW).raised
    for minutes in range(1, 30):
        changes = follow([raised], [finding(firm=False)], now=NOW + minutes * MINUTE)
        assert changes == alarm.Changes()


def test_what_is_found_anew_is_told_in_its_words() -> None:
    """The cause is that of the last round; an alarm about something else is another one."""
    (raised,) = follow([], [finding()], now=NOW).raised
    changes = follow([raised], [finding(cause="three"), finding(subject="i")], now=NOW + 1)
    assert [(one.id, one.cause) for one in changes.changed] == [(raised.id, "three")]
    assert [one.subject for one in changes.raised] == ["i"]


def test_a_clock_that_is_set_back_keeps_no_alarm() -> None:
    """An alarm whose calm begins in the future is cleared, rather than kept until then."""
    (raised,) = follow([], [finding()], now=NOW).raised
    (calm,) = follow([raised], [], now=NOW + HOUR).changed
    assert [one.id for one in follow([calm], [], now=NOW).cleared] == [raised.id]


def test_every_alarm_is_explained() -> None:
    """``receiver explain`` knows each by its name, and no other is among the alarms."""
    assert {code.name for one in groups() for code in one.codes if "alarm" in code.places} == set(SEVERITIES)


def calls(heard: Iterable[bool], *, last: int | None = NOW - HOUR) -> rules.Calls:
    """Jobs whose callback should have come, a second apart, the newest first."""
    awaited = tuple(
        rules.Awaited(at=NOW - place * SECOND, heard=one) for place, one in enumerate(heard, start=1)
    )
    return rules.Calls(provider="acme", lag=30 * SECOND, learnt=True, awaited=awaited, last=last)


@pytest.mark.parametrize(
    ("heard", "firm"),
    [
        ([], None),
        ([True] * 50, None),
        ([False, True, True], False),
        ([False] * 2 + [True] * 50, False),
        ([False] * 3 + [True] * 50, True),
        # Every second job was never called back for: ten in a row are as good as none by chance.
        ([False] * 9 + [True, False] * 50, False),
        ([False] * 10 + [True, False] * 50, True),
        ([False] * 2, False),
        ([False] * 3, True),
    ],
)
def test_silence_is_what_the_jobs_before_say(heard: list[bool], *, firm: bool | None) -> None:
    """Three in a row without a callback, or more where some had none before."""
    assert [one.firm for one in rules.callbacks_silent(calls(heard), now=NOW)] == (
        [] if firm is None else [firm]
    )


def test_any_callback_ends_the_silence() -> None:
    """Also one for a job that is too young to be missed."""
    assert not list(rules.callbacks_silent(calls([False] * 9, last=NOW), now=NOW))
    (found,) = rules.callbacks_silent(calls([False] * 9, last=None), now=NOW)
    assert "none has ever come" in found.cause
    assert found.provider == "acme"


@pytest.mark.parametrize(
    ("lags", "lag"),
    [
        ([], 10 * MINUTE),
        ([SECOND] * 100, 30 * SECOND),
        ([MINUTE] * 100, 90 * SECOND),
        # One that came a day late, after an outage, does not make us deaf for a day.
        ([MINUTE] * 50 + [DAY], 10 * MINUTE),
        ([20 * MINUTE] * 50 + [DAY], HOUR),
    ],
)
def test_how_long_a_callback_may_take_is_learnt(lags: list[int], lag: int) -> None:
    """Nearly all of the last ones and half as much again, never below thirty seconds, within reason."""
    assert usual_lag(lags, expected=10 * MINUTE) == lag


@pytest.mark.parametrize(
    ("rejected", "others", "firm"),
    [
        (0, 9, None),
        (1, 20, None),
        (5, 5, True),
        (4, 0, False),
        (20, 80, True),
        (19, 81, False),
        (9, 91, None),
    ],
)
def test_rejections_raise_above_a_share(rejected: int, others: int, *, firm: bool | None) -> None:
    """From a fifth and from five on; below a tenth nothing is kept."""
    found = list(
        rules.rejections_high(rules.Verdicts(provider="acme", rejected=rejected, others=others, code="c"))
    )
    assert [one.firm for one in found] == ([] if firm is None else [firm])


def test_a_result_is_late_when_nobody_comes_for_it_or_asking_fails() -> None:
    """Not while it is fetched as planned."""
    assert not rules.is_late(urgent_at=NOW - HOUR, run_at=NOW, failures=1, now=NOW)
    assert not rules.is_late(urgent_at=NOW, run_at=NOW - HOUR, failures=0, now=NOW)
    assert rules.is_late(urgent_at=NOW - HOUR, run_at=NOW - MINUTE, failures=0, now=NOW)
    assert rules.is_late(urgent_at=NOW - HOUR, run_at=NOW + HOUR, failures=2, now=NOW)


@pytest.mark.parametrize(
    ("state", "who", "told"),
    [
        ("closed", None, None),
        ("open", None, "failed 9 times in a row (because of sink_away)"),
        ("paused", None, "wants nothing more (because of sink_away)"),
        ("paused", "ada", None),
    ],
)
def test_a_circuit_is_told_of_unless_a_person_paused_it(
    state: str, who: str | None, told: str | None
) -> None:
    """That it is open, or that the other side wants nothing more."""
    circuit = Circuit(
        handler="sink:a", state=state, failures=9, since=NOW, who=who, error=Failure(code="sink_away")
    )
    found = [one.cause for one in upkeep.circuit_open(circuit, now=NOW)]
    assert len(found) == (told is not None)
    assert all(told in one for one in found if told is not None)


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (
            lambda age: upkeep.backlog_old(upkeep.Waiting(handler="h", since=NOW - age), now=NOW),
            (30, 120, 301),
        ),
        (
            lambda age: rules.old_key_in_use(
                rules.OldKey(provider="acme", key="old", newest="new", last=NOW - age), now=NOW
            ),
            (2 * 86_400, 7_200, 60),
        ),
    ],
)
def test_an_age_raises_above_one_limit_and_keeps_down_to_another(
    rule: Callable[[int], Iterable[Finding]], values: tuple[int, int, int]
) -> None:
    """Nothing, then what keeps, then what raises."""
    found = [[one.firm for one in rule(seconds * SECOND)] for seconds in values]
    assert found == [[], [False], [True]]


def test_a_disk_needs_more_than_its_floor_to_be_well_again() -> None:
    """Below the floor it raises; until a quarter more is free it keeps."""
    firm = [
        [one.firm for one in upkeep.disk_low(upkeep.Disk(host="a", folder="/data", free=free, floor=4 * GIB))]
        for free in (3 * GIB, 4 * GIB, 5 * GIB)
    ]
    assert firm == [[True], [False], []]


def test_a_node_that_was_replaced_is_not_missed() -> None:
    """One that went away without a word is, until a node of its role starts after it."""

    def node(name: str, *, role: str = "serve", started: int = 0, seen: int = 0) -> upkeep.Present:
        return upkeep.Present(name=name, role=role, started_at=NOW + started, seen_at=NOW + seen)

    def silent(*nodes: upkeep.Present) -> list[str]:
        return [one.subject for one in upkeep.node_silent(nodes, lease_ms=MINUTE, now=NOW)]

    gone, other = node("gone", started=-HOUR, seen=-10 * MINUTE), node("other", started=-HOUR)
    assert silent(gone, other) == ["gone"]
    assert silent(other, node("late", started=-HOUR, seen=-2 * MINUTE)) == []
    assert silent(gone, other, node("new", started=-9 * MINUTE)) == []
    assert silent(gone, other, node("new", role="worker", started=-9 * MINUTE)) == ["gone"]


def test_every_rule_says_cause_and_advice_in_sentences() -> None:
    """And names what ``SEVERITIES`` holds, nothing else."""
    shown = [
        *rules.callbacks_silent(calls([False] * 3), now=NOW),
        *rules.rejections_high(rules.Verdicts(provider="acme", rejected=9, others=1)),
        *rules.results_expiring(
            rules.Leaving(provider="acme", count=2, first_at=NOW + MINUTE, failures=3), now=NOW
        ),
        *rules.files_expiring(
            rules.LeavingFiles(provider="acme", count=1, first_at=NOW - 1, failures=0), now=NOW
        ),
        *rules.files_lost(rules.LostFiles(provider="acme", count=2, code="file_gone", job_id="job_1")),
        *upkeep.dead_letters(
            upkeep.Letters(provider="acme", handler="h", count=1, code="ValueError", latest=NOW), now=NOW
        ),
        *upkeep.circuit_open(Circuit(handler="h", state="open", failures=9, since=NOW), now=NOW),
        *rules.jobs_overdue(rules.Overdue(provider="acme", count=1, since=NOW - HOUR), now=NOW),
        *upkeep.backlog_old(
            upkeep.Waiting(provider="acme", since=NOW - HOUR, paused_until=NOW + HOUR), now=NOW
        ),
        *(
            found
            for kind in (NEEDS_ACTION, WORD_UNLISTED)
            for found in rules.attention_wanted(
                rules.Attention(provider="acme", kind=kind, word="held", count=1, job_id="job_1")
            )
        ),
        *rules.old_key_in_use(rules.OldKey(provider="acme", key="a", newest="b", last=NOW), now=NOW),
        *upkeep.disk_low(upkeep.Disk(host="a", folder="/", free=0, floor=GIB)),
        *upkeep.node_silent(
            [upkeep.Present(name="n", role="serve", started_at=0, seen_at=0)], lease_ms=MINUTE, now=NOW
        ),
    ]
    assert {one.name for one in shown} == set(SEVERITIES)
    for one in shown:
        assert one.cause.endswith("."), one.cause
        assert len(one.advice) > len("Do it."), one.name
