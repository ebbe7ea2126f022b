"""Overview: what needs a person first; then what came and ended, how providers and nodes stand."""

import asyncio
from collections.abc import Container, Sequence
from typing import Final

from starlette.responses import Response

from receiver.console import words
from receiver.console.ask import Ask, Route
from receiver.console.causes import Causes, Group
from receiver.console.chart import Chart, chart
from receiver.console.page import Page
from receiver.console.parts import Parts
from receiver.console.shown import query, since, span
from receiver.core.alarms.alarm import (
    CALLBACKS_SILENT,
    DISK_LOW,
    FILES_EXPIRING,
    FILES_LOST,
    JOBS_OVERDUE,
    NODE_SILENT,
    OLD_KEY_IN_USE,
    Alarm,
)
from receiver.core.circuit import Circuit
from receiver.core.description.shape import NEEDS_ACTION
from receiver.core.model import DAY, MINUTE, Value
from receiver.core.reading.observation import WORD_UNLISTED
from receiver.storage import alarms, circuits, glance, nodes, tally
from receiver.storage.glance import Backlog, Letters, Losing, Standing

#: What waits longer than this is a backlog.
_LATE: Final = MINUTE
#: A node that gave no sign of life for this long is told as silent.
_SILENT: Final = 90_000
_VERDICTS: Final = (("accepted", "ok"), ("duplicate", "dim"), ("unreadable", "warn"), ("rejected", "bad"))
_ENDS: Final = (
    ("succeeded", "ok"),
    ("canceled", "dim"),
    ("timed_out", "warn"),
    ("expired", "bad"),
    ("failed", "bad"),
)
_MOST_NEEDS: Final = 12
#: Lines of one kind among them.
_MOST_ALIKE: Final = 4
#: What alarms are called here that tell something which is not counted on this page.
_ALARMS: Final = {
    CALLBACKS_SILENT: "Callbacks stopped",
    FILES_EXPIRING: "Files will be deleted",
    FILES_LOST: "Files are lost",
    JOBS_OVERDUE: "Jobs are overdue",
    NEEDS_ACTION: "A provider waits for you",
    WORD_UNLISTED: "An unknown word",
    OLD_KEY_IN_USE: "An old key is in use",
    DISK_LOW: "A disk is nearly full",
    NODE_SILENT: "A node is silent",
}


class Need(Value, frozen=True, kw_only=True):
    """Something that needs a person."""

    #: How it is coloured.
    colour: str
    what: str
    sentence: str
    #: Where to see to it, below the console, and how that is called.
    link: str
    name: str


class Row(Value, frozen=True, kw_only=True):
    """One provider's line."""

    standing: Standing
    p50: int | None
    p99: int | None
    #: Share of the jobs that have ended, in percent.
    callback_share: int
    poll_share: int
    state: str
    colour: str


