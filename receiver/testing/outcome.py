"""What came of what a provider did in a test."""

from typing import Any

from receiver.core.model import Job, Value


class Answer(Value, frozen=True, kw_only=True):
    """What the receiver answered to a callback: its HTTP status, and the code that it is recorded with, if any."""

    status: int
    code: str | None = None


class Handled(Value, frozen=True, kw_only=True):
    """How one handler fared with one completion."""

    handler: str
    #: ``succeeded``; ``waiting`` for its next attempt; or ``dead``.
    state: str
    #: How often it was called.
    attempts: int
    #: What the last attempt failed with: the exception's name and words.
    error: str | None = None


class Outcome(Value, frozen=True, kw_only=True):
    """A job once all that was due has been done: with its result, what callbacks were answered, and its handlers."""

    job: Job
    answers: tuple[Answer, ...] = ()
    handled: tuple[Handled, ...] = ()


def handled(timeline: list[dict[str, Any]]) -> list[Handled]:
    """What became of each handler, by the job's own record."""
    found: dict[str, Handled] = {}
    for entry in timeline:
        if entry["kind"] == "attempt" and entry["step"] == "dispatch":
            error = None
            if entry["outcome"] != "succeeded":
                words = entry["detail"].get("error") or entry["detail"].get("text") or ""
                error = f"{entry['code']}: {words}".rstrip(": ")
            state = "succeeded" if entry["outcome"] == "succeeded" else "waiting"
            found[entry["handler"]] = Handled(
                handler=entry["handler"], state=state, attempts=entry["number"], error=error
            )
        elif entry["kind"] == "dispatch":
            one = entry["dispatch"]
            known = found.get(one["handler"])
            attempts = known.attempts if known is not None else 0
            failure = one["error"] or {}
            words = f"{failure.get('code')}: {failure.get('text', '')}".rstrip(": ") if failure else None
            state = "dead" if one["state"] == "dead" else "waiting"
            found[one["handler"]] = Handled(
                handler=one["handler"], state=state, attempts=attempts, error=words
            )
    return sorted(found.values(), key=lambda one: one.handler)
