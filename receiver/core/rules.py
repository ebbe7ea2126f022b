"""The rules of alarms: what is to be seen to. Each has a limit that raises an alarm, and one that keeps it.

What the rules are given is read by ``storage/signs.py``.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from receiver.core import alarm
from receiver.core.alarm import Finding
from receiver.core.circuit import Circuit
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Value
from receiver.core.shape import NEEDS_ACTION
from receiver.core.spans import span

#: How far back jobs count whose callback should have come.
LOOKED_BACK: Final = 7 * DAY
#: How long after a poll found a job ended its callback may still be on its way.
GRACE: Final = 30 * SECOND
#: So many jobs in a row without their callback raise an alarm where every job before had one.
_IN_A_ROW: Final = 3
#: Where some jobs before had none either, so unlikely must a row of such jobs be.
_UNLIKELY: Final = 0.001
#: Of the callbacks of the last hour: the share, and the number, that raise; and the share that keeps.
_SHARE_RAISES: Final = 0.2
_REJECTED_RAISES: Final = 5
_SHARE_KEEPS: Final = 0.1
#: A result that is deleted soon is late when nobody came for it so long, or asking has failed so often in a row.
_UNFETCHED: Final = MINUTE
_FAILURES: Final = 2
#: So long after its deadline a job should have ended: its provider is asked for ten minutes more.
OVERDUE: Final = 15 * MINUTE
#: The age of what waits that raises, and that keeps.
_BACKLOG_RAISES: Final = 5 * MINUTE
BACKLOG_KEEPS: Final = MINUTE
#: An old key that proved a callback within the last hour raises, where a newer one is in use for a day; within a day it
#: keeps.
KEY_SETTLED: Final = DAY
_KEY_RAISES: Final = HOUR
#: By how much more than the floor must be free before the alarm goes.
_DISK_KEEPS: Final = 1.25
#: A provider's word is the subject of an alarm up to so many characters.
_LONGEST_WORD: Final = 100
#: A node is silent after so many leases without a sign of life.
_LEASES: Final = 3


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


class Letters(Value, frozen=True, kw_only=True):
    """Dead letters of a handler for jobs of a provider; of the newest, why and when."""

    provider: str
    handler: str
    count: int
    code: str
    latest: int
    #: Whether there are more than were counted.
    more: bool = False


class Overdue(Value, frozen=True, kw_only=True):
    """Open jobs of a provider past their deadline, and the oldest deadline."""

    provider: str
    count: int
    since: int


class Waiting(Value, frozen=True, kw_only=True):
    """What has waited longest: for a handler, or for a provider to be asked."""

    since: int
    handler: str = ""
    provider: str = ""
    #: Until when the provider asked to be left alone.
    paused_until: int | None = None


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


class Disk(Value, frozen=True, kw_only=True):
    """The room on the disk that holds a folder, in bytes."""

    host: str
    folder: str
    free: int
    floor: int


class Present(Value, frozen=True, kw_only=True):
    """A node and its last sign of life."""

    name: str
    role: str
    started_at: int
    seen_at: int


def callbacks_silent(calls: Calls, *, now: int) -> Iterator[Finding]:
    """No callback where the jobs' own history says that there should have been.

    Counted are the newest jobs that had none, up to the first that had one. How many make a silence is what the jobs
    before them say: three where each was called back for, more where some never were. Any genuine callback ends it.
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
    left = leaving.first_at - now
    when = f"the first in {span(left)}" if left > 0 else "the first at any moment"
    failing = f"; asking failed {leaving.failures} times in a row" if leaving.failures >= _FAILURES else ""
    results = "result" if leaving.count == 1 else "results"
    yield Finding(
        name=alarm.RESULTS_EXPIRING,
        provider=leaving.provider,
        cause=f"{leaving.provider} is about to delete {leaving.count} {results} that are not here, {when}{failing}.",
        advice=f"'receiver jobs list --provider {leaving.provider} --state fetching' names the jobs; their timelines "
        "say why. 'receiver jobs poll JOB' asks at once.",
    )


def is_late(*, urgent_at: int, run_at: int, failures: int, now: int) -> bool:
    """Whether a result that is deleted soon should have been fetched by now."""
    return failures >= _FAILURES or now - max(urgent_at, run_at) >= _UNFETCHED


def dead_letters(letters: Letters, *, now: int) -> Iterator[Finding]:
    """A handler has dead letters."""
    many = f"{letters.count}{' or more' if letters.more else ''}"
    noun = "dead letter" if letters.count == 1 else "dead letters"
    yield Finding(
        name=alarm.DEAD_LETTERS,
        provider=letters.provider,
        subject=letters.handler,
        cause=f"{letters.handler} has {many} {noun} for jobs of {letters.provider}, the newest because of "
        f"{letters.code or 'no reason that was kept'}, made {span(max(now - letters.latest, 0))} ago.",
        advice="'receiver dead list' shows each with its error. After the cause is mended: receiver dead retry --all",
    )