class OverviewPage(Page):
    """The first page."""

    def __init__(self, parts: Parts, causes: Causes) -> None:
        super().__init__(parts)
        self._causes = causes

    @property
    def routes(self) -> list[Route]:
        """What can be asked for."""
        return [Route("GET", "/", self.show)]

    async def show(self, ask: Ask) -> Response:
        """Show the overview."""
        await self._parts.tally()
        now, read = ask.now, self._store.read
        begin = (now - DAY) // tally.BUCKET * tally.BUCKET
        rejected, losing, letters, backlog = await asyncio.gather(
            read(glance.rejections), read(glance.losing, now), read(glance.letters), read(glance.backlog, now)
        )
        standings, counted, seen, busy, switches = await asyncio.gather(
            read(glance.standings),
            read(tally.since, begin),
            read(nodes.nodes),
            read(glance.under_way, now, self._parts.settings.lease_ms),
            read(circuits.circuits),
        )
        groups, raised, looked_at = await asyncio.gather(
            self._causes.groups(rejected[:_MOST_ALIKE]), read(alarms.raised), read(alarms.looked_at)
        )
        told = _raised(raised, now)
        refused = {one.provider: one.since for one in rejected}
        switched = [_switched(one, now) for one in switches if one.holds]
        silent = _silent(standings, {one.provider for one in raised if one.name == CALLBACKS_SILENT})
        needs = [
            *_some(_losing(losing, now), "kinds of results that will be deleted", "/jobs?state=open"),
            *_undecided(backlog),
            *_some(switched, "handlers that get nothing", "/handlers"),
            *_some(
                _rejected(groups, now),
                "reasons why callbacks were rejected",
                "/callbacks",
                count=len(rejected),
            ),
            *told,
            *_some(silent, "providers that did not call back when it was expected", "/providers"),
            *_some(_letters(letters, now), "errors that left dead letters", "/dead"),
            *_backlog(backlog, now),
        ]
        return await ask.page(
            "overview.html",
            needs=needs[:_MOST_NEEDS],
            as_of=looked_at if told else None,
            left_out=max(len(needs) - _MOST_NEEDS, 0),
            callbacks=_chart("callback", _VERDICTS, counted, begin, now),
            ends=_chart("job", _ENDS, counted, begin, now),
            rows=[_row(one, refused.get(one.provider), now) for one in standings],
            sample=glance.SAMPLE,
            nodes=[(one, *busy.get(one.name, (0, 0)), now - one.seen_at > _SILENT) for one in seen],
            oldest=backlog.oldest_step,
        )


def _chart(
    kind: str, parts: Sequence[tuple[str, str]], counted: Sequence[tally.Counted], begin: int, now: int
) -> Chart:
    values: dict[tuple[int, str], int] = {}
    for one in counted:
        if one.kind == kind:
            place = (one.bucket - begin) // (2 * tally.BUCKET)
            values[place, one.word] = values.get((place, one.word), 0) + one.count
    return chart(values, parts, begin=begin, step=2 * tally.BUCKET, now=now)


def _some(needs: list[Need], of_what: str, link: str, *, count: int | None = None) -> list[Need]:
    """The first of *needs*, which are all *of_what*, and where the others are: no kind of trouble hides another.

    *count* says how many there are where not all of them were made.
    """
    count = len(needs) if count is None else count
    if count <= _MOST_ALIKE:
        return needs
    shown = needs[: _MOST_ALIKE - 1]
    rest = Need(
        colour=needs[0].colour,
        what=f"{count - len(shown)} more",
        sentence=of_what,
        link=link,
        name="Show all",
    )
    return [*shown, rest]


def _rejected(groups: Sequence[Group], now: int) -> list[Need]:
    return [
        Need(
            colour="warn",
            what=words.many(one.count, "callback", more=one.more),
            sentence=f"of {one.provider} were rejected since {since(one.since, now)}"
            + (", all that were looked into for one reason: " if one.alike else ", the newest because: ")
            + (one.cause.sentence if one.cause is not None else words.meaning(one.code)),
            link=f"/callbacks/{one.newest}"
            + query({"provider": one.provider, "verdict": "rejected", "code": one.code}),
            name="Why",
        )
        for one in groups
    ]


def _losing(losing: Sequence[Losing], now: int) -> list[Need]:
    return [
        Need(
            colour="bad",
            what=words.many(one.count, "result"),
            sentence=f"of {one.provider} will be deleted by the provider, the first "
            + (f"in {span(one.first_at - now, rough=True)}" if one.first_at > now else "any moment")
            + ", and were not fetched"
            + (f": asking failed {words.many(one.failures, 'time')} in a row" if one.failures else " yet"),
            link=f"/jobs{query({'provider': one.provider, 'state': 'open'})}",
            name="Show",
        )
        for one in losing
    ]


