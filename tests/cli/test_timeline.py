"""The timeline in a terminal: what happened, in its order, and then how things stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from receiver.cli.timeline import as_it_was, line, standings
from receiver.core.model import Attempt, Callback, Dispatch, Due, Failure, Step, Verdict
from receiver.storage.queries import Record
from receiver.storage.queues import HeldUp, Turn
from receiver.views.timeline import at_first, attempt_entry, history, timeline
from tests.core.making import NOW, job

from .terminal import WIDTH, in_a_terminal

if TYPE_CHECKING:
    from .programs import Program


def test_a_refused_callback_is_a_line_of_what_came() -> None:
    """An arrow inwards, why, how it was asked, and from where; what a sender wrote is no terminal's order."""
    detail = {"status": 413, "method": "POST", "sender": "203.0.113.9\x1b[31m"}
    one = Attempt(
        id="att_1",
        job_id="job_1",
        step="receive",
        started_at=NOW,
        outcome="refused",
        code="body_too_large",
        detail=detail,
    )
    said = line(attempt_entry(one))
    assert said.split(" ", 1)[1] == "← callback refused body_too_large 413 POST from 203.0.113.9\\x1b[31m"


def test_a_page_of_a_result_is_a_line_of_its_own() -> None:
    """Which page it was stands beside the step that got it."""
    detail = {"page": 2, "items": 100, "size": 7}
    one = Attempt(id="att_1", job_id="job_1", step="fetch", started_at=NOW, outcome="page", detail=detail)
    assert line(attempt_entry(one)).split(" ", 1)[1] == "→ fetch page 2"


JOB = job()
LINED_UP = (
    "⇒ ledger lined up behind job_0:ledger (dead: receiver dead retry or discard lets the line go on), "
    'in the line of "ACME"'
)
RECORD = Record(job=JOB, submission=None, callbacks=[], attempts=[], dispatches=[], due=[])


def attempt(step: str, *, at: int = 0, took: int = 0, **more: object) -> Attempt:
    """Something that was tried."""
    given = {"id": "att_1", "job_id": JOB.id, "outcome": "succeeded"} | more
    return Attempt(step=step, started_at=NOW + at, duration_ms=took, **given)  # type: ignore[arg-type]


def waiting(**more: object) -> Dispatch:
    """A dispatch that is not finished."""
    given = {"job_id": JOB.id, "handler": "ledger", "run_at": NOW, "created_at": NOW} | more
    return Dispatch(**given)  # type: ignore[arg-type]


def said(record: Record, *, now: int = NOW) -> list[str]:
    """How things stand, without their arrows."""
    return [one.split("now ", 1)[1] for one in standings(record, now=now)]


def test_what_took_a_time_stands_where_it_ended() -> None:
    """A callback that came while the submission was under way stands before its end."""
    callback = Callback(id="cb_1", provider="p", route="callbacks", received_at=NOW + 5)
    record = replace(
        RECORD,
        callbacks=[callback],
        attempts=[attempt("submit", took=9), attempt("fetch", at=6, took=1)],
    )
    lines = [line(one) for one in history(record)]
    assert [one.split()[2] for one in lines] == ["callback", "fetch", "submit"]
    assert lines[-1].endswith("in 9 ms")
    ends = [one.split()[0] for one in lines]
    assert ends == sorted(ends)


def test_how_things_stand_comes_last() -> None:
    """A dispatch was made before its attempts, and is what it is after them; so is what is due."""
    record = replace(
        RECORD,
        attempts=[attempt("dispatch", at=1, handler="ledger", outcome="failed")],
        dispatches=[waiting(attempt=1, run_at=NOW + 9_000)],
        due=[Due(job_id=JOB.id, step=Step.LOOK, provider="p", run_at=NOW, attempt=2)],
    )
    assert [getattr(one, "step", "dispatch") for one in timeline(record)] == ["dispatch", "look", "dispatch"]
    look, ledger = said(record)
    assert look == "… look due now"
    assert ledger.startswith("⇒ ledger waiting attempt 2 in 9")


