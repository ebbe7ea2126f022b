"""A job's story: everything that happened to it, in the order of time, each thing in a sentence."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from receiver.console import words
from receiver.console.shown import compact, size, span
from receiver.core.description.provider import Provider
from receiver.core.model import Attempt, Dispatch, Due, Job, Step, Value
from receiver.storage.audit import Deed
from receiver.storage.lines import LINED
from receiver.storage.queries import Record
from receiver.storage.queues import Turn
from receiver.views.masking import masked_json, masked_value
from receiver.views.timeline import at_first, attempt_entry, ended_at

OUT, IN, HANDLERS, HERE, LATER = "→", "←", "⇒", "·", "…"
#: What an arrow says to somebody who does not see it.
ARROWS: Final = {OUT: "sent", IN: "arrived", HANDLERS: "handler", HERE: "here", LATER: "to come"}
#: So many duplicates in a row are shown, the others counted.
_SHOWN: Final = 2
#: Deeds that stand in the timeline as what came of them.
_SEEN_OTHERWISE: Final = {"replay", "read"}


class Part(Value, frozen=True, kw_only=True):
    """One thing that happened."""

    at: int
    arrow: str
    title: str
    #: The word that counts, coloured.
    pill: str = ""
    text: str = ""
    #: Where the title leads, below the console.
    link: str = ""
    #: Boxes that open: a name, and a long text.
    boxes: tuple[tuple[str, str], ...] = ()
    open: bool = False
    #: Whether it is still to come.
    later: bool = False


def timeline(record: Record, deeds: Sequence[Deed], provider: Provider | None, *, now: int) -> list[Part]:
    """Everything that happened to a job, then what is still to come."""
    job = record.job
    found = [Part(at=job.created_at, arrow=HERE, title="Recorded, before anything was sent")]
    if record.submission is None:
        found = [
            Part(at=job.created_at, arrow=HERE, title="Recorded: a callback named a job that is not ours")
        ]
    by = {deed.detail.get("replay_id"): deed.who for deed in deeds if deed.detail.get("replay_id")}
    found += _callbacks(record, at_first(record.attempts))
    found += _attempts(record, provider, by)
    found += [_deed(one) for one in deeds if one.action not in _SEEN_OTHERWISE or one.outcome != "done"]
    found.sort(key=lambda part: part.at)
    later = [_dispatch(one, record, now) for one in record.dispatches]
    later += [_due(one, job, now) for one in record.due]
    return found + sorted(later, key=lambda part: part.at)


def handler_of(attempt: Attempt) -> str:
    """Whose run it was; what was decided about a dispatch names its handler among the details."""
    return attempt.handler or str(attempt.detail.get("handler") or "handler")


def _callbacks(record: Record, earlier: Mapping[str, tuple[str, str | None]]) -> Iterator[Part]:
    callbacks, job, duplicates = record.callbacks, record.job, 0
    for one in callbacks:
        if one.verdict == "duplicate":
            duplicates += 1
            if duplicates > _SHOWN:
                continue
        verdict, code = earlier.get(one.id, (one.verdict.value, one.code))
        proved = f"proved with {one.key_id}" if one.key_id and one.id not in earlier else ""
        yield Part(
            at=one.received_at,
            arrow=IN,
            title="Callback",
            pill=verdict,
            text=words.meaning(code) or proved,
            link=f"/callbacks/{one.id}",
        )
    if duplicates > _SHOWN or job.callbacks > len(callbacks):
        more = max(job.callbacks - len(callbacks), 0) + max(duplicates - _SHOWN, 0)
        yield Part(
            at=callbacks[-1].received_at if callbacks else job.created_at,
            arrow=IN,
            title=f"{words.many(more, 'more callback')}",
            text="that changed nothing",
            link=f"/callbacks?job={job.id}",
        )


def _attempts(record: Record, provider: Provider | None, by: dict[str | None, str]) -> Iterator[Part]:
    folded: list[Attempt] = []
    for one in record.attempts:
        if one.step == "poll" and folded and (folded[-1].outcome, folded[-1].code) != (one.outcome, one.code):
            yield _folded(folded)
            folded = []
        if one.step == "poll":
            folded.append(one)
            continue
        if folded:
            yield _folded(folded)
            folded = []
        yield _attempt(one, record, provider, by)
    if folded:
        yield _folded(folded)


def _folded(polls: Sequence[Attempt]) -> Part:
    first, last = polls[0], polls[-1]
    answer = words.meaning(last.code)
    if len(polls) == 1:
        text = f"in {span(last.duration_ms)}" + (f": {answer}" if answer else "")
        text = ", ".join(filter(None, (_page_of(last), text)))
        return Part(at=ended_at(first), arrow=OUT, title="Poll", pill=last.outcome, text=text)
    over = span(last.started_at - first.started_at, rough=True)
    text = f"each time, over {over}" + (f": {answer}" if answer else "")
    return Part(at=ended_at(first), arrow=OUT, title=f"{len(polls)} polls", pill=last.outcome, text=text)


def _attempt(one: Attempt, record: Record, provider: Provider | None, by: dict[str | None, str]) -> Part:
    entry = attempt_entry(one)
    took = f"in {span(one.duration_ms)}" if one.duration_ms else ""
    why = words.meaning(one.code)
    match one.step:
        case "submit":
            text = f"as {record.job.remote_id}" if one.outcome == "accepted" and record.job.remote_id else why
            number = f"attempt {one.number}" if one.number > 1 else ""
            said = ", ".join(filter(None, (text, number, took)))
            boxes = (
                _exchange(record, provider) if one.outcome == "accepted" or one is record.attempts[0] else ()
            )
            return Part(
                at=ended_at(one), arrow=OUT, title="Submission", pill=one.outcome, text=said, boxes=boxes
            )
        case "dispatch":
            number = f"attempt {one.number}" if one.number > 1 or one.outcome != "succeeded" else ""
            error = str(entry.detail.get("error", ""))
            last = error.strip().rpartition("\n")[2]
            replayed = "in a replay" if one.replay_id else ""
            said = ", ".join(filter(None, (number, took, replayed)))
            text = f"{said}: {last}" if last else said
            boxes = (("Traceback", error),) if "\n" in error.strip() else ()
            return Part(
                at=ended_at(one),
                arrow=HANDLERS,
                title=handler_of(one),
                pill=one.outcome,
                text=text,
                boxes=boxes,
            )
        case "replay" if one.outcome == "read":
            return _read_again(one, by.get(entry.replay_id))
        case "replay":
            handlers = one.detail.get("handlers")
            what = f"for {', '.join(map(str, handlers))}" if handlers else ""
            who = by.get(entry.replay_id)
            return Part(
                at=ended_at(one),
                arrow=HERE,
                title=f"Replayed by {who}" if who else "Replayed",
                text=what,
            )
        case "deadline":
            return Part(at=ended_at(one), arrow=HERE, title="Deadline", pill=one.outcome, text=why)
        case "state":
            text = ", ".join(filter(None, (why, str(one.detail.get("word") or ""))))
            return Part(at=ended_at(one), arrow=HERE, title="State", pill=one.outcome, text=text)
        case "receive":
            sender = one.detail.get("sender")
            text = ", ".join(filter(None, (why, f"from {sender}" if sender else "")))
            return Part(at=ended_at(one), arrow=IN, title="Callback", pill=one.outcome, text=text)
        case "files":
            files = int(one.detail.get("files", 0))
            text = f"{words.many(files, 'file')} in the result" if files else "none in the result"
            said = ", ".join(filter(None, (text, why)))
            return Part(at=ended_at(one), arrow=HERE, title="Files", pill=one.outcome, text=said)
        case "file":
            title, stored = f"File {one.detail.get('file', '')}", one.detail.get("bytes")
            resumed = one.detail.get("resumed_at")
            went_on = f"gone on with from {size(int(resumed))}" if resumed else ""
            said = ", ".join(
                filter(None, (why, size(int(stored)) if stored is not None else "", went_on, took))
            )
            return Part(at=ended_at(one), arrow=OUT, title=title, pill=one.outcome, text=said)
    arrow = OUT if one.step in {"fetch", "cancel"} else HERE
    text = ", ".join(filter(None, (_page_of(one), why, took)))
    return Part(at=ended_at(one), arrow=arrow, title=one.step.capitalize(), pill=one.outcome, text=text)


def _read_again(one: Attempt, who: str | None) -> Part:
    """A callback that was judged anew: what it is since then, and what it was before."""
    who = str(one.detail.get("by") or who or "")
    was, code = one.detail.get("was"), words.meaning(one.detail.get("was_code"))
    before = f"it was {words.state(was)}" + (f": {code}" if code else "") if was else ""
    return Part(
        at=one.started_at,
        arrow=HERE,
        title=f"Callback read again by {who}" if who else "Callback read again",
        pill=str(one.detail.get("verdict") or ""),
        text=before,
        link=f"/callbacks/{one.detail['callback']}" if one.detail.get("callback") else "",
    )


def _page_of(one: Attempt) -> str:
    """Which page of a result a look brought, or how many are one document now."""
    number, pages, items = (one.detail.get(name) for name in ("page", "pages", "items"))
    if number is None and pages is None:
        return ""
    which = f"page {number}" if pages is None else words.many(int(pages), "page")
    return f"{which} with {words.many(int(items or 0), 'item')}"


def _exchange(record: Record, provider: Provider | None) -> tuple[tuple[str, str], ...]:
    """What was submitted and what the provider answered, secrets masked."""
    submission = record.submission
    if submission is None:
        return ()
    handed_out = provider.key.path if provider is not None and provider.key is not None else None
    names = {handed_out.rpartition(".")[2]} if handed_out else set[str]()
    boxes = [("What was asked", masked_json(submission.request))]
    if submission.options is not None:
        boxes.append(("Headers and query", masked_json(submission.options)))
    if submission.answer_body is not None:
        status = submission.answer_status
        boxes.append((f"Answer {status}", masked_json(submission.answer_body, names=names) or "(empty)"))
    elif submission.answer_status is not None:
        boxes.append((f"Answer {submission.answer_status}", "(nothing was kept of it)"))
    return tuple(boxes)


def _deed(one: Deed) -> Part:
    detail = {key: value for key, value in one.detail.items() if value is not None and value != ""}
    failed = one.outcome not in {None, "done"}
    return Part(
        at=one.at,
        arrow=HERE,
        title=f"{words.action(one.action).capitalize()} by {one.who}",
        pill="refused" if failed else "",
        text=words.meaning(one.outcome) if failed else ", ".join(_said(detail)),
    )


def _said(detail: dict[str, object]) -> Iterator[str]:
    for name, value in detail.items():
        yield f"{name.replace('_', ' ')}: {compact(masked_value(value))}"


def _dispatch(one: Dispatch, record: Record, now: int) -> Part:
    if one.state == "dead":
        pill, text = (
            "dead",
            f"no attempts left after {one.attempt}; it stays until it is retried or discarded",
        )
        if behind := record.held_up.get(one.id):
            text += f", and holds up {words.number(behind.count, more=behind.more)} behind it"
    elif one.owner is not None:
        pill, text = "running", f"attempt {one.attempt}"
    elif one.state == LINED:
        pill, text = LINED, _behind(record.turns.get(one.id))
    else:
        due = "now" if one.run_at <= now else f"in {span(one.run_at - now, rough=True)}"
        pill, text = "waiting", f"attempt {one.attempt + 1} {due}"
    error = one.error
    return Part(
        at=one.run_at if one.state not in {"dead", LINED} else now,
        arrow=HANDLERS,
        title=one.handler,
        pill=pill,
        text=text,
        link="/dead" if one.state == "dead" else "",
        boxes=(("Last error", error.text),) if error is not None and error.text else (),
        later=True,
    )


def _behind(turn: Turn | None) -> str:
    """What one that is lined up waits for."""
    if turn is None:
        return ""
    after = turn.after
    if after is None:
        return f"in the line of {turn.line}"
    how = "is dead" if after.state == "dead" else "runs" if after.owner is not None else "waits"
    return f"behind {after.job_id}, which {how}, in the line of {turn.line}"


def _due(one: Due, job: Job, now: int) -> Part:
    word = {
        Step.SUBMIT: "Submission",
        Step.CANCEL: "Cancellation",
        Step.LOOK: "Next poll",
        Step.FILES: "Reading which files the result links to",
    }[one.step]
    if one.step is Step.LOOK and one.result_url is not None:
        word = "Fetch of the result"
    elif one.step is Step.LOOK and job.delivery != "none" and not one.attempt and not job.woken_by:
        word = "If no callback comes, polling takes over"
    if one.owner is not None:
        pill, text = "running", "under way"
    else:
        pill, text = "due", "now" if one.run_at <= now else f"in {span(one.run_at - now, rough=True)}"
    if one.failures:
        text += f", after {words.many(one.failures, 'failure')}"
    if one.expires_at is not None:
        text += f"; the provider deletes the result in {span(max(one.expires_at - now, 0), rough=True)}"
    return Part(at=one.run_at, arrow=LATER, title=word, pill=pill, text=text, later=True)
