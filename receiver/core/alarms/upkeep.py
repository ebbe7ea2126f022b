"""The rules of alarms about ourselves: handlers, waiting work, disks and nodes; in the form of ``rules.py``."""

from collections.abc import Iterable, Iterator
from typing import Final

from receiver.core.alarms import alarm
from receiver.core.alarms.alarm import Finding
from receiver.core.circuit import Circuit
from receiver.core.model import MINUTE, Value
from receiver.core.spans import span

#: How old waiting work must be to raise an alarm, and to keep one.
_BACKLOG_RAISES: Final = 5 * MINUTE
BACKLOG_KEEPS: Final = MINUTE
#: How many times the floor must be free before the alarm is cleared.
_DISK_KEEPS: Final = 1.25
#: A node counts as silent after this many leases without a sign of life.
_LEASES: Final = 3


class Letters(Value, frozen=True, kw_only=True):
    """Dead letters of a handler for jobs of a provider; of the newest, why and when."""

    provider: str
    handler: str
    count: int
    code: str
    latest: int
    #: Whether there are more than were counted.
    more: bool = False


class Waiting(Value, frozen=True, kw_only=True):
    """What has waited longest: for a handler, or for a provider to be asked."""

    since: int
    handler: str = ""
    provider: str = ""
    #: Until when the provider asked to be left alone.
    paused_until: int | None = None


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
