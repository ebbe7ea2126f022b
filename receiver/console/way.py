"""A job's way: the places that it passes from submission to handlers, each with what is to be said of it."""

from collections.abc import Iterator
from typing import Final, Literal

from receiver.console import words
from receiver.console.shown import size, span
from receiver.core.description.provider import Provider
from receiver.core.file import FileState
from receiver.core.model import Attempt, Value
from receiver.storage.queries import Record

_LOOKS: Final = {"poll", "fetch"}


class Station(Value, frozen=True, kw_only=True):
    """One of the places that a job passes."""

    name: str
    text: str
    state: Literal["done", "now", "bad", "todo"] = "todo"


def way(record: Record, provider: Provider | None, *, now: int) -> list[Station]:
    """Where a job is on its way from submission to handlers."""
    return [
        _submitted(record),
        _heard(record, provider, now=now),
        _result(record),
        *_filed(record),
        _handled(record),
    ]


def _submitted(record: Record) -> Station:
    job = record.job
    if record.submission is None:
        return Station(name="Submitted", text="not from here", state="done")
    sent = [one for one in record.attempts if one.step == "submit"]
    answered = next((one for one in sent if one.outcome == "accepted"), None)
    if answered is not None:
        text = f"answered in {span(answered.duration_ms)}"
        more = f", attempt {answered.number}" if answered.number > 1 else ""
        return Station(name="Submitted", text=text + more, state="done")
    match job.submission:
        case "sent":
            return Station(name="Submitted", text="accepted by the provider", state="done")
        case "refused":
            return Station(name="Submitted", text="refused by the provider", state="bad")
        case "unknown":
            return Station(name="Submitted", text="no answer came: the outcome is unknown", state="bad")
    tried = f", attempt {len(sent) + 1}" if sent else ""
    return Station(name="Submitted", text=f"being sent{tried}", state="now")


def _heard(record: Record, provider: Provider | None, *, now: int) -> Station:
    job = record.job
    begun = job.submitted_at or job.created_at
    proved = next((one for one in record.callbacks if one.verdict == "accepted"), None)
    polls = sum(one.step in _LOOKS for one in record.attempts)
    rejected = sum(one.verdict == "rejected" for one in record.callbacks)
    none = f"{rejected} rejected" if rejected else "none"
    if job.state.ended and job.settled_by is not None and job.settled_by != "callback":
        said = {
            "poll": (f"{none}: " if job.delivery != "none" or rejected else "")
            + f"settled by poll after {words.many(polls, 'look')}",
            "submit": f"{none if rejected else 'none needed'}: the answer to the submission said it all",
            "deadline": f"{none}, and the deadline passed" if rejected else "none came before the deadline",
            "cancel": f"{none}: canceled",
        }[job.settled_by.value]
        late = job.settled_by == "deadline"
        name = "Callback" if job.delivery != "none" or rejected else "Poll"
        return Station(name=name, text=said, state="bad" if late else "done")
    if proved is not None:
        signed = (
            "signature proved" if provider is not None and provider.signed else "vouched for by its token"
        )
        return Station(
            name="Callback", text=f"after {span(proved.received_at - begun)}, {signed}", state="done"
        )
    if job.state.ended:
        return Station(name="Callback", text=none, state="todo")
    if job.submission == "sending":
        return Station(name="Callback", text="not yet")
    if job.delivery == "none":
        return Station(name="Poll", text=f"asked {words.many(polls, 'time')} so far", state="now")
    if rejected:
        return Station(name="Callback", text=f"{rejected} came, none could be proved genuine", state="bad")
    expected = begun + (provider.callback.expected if provider is not None and provider.callback else 0)
    if now > expected:
        return Station(name="Callback", text="overdue: polling has taken over", state="now")
    return Station(name="Callback", text=f"expected within {span(expected - now, rough=True)}", state="now")


def _result(record: Record) -> Station:
    job = record.job
    if job.held is not None:
        from_callback = "in the callback" if job.held.callback_id else "fetched from the provider"
        pages = f" in {words.many(len(record.pages), 'page')}" if record.pages else ""
        return Station(name="Result", text=from_callback + pages, state="done")
    if job.state == "succeeded":
        return Station(name="Result", text="empty", state="done")
    if job.state.ended:
        return Station(name="Result", text=f"none: {words.state(job.state)}", state="bad")
    if job.state == "fetching":
        pages = f": {words.many(len(record.pages), 'page')} so far" if record.pages else ""
        return Station(name="Result", text=f"being fetched{pages}", state="now")
    return Station(name="Result", text="not yet")


def _filed(record: Record) -> Iterator[Station]:
    """The files that the result links to, where it links to any."""
    if not record.files:
        return
    total = len(record.files)
    stored = [one for one in record.files if one.state is FileState.STORED]
    lost = sum(one.state is FileState.LOST for one in record.files)
    kept = f"{len(stored)} of {total} stored, {size(sum(one.size or 0 for one in stored))}"
    if lost:
        yield Station(name="Files", text=f"{kept}; {lost} lost", state="bad")
    else:
        yield Station(name="Files", text=kept, state="done" if len(stored) == total else "now")


def _handled(record: Record) -> Station:
    job = record.job
    done = {(one.handler, one.replay_id) for one in record.attempts if _finished(one)}
    dead = [one for one in record.dispatches if one.state == "dead"]
    open_ = {(one.handler, one.replay_id) for one in record.dispatches}
    done -= open_
    total = len(done) + len(open_)
    if not total:
        text = "none wants such an end" if job.state.ended else "not yet"
        return Station(name="Handlers", text=text, state="done" if job.state.ended else "todo")
    if dead:
        return Station(
            name="Handlers", text=f"{len(dead)} of {words.many(total, 'run')} is a dead letter", state="bad"
        )
    if open_:
        return Station(name="Handlers", text=f"{len(done)} of {total} done", state="now")
    return Station(name="Handlers", text=f"{len(done)} of {total} done", state="done")


def _finished(attempt: Attempt) -> bool:
    return attempt.step == "dispatch" and attempt.outcome in {"succeeded", "discarded"}
