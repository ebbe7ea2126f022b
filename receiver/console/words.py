"""Words in the place of codes: what a state, a verdict or a code means, and how it is coloured."""

from functools import cache
from typing import Final

from receiver.core.model import Failure
from receiver.docs.codes import Code, groups
from receiver.views import callback
from receiver.views.failure import what

#: How a word is coloured: ok, run (under way), warn, bad or dim.
_COLOURS: Final = {
    "succeeded": "ok",
    "accepted": "ok",
    "made": "ok",
    "stored": "ok",
    "read": "ok",
    "asked": "ok",
    "done": "ok",
    "submitting": "run",
    "submitted": "run",
    "running": "run",
    "fetching": "run",
    "pending": "run",
    "waiting": "run",
    "ready": "run",
    "lined": "run",
    "due": "run",
    "retry_requested": "warn",
    "failed": "bad",
    "rejected": "bad",
    "dead": "bad",
    "lost": "bad",
    "expired": "bad",
    "gone": "bad",
    "refused": "bad",
    "timed_out": "bad",
    "attempts_exhausted": "bad",
    "too_old": "bad",
    "unknown": "warn",
    "unreadable": "warn",
    "unsure": "warn",
    "overdue": "warn",
    "canceled": "dim",
    "duplicate": "dim",
    "discarded": "dim",
    "abandoned": "dim",
}
#: What a code means, for somebody who meets it for the first time.
_MEANINGS: Final = {
    "signature_missing": "the header with the signature is absent",
    "signature_malformed": "the signature is not in the provider's form",
    "signature_mismatch": "the signature was made with none of our keys",
    "signed_value_missing": "a value that the signature covers is absent",
    "timestamp_missing": "the signed timestamp is absent",
    "timestamp_malformed": "the signed timestamp is in another format",
    "timestamp_stale": "genuine, but signed too long ago",
    "timestamp_future": "genuine, but signed in the future",
    "credential_missing": "the header with the credential is absent",
    "credential_mismatch": "the credential in the header is not ours",
    "claim_invalid": "a signed claim is not the one we expect",
    "key_unknown": "it names a key that we do not hold",
    "key_unavailable": "the key to prove it with is not configured",
    "deadline_passed": "no word came before the deadline",
    "never_accepted": "the provider did not take it before the deadline",
    "abandoned": "given up by hand",
    "by_hand": "done by hand",
    "handler_timeout": "the handler did not return in time",
    "not_wanted": "the handler's own filter said no",
    "result_unfit": "the result does not fit what the handler reads it as",
    "result_absent": "the handler reads a result, and the job has none",
    "too_old": "it waited for longer than the handler allows",
    "handler_away": "what the handler needs is out of reach",
    "sink_away": "the other side of the sink is out of reach",
    "sink_gone": "the other side of the sink wants nothing more (410)",
    "sink_failed": "the other side of the sink does not take events now",
    "handler_missing": "no node has had this handler for an hour",
    "retry_requested": "the handler asked for another try",
    "never_connected": "the provider was not reached",
    "no_answer": "the provider gave no whole answer",
    "result_lost": "the one answer that held the result was lost",
    "job_unnamed": "it names no job",
    "job_pruned": "its job was deleted long ago",
    "terminal_already": "the job had ended already",
    "not_submitted_here": "the job was not submitted here",
    "remote_id_conflict": "another job has this id at the provider",
    "answer_for_another_job": "the provider answered for another job",
    "credentials_missing": "our credentials for the provider are not set",
    "fetch_refused": "the address is none that we send requests to",
    "too_late": "it came after the job had ended",
    "provider_reported": "the provider says that it failed",
    "file_refused": "the link is none that is followed",
    "file_too_large": "the file is larger than it may be",
    "too_many_files": "the result links to more files than are fetched",
    "file_gone": "the provider has it no more",
    "file_unreachable": "it could not be fetched while it was kept",
    "file_abandoned": "given up by hand",
    "file_incomplete": "it broke off",
    "file_stalled": "next to nothing came for a minute",
    "file_digest_mismatch": "its bytes are not those that its sender names",
    "file_store_unavailable": "the place for files cannot be used now",
    "files_disk_low": "there is too little room for files",
    "files_unshared": "the place for files is another one here",
    "result_unreachable": "the result could not be fetched while it was kept",
    "result_expired": "the provider deleted the result before it was fetched",
    "job_id_mismatch": "it names another job than its address",
    "status_missing": "it does not say how the job stands",
    "held": "held until its submission has been answered",
    "passes_now": "it passes with the keys now in force",
}
_STATES: Final = {
    "submitting": "being submitted",
    "timed_out": "timed out",
    "retry_requested": "asked for another try",
    "attempts_exhausted": "out of attempts",
}
_ACTIONS: Final = {
    "replay": "replayed",
    "poll": "polled",
    "cancel": "asked to cancel",
    "resubmit": "sent again",
    "abandon": "given up",
    "retry": "tried again",
    "pause": "paused",
    "resume": "resumed",
    "discard": "discarded",
    "reveal": "secrets revealed",
    "verify": "verified again",
    "read": "read again",
    "send": "sent to an address",
    "test": "test callback sent",
    "simulate": "simulated job submitted",
    "link": "told its name",
    "forget": "forgotten",
}


def colour(word: str | None) -> str:
    """The class of a word; ``dim`` for one that nobody knows."""
    return _COLOURS.get(word or "", "dim")


def meaning(code: str | None) -> str:
    """What a code means; the code itself where it is the provider's or a handler's own."""
    if not code:
        return ""
    if code in _MEANINGS:
        return _MEANINGS[code]
    found = _registry().get(code)
    return code if found is None else found.means.rstrip(".")


def failure(error: Failure) -> str:
    """Why something failed, on one line: what its code means, and what else is known."""
    return ": ".join(filter(None, (meaning(error.code), what(error))))


def advice(code: str | None) -> str:
    """What to do next about a code; empty where nobody wrote that down."""
    found = _registry().get(code or "")
    return "" if found is None else found.next


def state(word: str) -> str:
    """A state as people say it."""
    return _STATES.get(word, word.replace("_", " "))


def action(word: str) -> str:
    """What was done by hand, in the past tense."""
    return _ACTIONS.get(word, word)


def many(count: int, one: str, several: str | None = None, *, more: bool = False) -> str:
    """``1 job``, ``41 jobs``; ``10,000+ jobs`` where there are *more* than were counted."""
    return f"{number(count, more=more)} {one if count == 1 and not more else several or one + 's'}"


def number(count: int, *, more: bool = False) -> str:
    """A count with its thousands apart, and a sign where there are *more* than were counted."""
    return f"{count:,}{'+' if more else ''}"


#: How many callbacks came for a job, those that were rejected apart.
heard: Final = callback.heard


@cache
def _registry() -> dict[str, Code]:
    """The codes by name, as ``receiver explain`` tells them."""
    return {code.name: code for group in groups() for code in group.codes}