def _switched(circuit: Circuit, now: int) -> Need:
    reason = words.meaning(circuit.error.code) if circuit.error is not None else f"by {circuit.who or 'hand'}"
    if circuit.state == "open":
        what, sentence = (
            "Circuit open",
            f"{circuit.handler} failed {words.many(circuit.failures, 'time')} in a row",
        )
    else:
        what, sentence = "Paused", f"{circuit.handler} gets nothing"
    return Need(
        colour="bad" if circuit.state == "open" else "warn",
        what=what,
        sentence=f"{sentence}, since {since(circuit.since, now)}: {reason}",
        link="/handlers",
        name="Show",
    )


def _undecided(backlog: Backlog) -> list[Need]:
    if not backlog.undecided:
        return []
    return [
        Need(
            colour="bad",
            what=words.many(backlog.undecided, "submission", more=backlog.more_undecided),
            sentence="got no answer, so nobody knows whether the job was started: send it again, or give it up",
            link="/jobs?state=submitting",
            name="Decide",
        )
    ]


def _raised(raised: Sequence[Alarm], now: int) -> list[Need]:
    """The alarms about what this page does not count itself."""
    return [
        Need(
            colour="bad" if one.severity == "critical" else "warn",
            what=_ALARMS[one.name],
            sentence=f"since {since(one.raised_at, now)}: {one.cause} {one.advice}",
            link=f"/providers/{one.provider}" if one.provider else "/",
            name="Show",
        )
        for one in raised
        if one.name in _ALARMS
    ]


def _silent(standings: Sequence[Standing], told: Container[str]) -> list[Need]:
    return [
        Need(
            colour="warn",
            what=words.many(one.overdue, "job"),
            sentence=f"of {one.provider} got no callback when it was expected; polling has taken over",
            link=f"/jobs{query({'provider': one.provider, 'state': 'open'})}",
            name="Show",
        )
        for one in standings
        if one.overdue and one.provider not in told
    ]


def _letters(letters: Sequence[Letters], now: int) -> list[Need]:
    return [
        Need(
            colour="warn",
            what=words.many(one.count, "dead letter", more=one.more),
            sentence=f"of {one.handler}: {words.meaning(one.code)}, since {since(one.since, now)}",
            link=f"/dead{query({'handler': one.handler, 'code': one.code})}",
            name="Retry…",
        )
        for one in letters
    ]


def _backlog(backlog: Backlog, now: int) -> list[Need]:
    found = []
    if backlog.oldest_handler is not None and now - backlog.oldest_handler > _LATE:
        found.append(
            Need(
                colour="warn",
                what=words.many(backlog.handlers, "dispatch", "dispatches", more=backlog.more),
                sentence=f"wait for handlers, the oldest for {span(now - backlog.oldest_handler, rough=True)}: "
                "handlers are slower than what comes in, or no worker runs",
                link="/jobs?outcome=waiting",
                name="Show",
            )
        )
    if backlog.oldest_step is not None and now - backlog.oldest_step > _LATE:
        found.append(
            Need(
                colour="warn",
                what="Polls are late",
                sentence=f"by {span(now - backlog.oldest_step, rough=True)}: no worker runs, or a provider's "
                "limits are lower than what is asked of it",
                link="/jobs?state=open",
                name="Show",
            )
        )
    return found


def _row(one: Standing, rejected_since: int | None, now: int) -> Row:
    if rejected_since is not None:
        state, colour = f"rejected since {since(rejected_since, now)}", "warn"
    elif one.overdue:
        state, colour = f"{words.many(one.overdue, 'callback')} overdue", "warn"
    else:
        state, colour = "as expected", "ok"
    ended = max(one.ended, 1)
    return Row(
        standing=one,
        p50=_quantile(one.lags, 50),
        p99=_quantile(one.lags, 99),
        callback_share=round(100 * one.by_callback / ended),
        poll_share=round(100 * one.by_poll / ended),
        state=state,
        colour=colour,
    )


def _quantile(values: Sequence[int], percent: int) -> int | None:
    return values[min(len(values) * percent // 100, len(values) - 1)] if values else None
