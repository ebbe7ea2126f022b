"""The checks of ``receiver doctor`` that ask the record: who serves it, and what is stuck, dead or rejected."""

from collections.abc import AsyncIterator, Container, Sequence
from typing import Final

from receiver.cli import output, session
from receiver.cli.file_checks import check_files
from receiver.cli.finding import OK, WARN, Check, failed
from receiver.cli.handler_checks import check_registered
from receiver.core.alarms import alarm
from receiver.core.alarms.alarm import Alarm
from receiver.core.alarms.rules import Attention
from receiver.core.circuit import Circuit
from receiver.core.description.shape import NEEDS_ACTION
from receiver.core.errors import ConfigurationError
from receiver.core.model import DAY
from receiver.core.reading.observation import WORD_UNLISTED
from receiver.running import Running
from receiver.storage import alarms, attention, glance, serving, signs

#: Jobs of so many milliseconds are looked through for such as have no name at their provider.
_LATELY: Final = 7 * DAY
#: Alarms about what a check here tells of as it is now, and the name of that check.
_TOLD: Final = {
    alarm.DEAD_LETTERS: "dead letters",
    alarm.CIRCUIT_OPEN: "circuit {0.subject}",
    alarm.JOBS_OVERDUE: "overdue jobs",
    alarm.REJECTIONS_HIGH: "quarantine {0.provider}",
    NEEDS_ACTION: "action {0.provider}",
    WORD_UNLISTED: "word {0.provider}",
}


async def check_record(
    running: Running, handlers: Sequence[str] | None, *, whole: bool = False
) -> AsyncIterator[Check]:
    """Carry out every check.

    Args:
        running: The parts that know the record.
        handlers: The names of those that could be loaded.
        whole: Whether all open jobs are looked at, however long that takes.
    """
    if running.keys.masters:
        yield await _check_open(running, whole=whole)
    yield await _check_serving(running)
    yield await check_files(running)
    if handlers is not None:
        yield await check_registered(running, handlers)
    told = set[str]()
    async for check in _check_work(running):
        if check.status == WARN:
            told.add(check.name)
        yield check
    async for check in _check_alarms(running, told):
        yield check
    for provider, key, count, last in await running.store.keys_used():
        yield Check(
            name=f"key {provider}",
            status=OK,
            text=f"{key}{_which(key)} proved {count} of the latest callbacks, the last at {output.moment(last)}",
        )


async def _check_open(running: Running, *, whole: bool) -> Check:
    """Whether what open jobs need is there."""
    try:
        await running.check()
        if whole:
            await running.needs.check_all()
    except ConfigurationError as error:
        return failed("open jobs", error, "Until then 'serve' refuses to start.")
    text = "their keys and descriptions are there"
    if running.needs.more and not whole:
        text += ", of the oldest, the newest and some between: 'receiver doctor --whole' looks at all of them"
    return Check(name="open jobs", status=OK, text=text)


def _which(key: str) -> str:
    """Which of the keys in a setting *key* is, in words: ``NAME#2``, ``NAME#1-2``."""
    setting, mark, number = key.rpartition("#")
    if not mark:
        return ""
    first, several, last = number.partition("-")
    if several:
        return f" (keys {first} to {last} of {setting} read as one, with the comma in it)"
    return f" (key {number} of {setting})"


async def _check_work(running: Running) -> AsyncIterator[Check]:
    """What is stuck, dead or rejected, as the record says now."""
    yield await _check_dead(running)
    for one in await running.store.registered():
        if one.circuit is not None and one.circuit.holds:
            waiting = output.number(one.waiting, more=one.more_waiting)
            yield _check_circuit(running, one.name, one.circuit, waiting)
    yield await _check_overdue(running)
    for checks in (_check_jobs(running), _check_quarantine(running)):
        async for check in checks:
            yield check


async def _check_dead(running: Running) -> Check:
    """Dead letters, with the handlers and errors that most of them are of."""
    found = await running.store.read(glance.letters)
    if not found:
        return Check(name="dead letters", status=OK, text="none")
    dead = output.number(sum(one.count for one in found), more=any(one.more for one in found))
    most = ", ".join(
        f"{output.number(one.count, more=one.more)} of {one.handler} ({one.code or 'no code'})"
        for one in found[:3]
    )
    return Check(
        name="dead letters",
        status=WARN,
        text=f"{dead} dispatch{' has' if dead == '1' else 'es have'} no attempts left: {most}",
        next="See 'receiver dead list'; after a fix 'receiver replay --failed' or 'receiver dead retry'.",
    )


async def _check_overdue(running: Running) -> Check:
    """Open jobs past their deadline."""
    found = await running.store.read(signs.overdue, now=running.clock(), grace=0)
    if not found:
        return Check(name="overdue jobs", status=OK, text="none")
    late = output.number(sum(one.count for one in found), more=any(one.more for one in found))
    return Check(
        name="overdue jobs",
        status=WARN,
        text=f"{late} open job{' is past its' if late == '1' else 's are past their'} deadline",
        next="'receiver serve' ends them; if it runs, read its log.",
    )


