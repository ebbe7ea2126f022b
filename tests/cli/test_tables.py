"""Lists in a terminal of 80 columns: whole, readable, and with words for what is not there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from receiver.cli.table import in_columns, in_terminal
from receiver.core.model import Failure
from receiver.views.failure import failure_line

from .terminal import WIDTH, in_a_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .programs import Program

JOB, CALLBACK = "job_01a22d8a4f497001a374c5bd773aebcc", "cb_01a22d8a5cb17001a43bc937f3f403b5"
REPLAY = "rpl_01a22d8a5cb17001a43bc937f3f403b5"
SAID = "RuntimeError: the connection to ledger.internal.example.com:5432 was refused, and so it ended here"
WHEN = "2026-11-30 17:39:28Z"
#: The tables of the commands, each with a row of what is long in it.
TABLES: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "jobs list": (
        ("id", "provider", "state", "settled by", "admitted", "created", "error"),
        (JOB, "azure-document-intelligence", "succeeded", "callback", "1", WHEN, "submission_refused_400"),
    ),
    "callbacks list": (
        ("id", "provider", "verdict", "code", "job", "received"),
        (CALLBACK, "azure-document-intelligence", "unreadable", "answer_for_another_job", JOB, WHEN),
    ),
    "callbacks reverify": (
        ("id", "verdict", "job", "state of the job"),
        (CALLBACK, "accepted", JOB, "succeeded"),
    ),
    "dead list": (
        ("id", "handler", "attempts", "holds up", "since", "error"),
        (f"{JOB}:send_invoice:{REPLAY}", "send_invoice", "12", "100+", WHEN, SAID),
    ),
    "handlers list": (
        ("name", "provider", "state", "seen", "waiting", "dead", "circuit"),
        (
            "send_invoice",
            "perplexity-webhook",
            "succeeded",
            "19.9 s ago",
            "100+",
            "100+",
            f"open for 3 h: {SAID}",
        ),
    ),
    "replay": (
        ("id", "state", "handlers", "code"),
        (JOB, "succeeded", "save_report, send_invoice, publish_images", "job_not_ended"),
    ),
    "jobs files": (
        ("number", "state", "size", "type", "name", "code"),
        ("1000", "pending", "999.9 MiB", "application/vnd.openxmlformats", "報告書 final.docx", "file_gone"),
    ),
    "sinks list": (
        ("name", "sends to", "provider", "state", "configured in"),
        (
            "warehouse",
            "https://warehouse.example.com/hooks/{provider}/{state}",
            "any",
            "any",
            "/etc/receiver/sinks.toml",
        ),
    ),
    "config show": (
        ("name", "value", "from"),
        (
            "RECEIVER_DATABASE_URL",
            "postgresql://receiver:***@db-1.internal.example.com:5432/receiver",
            "environment",
        ),
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_whole_in_80_columns(name: str) -> None:
    """Every cell stands there, unbroken where it has no spaces, every heading too, and no line is too long."""
    columns, row = TABLES[name]
    lines = in_terminal(columns, [row], width=WIDTH)
    said = "\n".join(lines)
    for cell in row:
        for word in cell.split():
            assert re.search(rf"(^|\s){re.escape(word)}($|\s)", said), f"{word}\n{said}"
    for column in columns:
        assert column in said.lower()
    # One name that is longer than the line has nothing beside it; the terminal may break it, and copies it whole.
    assert [one for one in lines if len(one) > WIDTH and len(one.split()) > 1] == []


@pytest.mark.parametrize("name", TABLES)
def test_what_is_no_terminal_gets_a_line_a_row(name: str) -> None:
    """As a program reads it: columns, and nothing cut off."""
    columns, row = TABLES[name]
    head, line = in_columns(columns, [row])
    assert head.split("  ")[0] == columns[0].upper()
    assert all(cell in line for cell in row)


def test_a_wide_terminal_has_a_line_a_row() -> None:
    """Where there is room, ids stand in front."""
    columns, row = TABLES["jobs list"]
    lines = in_terminal(columns, [row], width=200)
    assert len(lines) == 2
    assert lines[1].startswith(JOB)


def test_prose_is_wrapped_between_words_in_its_own_column() -> None:
    """What comes last, and is long, goes on below its own beginning."""
    lines = in_terminal(("topic", "is about"), [("architecture", "states, rooms, and what holds")], width=44)
    assert lines == [
        "TOPIC         IS ABOUT",
        "architecture  states, rooms, and what holds",
    ]
    narrow = in_terminal(
        ("topic", "is about"), [("architecture", "states, rooms, and what holds then")], width=44
    )
    assert narrow[1:] == ["architecture  states, rooms, and what holds", "              then"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            Failure(code="RuntimeError", text="Traceback …\n  File …\nRuntimeError: ledger is down\n"),
            "RuntimeError: ledger is down",
        ),
        (Failure(code="Down", text="Traceback …\nhooks.errors.Down: since noon\n"), "Down: since noon"),
        (Failure(code="KeyError", text="KeyError"), "KeyError"),
        (Failure(code="lease_lost"), "lease_lost"),
        (Failure(code="gone", text="RuntimeError: not ours"), "gone: RuntimeError: not ours"),
    ],
)
def test_an_exception_is_named_once(error: Failure, said: str) -> None:
    """Its class is the code, and begins the last line of its traceback as well."""
    assert failure_line(error) == said


@pytest.mark.usefixtures("forged")
def test_lists_are_read_in_a_terminal(program: Program, dead_letter: str, succeeded: str) -> None:
    """Ids are whole and below their rows, no column is missing, and no line is broken."""
    jobs = in_a_terminal(program, "jobs", "list", "--provider", "perplexity-webhook")
    assert re.search(rf"^perplexity-webhook +succeeded +callback +1 .*\n +{succeeded}$", jobs, re.MULTILINE)
    callbacks = in_a_terminal(program, "callbacks", "list", "--provider", "pulse")
    assert re.search(r"^PROVIDER +VERDICT +CODE +RECEIVED\n +ID +JOB$", callbacks, re.MULTILINE)
    assert re.search(
        r"^pulse +rejected +\w+ +2\d{3}-\d\d-\d\d \d\d:\d\d:\d\dZ\n +cb_\w{32}$", callbacks, re.MULTILINE
    )
    of_job = in_a_terminal(program, "callbacks", "list", "--job", succeeded)
    assert re.search(rf"^ +cb_\w{{32}} +{succeeded}$", of_job, re.MULTILINE)
    dead = in_a_terminal(program, "dead", "list")
    assert re.search(rf"^ +{dead_letter}:broken$", dead, re.MULTILINE)
    assert "RuntimeError: RuntimeError" not in dead
    lines = [line for said in (jobs, callbacks, dead) for line in said.splitlines()]
    # A dispatch of a replay has an id that is longer than a line. It stands by itself, and is left whole to be copied.
    assert max(len(line) for line in lines if len(line.split()) > 1) <= WIDTH


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("jobs", "list"), "No job fits."),
        (("callbacks", "list"), "No callback fits."),
        (("dead", "list"), "There are no dead letters."),
        (("dead", "list", "--handler", "brew"), "No dead letter fits."),
        (("jobs", "list", "--provider", "brew"), "No provider is called 'brew'"),
        (("callbacks", "list", "--provider", "brew"), "No provider is called 'brew'"),
        (("completions", "--provider", "brew"), "No provider is called 'brew'"),
        (("handlers", "list"), "No handler is registered"),
        (("sinks", "list"), "No sink is configured."),
    ],
)
def test_an_empty_list_says_so(
    alone: Program, made: Callable[[Program], None], arguments: tuple[str, ...], said: str
) -> None:
    """On standard error and with exit code 0, and no headings stand over nothing."""
    made(alone)
    done = alone.run(*arguments)
    assert (done.code, done.out) == (0, "")
    assert said in done.err


@pytest.fixture
def made() -> Callable[[Program], None]:
    """Make the database of a program."""

    def made(program: Program) -> None:
        assert program.run("db", "init").code == 0

    return made
