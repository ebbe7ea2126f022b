"""Alarms: conditions that somebody must see to, each raised once and cleared once.

A rule (``rules.py``) says what it finds. A firm finding raises its alarm. A finding that is not firm raises none, but
it keeps an alarm that is already raised. So a value that goes up and down around a limit raises one alarm, not many.
An alarm is cleared only after nothing was found for a minute.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from receiver.core.description.shape import NEEDS_ACTION
from receiver.core.identity import ALARM, new_id
from receiver.core.model import MINUTE, Value
from receiver.core.reading.observation import WORD_UNLISTED

#: For how long nothing must have been found before an alarm is cleared.
CALM: Final = MINUTE

CALLBACKS_SILENT: Final = "callbacks_silent"
REJECTIONS_HIGH: Final = "rejections_high"
RESULTS_EXPIRING: Final = "results_expiring"
FILES_EXPIRING: Final = "files_expiring"
FILES_LOST: Final = "files_lost"
DEAD_LETTERS: Final = "dead_letters"
CIRCUIT_OPEN: Final = "circuit_open"
JOBS_OVERDUE: Final = "jobs_overdue"
BACKLOG_OLD: Final = "backlog_old"
OLD_KEY_IN_USE: Final = "old_key_in_use"
DISK_LOW: Final = "disk_low"
NODE_SILENT: Final = "node_silent"

#: Every alarm that there is, and how bad it is: ``critical`` where something is about to be lost or stands still.
SEVERITIES: Final = {
    CALLBACKS_SILENT: "critical",
    REJECTIONS_HIGH: "critical",
    RESULTS_EXPIRING: "critical",
    FILES_EXPIRING: "critical",
    FILES_LOST: "warning",
    DEAD_LETTERS: "warning",
    CIRCUIT_OPEN: "warning",
    JOBS_OVERDUE: "warning",
    BACKLOG_OLD: "warning",
    WORD_UNLISTED: "warning",
    NEEDS_ACTION: "warning",
    OLD_KEY_IN_USE: "warning",
    DISK_LOW: "critical",
    NODE_SILENT: "warning",
}
#: What each node sees of itself alone; everything else is in the record, and one node looks for all.
OF_ONE_NODE: Final = frozenset({DISK_LOW})


class Finding(Value, frozen=True, kw_only=True):
    """What a rule found."""

    #: One of SEVERITIES.
    name: str
    #: Which provider it is about; empty where it is about none.
    provider: str = ""
    #: What else it is about: a handler, a key, a node; empty where it is about nothing else.
    subject: str = ""
    #: Whether it raises an alarm, rather than keep one.
    firm: bool = True
    #: What was found, in a sentence.
    cause: str
    #: What to do, in a sentence.
    advice: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What is raised once."""
        return (self.name, self.provider, self.subject)


class Alarm(Value, frozen=True, kw_only=True):
    """An alarm that is raised, or was."""

    id: str
    name: str
    provider: str
    subject: str
    raised_at: int
    #: ``None`` while it is raised.
    cleared_at: int | None = None
    #: Since when nothing has been found any more.
    calm_since: int | None = None
    #: As last found.
    cause: str
    advice: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What is raised once."""
        return (self.name, self.provider, self.subject)

    @property
    def severity(self) -> str:
        """How bad it is: critical or warning."""
        return SEVERITIES.get(self.name, "warning")


class Changes(Value, frozen=True, kw_only=True):
    """What one round of the rules changes about the alarms."""

    raised: tuple[Alarm, ...] = ()
    cleared: tuple[Alarm, ...] = ()
    #: Alarms that stay raised, with something about them that is new.
    changed: tuple[Alarm, ...] = ()


def follow(standing: Sequence[Alarm], found: Iterable[Finding], *, now: int) -> Changes:
    """Decide by what was *found* which alarms are raised now, which stay raised and which are cleared."""
    findings = {one.key: one for one in found}
    raised, cleared, changed = [], [], []
    for alarm in standing:
        finding = findings.pop(alarm.key, None)
        if finding is not None:
            after = replace(alarm, calm_since=None, cause=finding.cause, advice=finding.advice)
        elif alarm.calm_since is None:
            after = replace(alarm, calm_since=now)
        elif not 0 <= now - alarm.calm_since < CALM:
            cleared.append(replace(alarm, cleared_at=now))
            continue
        else:
            continue
        if after != alarm:
            changed.append(after)
    for one in findings.values():
        if one.firm:
            name, provider, subject = one.key
            raised.append(
                Alarm(
                    id=new_id(ALARM, now),
                    name=name,
                    provider=provider,
                    subject=subject,
                    raised_at=now,
                    cause=one.cause,
                    advice=one.advice,
                )
            )
    return Changes(raised=tuple(raised), cleared=tuple(cleared), changed=tuple(changed))