def _check_circuit(running: Running, name: str, circuit: Circuit, waiting: str) -> Check:
    """A handler that is left alone."""
    why = output.failure(circuit.error) if circuit.error is not None else f"by {circuit.who or 'hand'}"
    since = output.lately(max(running.clock() - circuit.since, 0))
    following = f"When it is to go on: receiver handlers resume {name}"
    if circuit.state == "open":
        following = (
            f"The first trial that succeeds closes it. To try everything now: receiver handlers resume {name}"
        )
    return Check(
        name=f"circuit {name}",
        status=WARN,
        text=f"{circuit.state} for {since} ({why}); {waiting} dispatches wait",
        next=following,
    )


async def _check_quarantine(running: Running) -> AsyncIterator[Check]:
    for one in await running.store.read(glance.rejections):
        yield Check(
            name=f"quarantine {one.provider}",
            status=WARN,
            text=f"{output.number(one.count, more=one.more)} rejected: {one.code}",
            next=f"If our secret was wrong: correct it, then: receiver callbacks reverify --provider {one.provider}",
        )


async def _check_alarms(running: Running, told: Container[str]) -> AsyncIterator[Check]:
    """What the processes that serve have found, but for what was *told* already; and whether they look."""
    raised = await running.store.read(alarms.raised)
    looked_at = await running.store.read(alarms.looked_at)
    left = [one for one in raised if _TOLD.get(one.name, "").format(one) not in told]
    for one in left:
        yield Check(name=_alarm_name(one), status=WARN, text=one.cause.rstrip("."), next=one.advice)
    if left:
        return
    if not looked_at:
        yield Check(name="alarms", status=OK, text="nobody has looked yet; a process that serves does")
        return
    ago = output.lately(max(running.clock() - looked_at, 0))
    others = f"none but for what is told above ({len(raised)})" if raised else "none is raised"
    yield Check(name="alarms", status=OK, text=f"{others}, as of {ago} ago")


def _alarm_name(one: Alarm) -> str:
    return " ".join(filter(None, ("alarm", one.name, one.provider)))


def _check_attention(found: Attention) -> Check:
    """Jobs that somebody should look at because of a provider's word."""
    jobs = f"{found.count} job{'' if found.count == 1 else 's'}, such as {found.job_id}"
    if found.kind == NEEDS_ACTION:
        text = f"a person has to do something at {found.provider} before they go on ({found.word}): {jobs}"
        following = f"What it is says: receiver jobs show {found.job_id}"
        return Check(name=f"action {found.provider}", status=WARN, text=text, next=following)
    return Check(
        name=f"word {found.provider}",
        status=WARN,
        text=f"{found.word!r} is a word for a state that its description does not list: {jobs}",
        next="Add it to states of the description; until then it means what unknown says there (running, if nothing).",
    )


async def _check_jobs(running: Running) -> AsyncIterator[Check]:
    """Single jobs that somebody should look at."""
    async for check in _check_orphans(running):
        yield check
    for found in await running.store.read(attention.attention, running.clock() - _LATELY):
        yield _check_attention(found)


async def _check_orphans(running: Running) -> AsyncIterator[Check]:
    """Jobs whose submission nobody answered, beside those that callbacks made in their time."""
    found = await running.store.orphans(since=running.clock() - _LATELY)
    if not found:
        yield Check(name="jobs without a name", status=OK, text="none")
    for one in found:
        job = one.job
        text = f"the provider's id of {job.id} ({job.provider}, {output.moment(job.created_at)}) is not known"
        if not one.adopted:
            following = f"Look for it at {job.provider}; then: receiver jobs link {job.id} REMOTE_ID"
        else:
            names = ", ".join(f"{each.remote_id} ({each.id}, {each.state})" for each in one.adopted)
            text += f"; nobody here submitted {names}"
            following = f"If one of these is it: receiver jobs link {job.id} {one.adopted[0].remote_id}"
        yield Check(name="jobs without a name", status=WARN, text=text, next=following)


async def _check_serving(running: Running) -> Check:
    """Whether a process takes callbacks, and one does the work that is due."""
    nodes, now = await running.store.nodes(), running.clock()
    if running.store.driver.exclusive:
        served = session.is_served(running.settings)
    else:
        nodes = serving.lately(nodes, lease_ms=running.settings.lease_ms, now=now)
        served = bool(nodes)
    if not served:
        return Check(
            name="serving",
            status=WARN,
            text="no process serves this database",
            next="Start 'receiver serve'.",
        )
    shown = ", ".join(
        f"{one.name} ({one.role}, seen {output.lately(max(now - one.seen_at, 0))} ago)" for one in nodes
    )
    roles = {one.role for one in nodes}
    if roles == {"worker"}:
        return Check(
            name="serving",
            status=WARN,
            text=f"nobody takes callbacks: {shown}",
            next="Start 'receiver serve'.",
        )
    if roles == {"ingest"}:
        return Check(
            name="serving",
            status=WARN,
            text=f"nobody does what is due: {shown}",
            next="Start 'receiver worker', or 'receiver serve' without --no-worker.",
        )
    return Check(name="serving", status=OK, text=shown or "a process serves this database")
