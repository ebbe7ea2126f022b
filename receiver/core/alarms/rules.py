"""The rules of alarms about providers. Each has a limit that raises an alarm, and one that keeps it.

What the rules are given is read by ``storage/signs.py``; ``core/alarms/upkeep.py`` has those about ourselves.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from receiver.core.alarms import alarm
from receiver.core.alarms.alarm import Finding
from receiver.core.description.shape import NEEDS_ACTION
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Value
from receiver.core.spans import span

#: How far back jobs count whose callback should have come.
LOOKED_BACK: Final = 7 * DAY
#: How long after a poll found a job ended its callback may still be on its way.
GRACE: Final = 30 * SECOND
#: So many jobs in a row without their callback raise an alarm where every job before had one.
_IN_A_ROW: Final = 3
#: Where some earlier jobs had no callback either: how unlikely a row of such jobs must be before it raises.
_UNLIKELY: Final = 0.001
#: The share and the number of rejected callbacks in the last hour that raise an alarm, and the share that keeps it.
_SHARE_RAISES: Final = 0.2
_REJECTED_RAISES: Final = 5
_SHARE_KEEPS: Final = 0.1
#: A result that is deleted soon is late when nobody asked for it for so long, or asking failed so often in a row.
_UNFETCHED: Final = MINUTE
_FAILURES: Final = 2
#: So long after its deadline a job should have ended: its provider is asked for ten minutes more.
OVERDUE: Final = 15 * MINUTE
#: An old key that proved a callback within the last hour raises, where a newer one is in use for a day; within a day it
#: keeps.
KEY_SETTLED: Final = DAY
_KEY_RAISES: Final = HOUR
#: A provider's word is the subject of an alarm up to so many characters.
_LONGEST_WORD: Final = 100


class Awaited(Value, frozen=True, kw_only=True):
    """A job whose callback should have come."""

    #: When it should have.
    at: int
    heard: bool


class Calls(Value, frozen=True, kw_only=True):
    """How a provider calls back: the newest jobs whose callback should have come, the newest first."""

    provider: str
    #: How long callbacks take, and whether that was learnt from jobs, rather than read in the description.
    lag: int
    learnt: bool
    awaited: tuple[Awaited, ...]
    #: When the last genuine callback came.
    last: int | None


class Verdicts(Value, frozen=True, kw_only=True):
    """What became of a provider's callbacks in the last hour, and why most were rejected."""

    provider: str
    rejected: int
    others: int
    code: str = ""


class Leaving(Value, frozen=True, kw_only=True):
    """Results of a provider that it deletes soon and that are late: how many, the first, the most failures in a row."""

    provider: str
    count: int
    first_at: int
    failures: int


class LeavingFiles(Value, frozen=True, kw_only=True):
    """Files of a provider's results that it deletes soon and that are late."""

    provider: str
    count: int
    first_at: int
    failures: int


class LostFiles(Value, frozen=True, kw_only=True):
    """Files of a provider's results that could not be had, lately; the newest of the jobs, and why."""

    provider: str
    count: int
    code: str
    job_id: str


class Overdue(Value, frozen=True, kw_only=True):
    """Open jobs of a provider past their deadline, and the oldest deadline."""

    provider: str
    count: int
    #: Whether there may be more than were looked at.
    more: bool = False
    since: int


class Attention(Value, frozen=True, kw_only=True):
    """A provider's word that deserves attention, and where it was met."""

    provider: str
    #: ``needs_action`` or ``word_unlisted``.
    kind: str
    #: ``None`` where a rule of the description says so, and no word.
    word: str | None
    count: int
    #: The newest of the jobs.
    job_id: str


class OldKey(Value, frozen=True, kw_only=True):
    """A key that a newer one has replaced for at least a day, and when it last proved a callback."""

    provider: str
    key: str
    newest: str
    last: int


def callbacks_silent(calls: Calls, *, now: int) -> Iterator[Finding]:
    """No callback where the jobs' own history says that there should have been.

    The newest jobs without a callback are counted, up to the first that had one. The jobs before them say how many make
    a silence: three where each had its callback, more where some had none. Any genuine callback ends it.
    """
    missed = next((place for place, one in enumerate(calls.awaited) if one.heard), len(calls.awaited))
    if not missed:
        return
    began = calls.awaited[missed - 1].at
    if calls.last is not None and calls.last >= began:
        return
    before = calls.awaited[missed:]
    since = "none has ever come" if calls.last is None else f"the last came {span(now - calls.last)} ago"
    usual = f"they take {span(calls.lag)} at most" if calls.learnt else f"expected within {span(calls.lag)}"
    jobs = "job" if missed == 1 else "jobs"
    yield Finding(
        name=alarm.CALLBACKS_SILENT,
        provider=calls.provider,
        firm=missed >= _needed(before),
        cause=f"{calls.provider} called back for none of the last {missed} {jobs} ({usual}); {since}. "
        "Polling has taken over, where the provider can be polled.",
        advice="Ask 'receiver doctor' whether the callback URL is reached from outside, look for rejected ones with "
        f"'receiver callbacks list --provider {calls.provider} --verdict rejected', and see the provider's status "
        "page.",
    )


def _needed(before: Sequence[Awaited]) -> int:
    """How many jobs in a row without a callback are a silence, by those *before*."""
    if not before or all(one.heard for one in before):
        return _IN_A_ROW
    lost = 1 - sum(one.heard for one in before) / len(before)
    return max(math.ceil(math.log(_UNLIKELY) / math.log(lost)), _IN_A_ROW)


