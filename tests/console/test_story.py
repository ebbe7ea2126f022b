"""A job's story in the console: what happened, in its order, and then how things stand."""

from msgspec.structs import replace

from receiver.console import words
from receiver.console.story import Part, timeline
from receiver.core.model import Attempt, Callback, Dispatch, Failure, Verdict
from receiver.storage.queries import Record
from receiver.storage.queues import HeldUp, Turn
from receiver.views.failure import what
from tests.core.making import NOW, job

JOB = job()
RECORD = Record(job=JOB, submission=None, callbacks=[], attempts=[], dispatches=[], due=[])


def told(record: Record) -> list[Part]:
    """The story, without that the job was recorded."""
    return timeline(record, [], None, now=NOW + 99)[1:]


def waiting(
    handler: str = "ledger", *, job_id: str = JOB.id, state: str = "ready", attempt: int = 0
) -> Dispatch:
    """A dispatch that is not finished."""
    return Dispatch(job_id=job_id, handler=handler, state=state, attempt=attempt, run_at=NOW, created_at=NOW)


def test_what_took_a_time_stands_where_it_ended() -> None:
    """What came while a handler ran stands before its end."""
    ran = Attempt(
        id="att_1",
        job_id=JOB.id,
        step="dispatch",
        handler="ledger",
        started_at=NOW,
        duration_ms=9,
        outcome="failed",
    )
    callback = Callback(id="cb_1", provider="p", route="callbacks", received_at=NOW + 5)
    record = replace(RECORD, callbacks=[callback], attempts=[ran])
    assert [(one.at, one.title) for one in told(record)] == [(NOW + 5, "Callback"), (NOW + 9, "ledger")]


def test_a_callback_that_was_admitted_later_was_rejected_first() -> None:
    """Both are told, and who had it read again."""
    callback = Callback(
        id="cb_1", provider="p", route="callbacks", received_at=NOW, verdict=Verdict.ACCEPTED, key_id="k#1"
    )
    detail = {"callback": "cb_1", "verdict": "accepted", "by": "eve", "was": "rejected"}
    again = Attempt(
        id="att_1",
        job_id=JOB.id,
        step="replay",
        started_at=NOW + 9,
        outcome="read",
        code="rpl_1",
        detail=detail | {"was_code": "signature_mismatch"},
    )
    first, second = told(replace(RECORD, callbacks=[callback], attempts=[again]))
    meaning = words.meaning("signature_mismatch")
    assert (first.pill, first.text) == ("rejected", meaning)
    assert (second.title, second.pill) == ("Callback read again by eve", "accepted")
    assert second.text == f"it was rejected: {meaning}"


def test_a_line_says_who_waits_for_whom() -> None:
    """One that is lined up says behind which job and of which line; a dead one how many it holds up."""
    lined, dead = waiting(state="lined"), waiting("other", state="dead", attempt=2)
    record = replace(
        RECORD,
        dispatches=[lined, dead],
        turns={lined.id: Turn(line='"ACME"', after=waiting(job_id="job_0", state="dead"))},
        held_up={dead.id: HeldUp(count=100, more=True)},
    )
    said = {one.title: one.text for one in told(record)}
    assert said["ledger"] == 'behind job_0, which is dead, in the line of "ACME"'
    assert said["other"].endswith("and holds up 100+ behind it")


def test_an_exception_is_named_once() -> None:
    """In the lists of handlers and of dead letters, whose code is the name of its class."""
    error = Failure(code="RuntimeError", text="Traceback …\nRuntimeError: ledger is down\n")
    assert words.failure(error) == "RuntimeError: ledger is down"
    assert what(error) == "ledger is down"