def circuit_open(circuit: Circuit, *, now: int) -> Iterator[Finding]:
    """A handler or sink is left alone, because it failed or wants nothing more; not because a person paused it."""
    if circuit.state == "closed" or circuit.who is not None:
        return
    why = "for no reason that was kept" if circuit.error is None else f"because of {circuit.error.code}"
    what = f"failed {circuit.failures} times in a row" if circuit.state == "open" else "wants nothing more"
    goes_on = (
        f"The first trial that succeeds closes it. To try everything now: receiver handlers resume {circuit.handler}"
        if circuit.state == "open"
        else f"When it is to go on: receiver handlers resume {circuit.handler}"
    )
    yield Finding(
        name=alarm.CIRCUIT_OPEN,
        subject=circuit.handler,
        cause=f"{circuit.handler} {what} ({why}) and has been left alone for {span(max(now - circuit.since, 0))}; what "
        "ends meanwhile waits for it.",
        advice=f"See to what it needs. {goes_on}",
    )


def jobs_overdue(overdue: Overdue, *, now: int) -> Iterator[Finding]:
    """Jobs that should have ended by their deadline are still open."""
    jobs = "job is" if overdue.count == 1 else "jobs are"
    yield Finding(
        name=alarm.JOBS_OVERDUE,
        provider=overdue.provider,
        cause=f"{overdue.count} open {jobs} past the deadline at {overdue.provider}, the first for "
        f"{span(now - overdue.since)}: nobody asks, or the provider gives no answer.",
        advice="See with 'receiver doctor' that a node does what is due, and in the timeline of such a job what the "
        f"provider answers: receiver jobs list --provider {overdue.provider} --state open",
    )


def backlog_old(waiting: Waiting, *, now: int) -> Iterator[Finding]:
    """What is due has waited for long."""
    age = now - waiting.since
    if age < BACKLOG_KEEPS:
        return
    if waiting.handler:
        what = f"completions for {waiting.handler}"
        why = "the handler is slower than what comes in, waits for something, or no node has it"
        following = (
            "'receiver handlers list' shows who waits; give the handler more concurrency, or start a node."
        )
    else:
        what = f"requests to {waiting.provider}"
        why = "no node does what is due, or the provider's limits are lower than what is asked of it"
        following = (
            "See with 'receiver doctor' that a node does what is due; compare [limits] of the description."
        )
        if waiting.paused_until is not None and waiting.paused_until > now:
            why = f"the provider asked to be left alone for {span(waiting.paused_until - now)} more"
    yield Finding(
        name=alarm.BACKLOG_OLD,
        provider=waiting.provider,
        subject=waiting.handler,
        firm=age >= _BACKLOG_RAISES,
        cause=f"The oldest of the {what} has waited for {span(age)}: {why}.",
        advice=following,
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


def disk_low(disk: Disk) -> Iterator[Finding]:
    """A disk is nearly full."""
    if disk.free >= disk.floor * _DISK_KEEPS:
        return
    yield Finding(
        name=alarm.DISK_LOW,
        subject=disk.host,
        firm=disk.free < disk.floor,
        # Rounded, so that the sentence does not change with each byte.
        cause=f"{disk.free // (1 << 28) / 4:g} GiB are free on the disk of {disk.folder} at {disk.host}, and "
        f"{disk.floor / (1 << 30):g} GiB should be.",
        advice="Give the disk more room, or prune: receiver db prune --older-than 30d, then receiver db vacuum. Where "
        "nothing can be written, callbacks are answered 503.",
    )


def node_silent(nodes: Iterable[Present], *, lease_ms: int, now: int) -> Iterator[Finding]:
    """A node went away without a word, and none has started in its place."""
    silent = _LEASES * lease_ms
    everybody = list(nodes)
    alive = [one for one in everybody if now - one.seen_at < silent]
    for one in everybody:
        age = now - one.seen_at
        replaced = any(other.role == one.role and other.started_at >= one.seen_at for other in alive)
        if age < silent or replaced:
            continue
        yield Finding(
            name=alarm.NODE_SILENT,
            subject=one.name,
            cause=f"The node {one.name} ({one.role}) gave its last sign of life {span(age)} ago and did not say that "
            "it was told to stop.",
            advice="See whether its machine, its network and its database connection are well, and start it again. "
            "What it was at, other nodes have taken over. A node of the same role that starts ends this alarm.",
        )
