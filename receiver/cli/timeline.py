"""What happened, a line each: an arrow out of the receiver, into it, or to the handlers."""

from collections import Counter
from typing import Final

import click

from receiver.cli import output
from receiver.storage.queries import Record
from receiver.views.callback import CallbackDetail
from receiver.views.timeline import (
    AttemptEntry,
    CallbackEntry,
    DispatchEntry,
    DueEntry,
    Entry,
    SubmissionEntry,
    timeline,
)

OUT, IN, HANDLERS, HERE, LATER = "→", "←", "⇒", "·", "…"
_OUT_STEPS: Final = {"submit", "poll", "fetch", "file", "cancel"}
#: Where the time of day begins and ends in RFC 3339.
_TIME_OF_DAY: Final = slice(11, 23)


def show_record(record: Record) -> None:
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
            ("callbacks", job.callbacks),
            ("result", None if job.held is None else f"{output.size(job.held.size)} {job.held.content_type}"),
            ("pages", _pages(record)),
            ("files", _files(record)),
            ("error", output.failure(job.error)),
            ("metadata", output.compact(job.metadata) if job.metadata else None),
        ]
    )
    click.echo()
    for entry in timeline(record):
        click.echo(line(entry))


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


def line(entry: Entry, *, about: str = "") -> str:
    """One entry as a line; *about* names what it belongs to, where the reader does not know that."""
    arrow, word, rest = _words(entry)
    parts = [entry.at[_TIME_OF_DAY], arrow, about, *rest[:1], output.paint(output.clean(word)), *rest[1:]]
    return " ".join(filter(None, parts))


def _words(entry: Entry) -> tuple[str, str, list[str]]:
    """The arrow, what stands before the outcome, the outcome, and what stands after it."""
    match entry:
        case SubmissionEntry():
            answered = f"answered {entry.answer_status}" if entry.answer_status else ""
            return HERE, "recorded", ["job", answered]
        case CallbackEntry(callback=one):
            return IN, one.verdict.value, ["callback", output.clean(one.code or ""), one.id]
        case DispatchEntry(dispatch=one):
            waits = "running" if one.running else "dead" if one.state == "dead" else "waiting"
            reason = f"{one.error.code}: {one.error.text}" if one.error else ""
            return (
                HANDLERS,
                waits,
                [output.clean(one.handler), f"attempt {one.attempt}", output.clean(reason)],
            )
        case DueEntry():
            failures = f"after {entry.failures} failures" if entry.failures else ""
            day = f"on {entry.at[:10]}"
            return LATER, "running" if entry.running else "due", [entry.step.value, day, failures]
        case AttemptEntry():
            return _attempt(entry)


def _attempt(entry: AttemptEntry) -> tuple[str, str, list[str]]:
    name, arrow = entry.step, OUT if entry.step in _OUT_STEPS else HERE
    if entry.step == "dispatch":
        name, arrow = entry.handler or "", HANDLERS
    if entry.step == "receive":
        detail = entry.detail
        said = f"{detail.get('status', '')} {detail.get('method', '')}".strip()
        sender = f"from {detail['sender']}" if detail.get("sender") else ""
        return IN, entry.outcome, ["callback", output.clean(entry.code or ""), said, output.clean(sender)]
    if entry.step == "state":
        return (
            HERE,
            entry.outcome,
            ["state", output.clean(entry.code or ""), output.clean(str(entry.detail.get("word")))],
        )
    took = output.span(entry.duration_ms) if entry.duration_ms else ""
    number = f"attempt {entry.number}" if entry.number > 1 else ""
    if entry.step == "file":
        name = f"file {entry.detail.get('file', '')}"
    page = str(entry.detail["page"]) if entry.outcome == "page" and "page" in entry.detail else ""
    return arrow, entry.outcome, [output.clean(name), page, output.clean(entry.code or ""), number, took]