def rejections_high(verdicts: Verdicts) -> Iterator[Finding]:
    """Too large a share of a provider's callbacks is rejected."""
    total = verdicts.rejected + verdicts.others
    share = verdicts.rejected / total if total else 0.0
    if share < _SHARE_KEEPS:
        return
    reason = f", most with {verdicts.code}" if verdicts.code else ""
    following = f" Read 'receiver explain {verdicts.code}'." if verdicts.code else ""
    yield Finding(
        name=alarm.REJECTIONS_HIGH,
        provider=verdicts.provider,
        firm=share >= _SHARE_RAISES and verdicts.rejected >= _REJECTED_RAISES,
        cause=f"{verdicts.rejected} of {total} callbacks of {verdicts.provider} were rejected in the last hour"
        f"{reason}.",
        advice=f"'receiver callbacks list --provider {verdicts.provider} --verdict rejected' shows them.{following} "
        f"After our secret is corrected: receiver callbacks reverify --provider {verdicts.provider}",
    )


def results_expiring(leaving: Leaving, *, now: int) -> Iterator[Finding]:
    """Results that their provider deletes soon, and that nobody has fetched yet."""
    yield Finding(
        name=alarm.RESULTS_EXPIRING,
        provider=leaving.provider,
        cause=_about_to_go(leaving, "result", now=now),
        advice=f"'receiver jobs list --provider {leaving.provider} --state fetching' names the jobs; their timelines "
        "say why. 'receiver jobs poll JOB' asks at once.",
    )


def files_expiring(leaving: LeavingFiles, *, now: int) -> Iterator[Finding]:
    """Files that their provider deletes soon, and that are not here yet."""
    yield Finding(
        name=alarm.FILES_EXPIRING,
        provider=leaving.provider,
        cause=_about_to_go(leaving, "file", now=now),
        advice=f"'receiver jobs list --provider {leaving.provider} --state fetching' names the jobs; "
        "'receiver jobs files JOB' says of each file why it is not here.",
    )


def _about_to_go(leaving: Leaving | LeavingFiles, what: str, *, now: int) -> str:
    left = leaving.first_at - now
    when = f"the first in {span(left)}" if left > 0 else "the first at any moment"
    failing = f"; asking failed {leaving.failures} times in a row" if leaving.failures >= _FAILURES else ""
    many = what if leaving.count == 1 else f"{what}s"
    return f"{leaving.provider} is about to delete {leaving.count} {many} that are not here, {when}{failing}."


def is_late(*, urgent_at: int, run_at: int, failures: int, now: int) -> bool:
    """Whether a result that is deleted soon should have been fetched by now."""
    return failures >= _FAILURES or now - max(urgent_at, run_at) >= _UNFETCHED


def files_lost(lost: LostFiles) -> Iterator[Finding]:
    """Files that a result links to could not be had; handlers go on without them."""
    files = "file is" if lost.count == 1 else "files are"
    yield Finding(
        name=alarm.FILES_LOST,
        provider=lost.provider,
        cause=f"{lost.count} {files} lost that results of the last day by {lost.provider} link to, the newest because "
        f"of {lost.code or 'no reason that was kept'} ({lost.job_id}).",
        advice=f"Read 'receiver explain {lost.code}' and 'receiver jobs files {lost.job_id}'; where the provider still "
        "has them, their links are in the result: receiver jobs show.",
    )


def jobs_overdue(overdue: Overdue, *, now: int) -> Iterator[Finding]:
    """Jobs that should have ended by their deadline are still open."""
    jobs = "job is" if overdue.count == 1 else "jobs are"
    yield Finding(
        name=alarm.JOBS_OVERDUE,
        provider=overdue.provider,
        cause=f"{overdue.count}{'+' if overdue.more else ''} open {jobs} past the deadline at {overdue.provider}, "
        f"the first for {span(now - overdue.since)}: nobody asks, or the provider gives no answer.",
        advice="See with 'receiver doctor' that a node does what is due, and in the timeline of such a job what the "
        f"provider answers: receiver jobs list --provider {overdue.provider} --state open",
    )


def attention_wanted(attention: Attention) -> Iterator[Finding]:
    """A provider waits for a person, or uses a word that its description does not list."""
    jobs = f"{attention.count} job{'' if attention.count == 1 else 's'}, such as {attention.job_id}"
    cause = f"{attention.word!r} is a word of {attention.provider} for a state that its description does not list: "
    advice = "Add it to states of the description; until then it means what unknown says there (running, if nothing)."
    if attention.kind == NEEDS_ACTION:
        cause = f"A person has to do something at {attention.provider} before it goes on ({attention.word}): "
        advice = f"What it is says: receiver jobs show {attention.job_id}"
    yield Finding(
        name=attention.kind,
        provider=attention.provider,
        subject=(attention.word or "")[:_LONGEST_WORD],
        cause=f"{cause}{jobs}.",
        advice=advice,
    )


def old_key_in_use(key: OldKey, *, now: int) -> Iterator[Finding]:
    """A key that a rotation replaced still proves callbacks, so it must not be taken out yet."""
    age = now - key.last
    if age >= KEY_SETTLED:
        return
    yield Finding(
        name=alarm.OLD_KEY_IN_USE,
        provider=key.provider,
        subject=key.key,
        firm=age < _KEY_RAISES,
        cause=f"{key.provider} still signs with the old key {key.key}, last {span(max(age, 0))} ago, although "
        f"{key.newest} has been in use for a day.",
        advice="Keep the old key for now. Find out at the provider which endpoint or account still has it, and give "
        "that one the new key.",
    )
