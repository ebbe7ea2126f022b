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
    #: ``succeeded``; ``discarded``; ``waiting`` for its next attempt; or ``dead``.
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
    attempts = {
        one["handler"]: one for one in timeline if one["kind"] == "attempt" and one["step"] == "dispatch"
    }
    left = {one["dispatch"]["handler"]: one["dispatch"] for one in timeline if one["kind"] == "dispatch"}
    return [
        _handled(handler, attempts.get(handler), left.get(handler)) for handler in sorted(attempts | left)
    ]


def _handled(handler: str, last: dict[str, Any] | None, left: dict[str, Any] | None) -> Handled:
    """How one fared, by its last attempt and the dispatch that is left, if there are such."""
    if left is not None:
        state = "dead" if left["state"] == "dead" else "waiting"
    else:
        state = "succeeded" if last is not None and last["outcome"] == "succeeded" else "discarded"
    code, text = None, ""
    if left is not None and left["error"] is not None:
        code, text = left["error"].get("code"), left["error"].get("text", "")
    elif last is not None and last["outcome"] != "succeeded":
        code, text = last["code"], last["detail"].get("error", "")
    return Handled(
        handler=handler,
        state=state,
        attempts=0 if last is None else last["number"],
        error=f"{code}: {text}".rstrip(": ") if code else None,
    )
