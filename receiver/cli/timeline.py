"""What happened, a line each: an arrow out of the receiver, into it, or to the handlers."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import click
from msgspec import structs

from receiver.cli import output
from receiver.core.model import Dispatch, Due, Verdict
from receiver.storage.lines import LINED
from receiver.storage.queries import Record
from receiver.storage.queues import Turn
from receiver.views.callback import CallbackDetail
from receiver.views.document import milliseconds, timestamp
from receiver.views.timeline import (
    AttemptEntry,
    CallbackEntry,
    Past,
    SubmissionEntry,
    at_first,
    history,
)

OUT, IN, HANDLERS, HERE, LATER = "→", "←", "⇒", "·", "…"
_OUT_STEPS: Final = {"submit", "poll", "fetch", "file", "cancel"}
#: Where the time of day begins and ends in RFC 3339.
_TIME_OF_DAY: Final = slice(11, 23)
#: Stands in the place of a time before what is so now.
_NOW: Final = "now".rjust(12)
#: What follows the time and the arrow.
_INDENT: Final = 15
_LOOKS: Final = {"poll", "fetch"}
#: An arrow, a name, the word that counts, and what else there is to say.
Standing: TypeAlias = tuple[str, str, str, list[str]]


def show_record(record: Record, *, now: int) -> None:
    """Print a job and its timeline."""
    job = record.job
    output.show_fields(
        [
            ("id", job.id),
            ("provider", job.provider + (f" ({job.operation})" if job.operation else "")),
            ("state", job.state.value),
            ("settled by", job.settled_by.value if job.settled_by and job.state.ended else None),
            ("remote id", job.remote_id),
            ("submission", job.submission),
            ("created", output.moment(job.created_at)),
            ("deadline", None if job.state.ended else output.moment(job.deadline_at)),
            ("ended", output.moment(job.ended_at)),
            ("cancel asked", output.moment(job.cancel_requested_at)),
            ("callbacks", _callbacks(record)),
            ("result", output.held(job.held)),
            ("pages", _pages(record)),
            ("files", _files(record)),
            ("error", output.failure(job.error)),
            ("metadata", output.compact(job.metadata) if job.metadata else None),
        ]
    )
    click.echo()
    earlier = at_first(record.attempts)
    for entry in history(record):
        click.echo(output.folded(line(as_it_was(entry, earlier)), indent=_INDENT))
    for standing in standings(record, now=now):
        click.echo(output.folded(standing, indent=_INDENT))


def _callbacks(record: Record) -> str:
    """How many came, by what became of them; of those that changed nothing most are only counted."""
    counts = Counter(one.verdict.value for one in record.callbacks)
    only_counted = record.job.callbacks - counts.total() + counts["rejected"]
    counts["duplicate"] += max(only_counted, 0)
    accepted = counts.pop("accepted", 0)
    return ", ".join(
        [
            f"{accepted} accepted",
            *(f"{count} {verdict}" for verdict, count in sorted(counts.items()) if count),
        ]
    )


def _files(record: Record) -> str | None:
    counts = Counter(one.state.value for one in record.files)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or None


def _pages(record: Record) -> str | None:
    """How many pages of a result are here, where it comes in several."""
    if not record.pages:
        return None
    more = "" if record.pages[-1].next_url is None else " so far"
    items = sum(one.items for one in record.pages)
    return f"{len(record.pages)}{more}, {items} {'item' if items == 1 else 'items'}"


def show_callback(detail: CallbackDetail) -> None:
    """Print what arrived, all but the body; what could be a secret is masked."""
    output.show_fields(
        [
            ("id", detail.id),
            ("provider", detail.provider),
            ("route", detail.route),
            ("job", detail.job_id),
            ("remote id", detail.remote_id),
            ("received", detail.received_at),
            ("from", detail.sender),
            ("verdict", detail.verdict.value),
            ("code", detail.code),
            ("because", detail.diagnosis and f"{detail.diagnosis.sentence} ({detail.diagnosis.code})"),
            ("key", detail.key_id),
            ("delivery", detail.delivery_id),
            ("body", f"{output.size(detail.size)}, SHA-256 {detail.sha256}"),
        ]
    )
    click.echo()
    query = f"?{detail.query}" if detail.query else ""
    click.echo(output.clean(f"{detail.method} /{detail.route}/{detail.provider}{query}"))
    for name, value in detail.headers:
        click.echo(output.clean(f"{name}: {value}"))


def line(entry: Past, *, about: str = "") -> str:
    """One entry as a line; *about* names what it belongs to, where the reader does not know that."""
    arrow, word, rest = _words(entry)
    at = entry.at
    if isinstance(entry, AttemptEntry) and entry.duration_ms:
        at = timestamp(milliseconds(at) + entry.duration_ms)
    parts = [at[_TIME_OF_DAY], arrow, about, *rest[:1], output.paint(output.clean(word)), *rest[1:]]
    return " ".join(filter(None, parts))


def as_it_was(entry: Past, earlier: Mapping[str, tuple[str, str | None]]) -> Past:
    """A callback with the verdict that it got when it arrived, whatever it is since it was read again."""
    if isinstance(entry, CallbackEntry) and entry.callback.id in earlier:
        verdict, code = earlier[entry.callback.id]
        return structs.replace(
            entry, callback=structs.replace(entry.callback, verdict=Verdict(verdict), code=code)
        )
    return entry


def _words(entry: Past) -> tuple[str, str, list[str]]:
    """The arrow, what stands before the outcome, the outcome, and what stands after it."""
    match entry:
        case SubmissionEntry():
            answered = f"answered {entry.answer_status}" if entry.answer_status else ""
            return HERE, "recorded", ["job", answered]
        case CallbackEntry(callback=one):
            return IN, one.verdict.value, ["callback", output.clean(one.code or ""), one.id]
        case AttemptEntry():
            return _attempt(entry)


def _attempt(entry: AttemptEntry) -> tuple[str, str, list[str]]:
    name, arrow = entry.step, OUT if entry.step in _OUT_STEPS else HERE
    code, detail = output.clean(entry.code or ""), entry.detail
    match entry.step:
        case "dispatch":
            name, arrow = entry.handler or "", HANDLERS
        case "receive":
            said = f"{detail.get('status', '')} {detail.get('method', '')}".strip()
            sender = f"from {detail['sender']}" if detail.get("sender") else ""
            return IN, entry.outcome, ["callback", code, said, output.clean(sender)]
        case "state":
            return HERE, entry.outcome, ["state", code, output.clean(str(detail.get("word")))]
        case "replay" if entry.outcome == "read":
            return _read_again(detail)
        case "file":
            name = f"file {detail.get('file', '')}"
        case "fetch" if detail.get("asked") == "status":
            name = "status"
    took = f"in {output.span(entry.duration_ms)}" if entry.duration_ms else ""
    # Looks are counted, whatever came of them; everything else is attempted again after it failed.
    counted = "look" if entry.step in _LOOKS else "attempt"
    number = f"{counted} {entry.number}" if entry.number > 1 else ""
    page = str(detail["page"]) if entry.outcome == "page" and "page" in detail else ""
    return arrow, entry.outcome, [output.clean(name), page, code, number, took]


def _read_again(detail: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    who = f"callback read again by {detail['by']}:" if detail.get("by") else "callback read again:"
    was = f"was {detail['was']}" if detail.get("was") else ""
    code = f"({detail['was_code']})" if detail.get("was_code") else ""
    rest = [who, was, code, str(detail.get("callback", ""))]
    return HERE, str(detail.get("verdict", "read")), [output.clean(one) for one in rest]


def standings(record: Record, *, now: int) -> list[str]:
    """How things stand: dispatches that are not finished, and what is due."""
    found = [(one.run_at, _dispatch(one, record, now=now)) for one in record.dispatches]
    found += [(one.run_at, _due(one, now=now)) for one in record.due]
    return [
        " ".join(
            filter(None, [_NOW, arrow, output.clean(name), output.paint(word), *map(output.clean, rest)])
        )
        for _, (arrow, name, word, rest) in sorted(found, key=lambda pair: pair[0])
    ]


def _dispatch(one: Dispatch, record: Record, *, now: int) -> Standing:
    why = output.failure(one.error)
    if one.state == "dead":
        behind = record.held_up.get(one.id)
        holds = f"holds up {output.number(behind.count, more=behind.more)} behind it," if behind else ""
        return HANDLERS, one.handler, "dead", [f"after attempt {one.attempt},", holds, why]
    if one.owner is not None:
        return HANDLERS, one.handler, "running", [f"attempt {one.attempt}", why]
    if one.state == LINED:
        return HANDLERS, one.handler, "lined up", [_behind(record.turns.get(one.id)), why]
    return HANDLERS, one.handler, "waiting", [f"attempt {one.attempt + 1}", _when(one.run_at, now), why]


def _behind(turn: Turn | None) -> str:
    if turn is None:
        return ""
    of_line = f"in the line of {turn.line}"
    if turn.after is None:
        return of_line
    after = turn.after
    match after.state:
        case "dead":
            how = "dead: receiver dead retry or discard lets the line go on"
        case "ready":
            how = "running" if after.owner is not None else f"waits for attempt {after.attempt + 1}"
        case _:
            how = "lined up as well"
    return f"behind {after.id} ({how}), {of_line}"


def _due(one: Due, *, now: int) -> Standing:
    failures = (
        f"after {one.failures} {'failure' if one.failures == 1 else 'failures'}" if one.failures else ""
    )
    if one.owner is not None:
        return LATER, one.step.value, "running", [failures]
    return LATER, one.step.value, "due", [_when(one.run_at, now), failures]


def _when(at: int, now: int) -> str:
    return "now" if at <= now else f"in {output.span(at - now)}, {output.moment(at)}"
