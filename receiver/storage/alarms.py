"""Alarms in the store: raised once and cleared once, however many nodes look, and told to sinks at least once."""

from collections.abc import Sequence
from typing import Final

from receiver.core.alarms.alarm import Alarm, Changes, Finding, follow
from receiver.core.model import DAY, Value
from receiver.storage.driver import Row, Transaction, split

_COLUMNS: Final = "id, name, provider, subject, raised_at, cleared_at, calm_since, cause, advice"
_CHANGING: Final = "cleared_at, calm_since, cause, advice"
#: For how long an alarm that was cleared is kept, and what no node has the sink for.
_KEPT: Final = 30 * DAY
#: For how long a sink is tried.
TRIED: Final = DAY
RAISED: Final = "raised"
CLEARED: Final = "cleared"
#: How many notices are taken at a time.
_NOTICES: Final = 20


class Round(Value, frozen=True, kw_only=True):
    """A node that wants to look for everything."""

    node: str
    now: int
    #: How long ago the last round must have been.
    every: int


class Looked(Value, frozen=True, kw_only=True):
    """What a round found."""

    #: The alarms that were looked for, by name.
    names: frozenset[str]
    #: What these were looked for on, where each node looks by itself.
    subject: str | None = None
    findings: tuple[Finding, ...]
    #: Who is to be told.
    sinks: tuple[str, ...] = ()
    now: int


class Notice(Value, frozen=True, kw_only=True):
    """A sink is to be told that an alarm was raised or cleared."""

    alarm: Alarm
    #: ``raised`` or ``cleared``.
    word: str
    sink: str
    made_at: int
    #: Which attempt this is.
    attempt: int


def begin(tx: Transaction, items: Sequence[Round]) -> list[bool]:
    """Take the next round, unless another node has; whether it was taken."""
    answers = []
    for one in items:
        taken = tx.run(
            "INSERT INTO alarm_round (name, node, at) VALUES ('record', :node, :now) ON CONFLICT (name) DO UPDATE "
            # What lies in the future was noted by a clock that was set back since.
            "SET node = excluded.node, at = excluded.at WHERE alarm_round.at <= :before OR alarm_round.at > :now "
            "RETURNING name",
            {"node": one.node, "now": one.now, "before": one.now - one.every},
        )
        answers.append(bool(taken))
    return answers


def settle(tx: Transaction, items: Sequence[Looked]) -> list[Changes]:
    """Raise and clear alarms by what was found, and note who is to be told."""
    return [_settle(tx, one) for one in items]


def _settle(tx: Transaction, looked: Looked) -> Changes:
    # Who looked at the same time waits for these rows; what both would raise its index refuses once, and that one looks
    # again.
    found = tx.run(f"SELECT {_COLUMNS} FROM alarm WHERE cleared_at IS NULL ORDER BY id {{for_update}}")
    standing = [
        one
        for one in map(_alarm, found)
        if one.name in looked.names and (looked.subject is None or one.subject == looked.subject)
    ]
    changes = follow(standing, looked.findings, now=looked.now)
    tx.insert("alarm", _COLUMNS, [_row(one) for one in changes.raised])
    changed = [
        (one.cleared_at, one.calm_since, one.cause, one.advice, one.id)
        for one in sorted((*changes.changed, *changes.cleared), key=lambda one: one.id)
    ]
    tx.update("alarm", _CHANGING, changed, key="id")
    notices = [
        (one.id, word, sink, looked.now, looked.now, 0)
        for word, some in ((RAISED, changes.raised), (CLEARED, changes.cleared))
        for one in some
        for sink in looked.sinks
    ]
    tx.insert("alarm_notice", "alarm_id, word, sink, made_at, run_at, attempt", notices)
    before = {"before": looked.now - _KEPT}
    if changes.cleared:
        tx.run("DELETE FROM alarm WHERE cleared_at < :before", before)
    # A sink that was taken out of the configuration is tried by nobody.
    tx.run("DELETE FROM alarm_notice WHERE run_at < :before", before)
    return changes


def raised(tx: Transaction) -> list[Alarm]:
    """The alarms that are raised, the oldest first."""
    found = tx.run(f"SELECT {_COLUMNS} FROM alarm WHERE cleared_at IS NULL ORDER BY id")
    return [_alarm(row) for row in found]


def everything(tx: Transaction, *, limit: int = 200) -> list[Alarm]:
    """The alarms that are raised or were within a month, the latest first."""
    found = tx.run(f"SELECT {_COLUMNS} FROM alarm ORDER BY id DESC LIMIT :limit", {"limit": limit})
    return [_alarm(row) for row in found]


def looked_at(tx: Transaction) -> int:
    """When somebody last looked for everything; 0 if nobody ever did."""
    found = tx.run("SELECT at FROM alarm_round WHERE name = 'record'")
    return int(found[0][0]) if found else 0


def take(tx: Transaction, items: Sequence[tuple[tuple[str, ...], int, int]]) -> list[list[Notice]]:
    """Take what sinks are to be told now: (names of the sinks, now, until when nobody else is to try it).

    That an alarm was cleared is not told before that it was raised.
    """
    answers = []
    for sinks, now, until in items:
        where, params = tx.among("sink", sinks)
        found = tx.run(
            f"SELECT alarm_id, word, sink, made_at, attempt FROM alarm_notice WHERE {where} AND run_at <= :now "
            "AND (word = :raised OR NOT EXISTS (SELECT 1 FROM alarm_notice AS before WHERE "
            "before.alarm_id = alarm_notice.alarm_id AND before.sink = alarm_notice.sink "
            "AND before.word = :raised)) ORDER BY alarm_id, word, sink LIMIT :most {for_update} {skip_locked}",
            {**params, "now": now, "raised": RAISED, "most": _NOTICES},
        )
        tx.update(
            "alarm_notice",
            "run_at, attempt",
            [(until, row[4] + 1, row[0], row[1], row[2]) for row in found],
            key="alarm_id, word, sink",
        )
        answers.append(
            [
                Notice(alarm=alarm, word=row[1], sink=row[2], made_at=row[3], attempt=row[4] + 1)
                for row in found
                for alarm in _named(tx, row[0])
            ]
        )
    return answers


def told(tx: Transaction, items: Sequence[tuple[Notice, int | None]]) -> list[None]:
    """Note how telling went: (what, when it is tried again, ``None`` if never)."""
    ordered = sorted(items, key=lambda item: (item[0].alarm.id, item[0].word, item[0].sink))
    tx.delete(
        "alarm_notice",
        [(one.alarm.id, one.word, one.sink) for one, again in ordered if again is None],
        key="alarm_id, word, sink",
    )
    tx.update(
        "alarm_notice",
        "run_at",
        [(again, one.alarm.id, one.word, one.sink) for one, again in ordered if again is not None],
        key="alarm_id, word, sink",
    )
    return [None] * len(items)


def untold(tx: Transaction) -> int:
    """How many notices sinks have not taken yet."""
    return int(tx.run("SELECT count(*) FROM alarm_notice")[0][0])


def _named(tx: Transaction, alarm_id: str) -> list[Alarm]:
    return [_alarm(row) for row in tx.run(f"SELECT {_COLUMNS} FROM alarm WHERE id = :id", {"id": alarm_id})]


def _row(alarm: Alarm) -> Row:
    return tuple(getattr(alarm, name) for name in split(_COLUMNS))


def _alarm(row: Row) -> Alarm:
    return Alarm(**dict(zip(split(_COLUMNS), row, strict=True)))