@pytest.mark.parametrize(
    ("dispatch", "words"),
    [
        (waiting(owner="node", attempt=1), "⇒ ledger running attempt 1"),
        (
            waiting(state="dead", attempt=2, error=Failure(code="Down", text="hooks.Down: since noon")),
            "⇒ ledger dead after attempt 2, holds up 100+ behind it, Down: since noon",
        ),
        (
            waiting(state="lined"),
            LINED_UP,
        ),
    ],
)
def test_a_dispatch_says_what_it_waits_for(dispatch: Dispatch, words: str) -> None:
    """Its next attempt, its own end, or another of its line; a dead one says whom it holds up, and why it died once."""
    record = replace(
        RECORD,
        dispatches=[dispatch],
        turns={dispatch.id: Turn(line='"ACME"', after=waiting(job_id="job_0", state="dead"))},
        held_up={dispatch.id: HeldUp(count=100, more=True)},
    )
    assert said(record) == [words]


def test_a_callback_that_was_admitted_later_was_rejected_first() -> None:
    """Both are told: the rejection when it came, and who had it read again."""
    callback = Callback(
        id="cb_1", provider="p", route="callbacks", received_at=NOW, verdict=Verdict.ACCEPTED, key_id="k#1"
    )
    detail = {"callback": "cb_1", "verdict": "accepted", "by": "eve", "was": "rejected"}
    again = attempt(
        "replay", at=9, outcome="read", code="rpl_1", detail=detail | {"was_code": "signature_mismatch"}
    )
    record = replace(RECORD, callbacks=[callback], attempts=[again])
    lines = [line(as_it_was(one, at_first(record.attempts))).split(" ", 1)[1] for one in history(record)]
    assert lines == [
        "← callback rejected signature_mismatch cb_1",
        "· callback read again by eve: accepted was rejected (signature_mismatch) cb_1",
    ]


def test_a_question_for_the_status_is_no_fetch() -> None:
    """Nor is the download that follows it a second attempt."""
    asked = attempt("fetch", detail={"asked": "status"}, number=1)
    fetched = attempt("fetch", number=2)
    assert [line(attempt_entry(one)).split(" ", 1)[1] for one in (asked, fetched)] == [
        "→ status succeeded",
        "→ fetch succeeded look 2",
    ]


def test_a_rejection_stays_in_the_story(program: Program) -> None:
    """After `callbacks reverify` the job says that the callback was rejected, and that it was admitted, and by whom."""
    job_id = program.json("submit", "pulse", "-", given='{"file_url": "https://example.com/invoice.pdf"}')[
        "id"
    ]
    remote = program.json("jobs", "show", job_id)["remote_id"]
    other = program.but(PULSE_WEBHOOK_SECRET="whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
    url = f"{program.settings['RECEIVER_PUBLIC_URL']}/webhooks/pulse"
    (program.folder / "called.json").write_text(
        f'{{"job_id": "{remote}", "status": "processing"}}', encoding="utf-8"
    )
    sent = other.run("send", "pulse", "called.json", "--to", url)
    assert sent.code == 1, sent.err
    done = other.json("callbacks", "reverify", "--provider", "pulse")
    (admitted,) = [one for one in done["admitted"] if one["job_id"] == job_id]
    shown = program.run("jobs", "show", job_id).out
    assert f"← callback rejected signature_mismatch {admitted['id']}" in shown
    assert "· callback read again by " in shown
    assert f"was rejected (signature_mismatch) {admitted['id']}" in shown


@pytest.mark.parametrize("command", ["jobs show", "providers show"])
def test_long_lines_go_on_between_words(program: Program, dead_letter: str, command: str) -> None:
    """In a terminal; where the output is read by a program each entry is one line."""
    name = dead_letter if command == "jobs show" else "netnut"
    shown = in_a_terminal(program, *command.split(), name)
    piped = program.run(*command.split(), name).out
    assert [one for one in shown.splitlines() if len(one) > WIDTH and len(one.split()) > 2] == []
    assert shown.split()[:20] == piped.split()[:20]
    assert len(shown.splitlines()) >= len(piped.splitlines())
