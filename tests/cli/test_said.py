"""What commands say besides their data: errors that name what is wrong, and what to do next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import httpx
import pytest
from click.testing import CliRunner

from receiver.cli import main
from receiver.cli.options import read_seconds
from receiver.cli.output import lately
from receiver.client.calls import Answered, problem_of

from .conftest import CHAT

if TYPE_CHECKING:
    from .programs import Program


@pytest.mark.parametrize("save", ["out/", "deep/er/"])
def test_a_result_is_saved_in_a_folder_that_is_made(program: Program, save: str) -> None:
    """What ends in a slash is a folder; the result stands in it under the job's name."""
    done = program.run("submit", "perplexity-webhook", "-", "--wait", "--save", save, "--json", given=CHAT)
    assert done.code == 0, done.err
    job_id = json.loads(done.out)["id"]
    assert (program.folder / save / f"{job_id}.json").is_file()


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_sent(program: Program) -> None:
    """Exit 2: where the result was to be there is a file."""
    (program.folder / "taken").write_text("", encoding="utf-8")
    done = program.run("submit", "perplexity-webhook", "-", "--wait", "--save", "taken/", given=CHAT)
    assert (done.code, done.out) == (2, "")
    assert "the folder taken cannot be made" in done.err


def test_whoever_waited_is_told_where_the_result_is(program: Program) -> None:
    """How large it is, of which type, and the command that writes it."""
    done = program.run("submit", "perplexity-webhook", "-", "--wait", given=CHAT)
    job_id = done.out.split()[1]
    assert "B application/json" in done.out
    assert f"Its result: receiver jobs show {job_id} --result" in done.err
    assert program.run("jobs", "show", job_id, "--result").out.startswith("{")


def test_a_refused_submission_logs_nothing_between(program: Program) -> None:
    """What the command shows by itself is no line of a log as well."""
    done = program.run("submit", "netnut", "-", given='{"engine": "google"}')
    assert (done.code, done.err) == (1, "")
    assert "submission_refused_400" in done.out


@pytest.mark.parametrize("written", ["utf-8-sig", "utf-16"])
def test_a_request_may_be_in_a_file_as_windows_writes_it(program: Program, written: str) -> None:
    """With a byte order mark, or in UTF-16 as PowerShell redirects it."""
    (program.folder / "order.json").write_text(CHAT, encoding=written)
    assert program.json("submit", "perplexity", "order.json")["submission"] == "sent"


def test_what_is_no_json_is_said_with_its_place(program: Program) -> None:
    """The file, the line, the column, and what should stand there."""
    (program.folder / "order.json").write_text('\n{"a": 1,\n "b" 2}', encoding="utf-8")
    done = program.run("submit", "netnut", "order.json")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: order.json is not JSON: line 3, column 6: Expecting ':' delimiter (body_not_json)\n"
    )
    wrong = program.run("submit", "netnut", "-", "--metadata", "{,}", given=CHAT)
    assert wrong.err.startswith("error: --metadata is not JSON: line 1, column 2: ")


@pytest.mark.parametrize(("given", "seconds"), [("90", 90.0), ("1.5", 1.5), ("15m", 900.0), ("1h", 3600.0)])
def test_seconds_are_spans_as_well(given: str, seconds: float) -> None:
    """`--deadline` and `--timeout` take what `--since` takes, and a plain number."""
    context = click.Context(click.Command("submit"))
    assert read_seconds(context, click.Option(["--deadline"]), given) == seconds


def test_what_is_no_span_is_wrong_usage(program: Program) -> None:
    """Exit 2, with examples."""
    done = program.run("submit", "perplexity", "-", "--deadline", "soon", given=CHAT)
    assert done.code == 2
    assert "90s, 15m, 1h" in done.err
    assert program.run("jobs", "wait", "job_1", "--timeout", "-1").code == 2


def test_a_wrong_token_is_called_wrong(program: Program) -> None:
    """And a missing one missing: whoever sent one is not told to send one."""
    url = program.settings["RECEIVER_PUBLIC_URL"]
    wrong = httpx.get(f"{url}/v1/jobs", headers={"authorization": "Bearer other"}, trust_env=False)
    missing = httpx.get(f"{url}/v1/jobs", trust_env=False)
    assert (wrong.status_code, missing.status_code) == (401, 401)
    assert "is not this receiver's API token" in wrong.json()["detail"]
    assert missing.json()["detail"].startswith("Send the API token")


def test_an_address_that_is_no_receivers_is_named(program: Program) -> None:
    """With what may be wrong about it: the path that the receiver is mounted at."""
    elsewhere = f"{program.settings['RECEIVER_PUBLIC_URL']}/elsewhere"
    done = program.run("tail", "--forward-to", "http://127.0.0.1:1/", "--from", elsewhere)
    assert done.code == 1
    assert f"{elsewhere}/v1/readers/" in done.err
    assert "with the path that it is mounted at" in done.err


def test_a_proxys_own_answer_is_no_question_of_a_path() -> None:
    """Only an address that is not there may be a wrong one."""
    said = problem_of(Answered(status=502, address="https://hooks.example.com/v1/jobs"))["detail"]
    assert said == "https://hooks.example.com/v1/jobs answered 502, and not as a receiver does."


def test_a_sender_is_told_where_to_look(program: Program) -> None:
    """A sender hears only that its callback is stored; the command says where to see what became of it."""
    (program.folder / "strange.json").write_text('{"job_id": "a-strangers"}', encoding="utf-8")
    url = f"{program.settings['RECEIVER_PUBLIC_URL']}/webhooks/pulse"
    done = program.run("send", "pulse", "strange.json", "--to", url)
    assert (done.code, done.out) == (0, "200\n")
    assert done.err == "What became of it: receiver callbacks list --provider pulse\n"


def test_what_was_not_held_is_not_resumed(program: Program) -> None:
    """A handler that is neither paused nor open says so."""
    assert program.run("handlers", "resume", "save").out == "neither paused nor open: save\n"
    assert program.run("handlers", "pause", "save").out == "paused save\n"
    assert program.run("handlers", "resume", "save").out == "resumed save\n"


@pytest.mark.parametrize(
    ("milliseconds", "said"), [(0, "a moment"), (471, "a moment"), (19_900, "19 s"), (7_200_000, "2 h")]
)
def test_how_long_something_is_so_is_said_in_whole_seconds(milliseconds: int, said: str) -> None:
    """Whoever reads it reads it seconds later."""
    assert lately(milliseconds) == said


@pytest.mark.parametrize("arguments", [["brew"], ["jobs", "brew"], ["jobs", "list", "--limit", "0"]])
def test_errors_begin_with_one_word(arguments: list[str]) -> None:
    """Wrong usage as well as everything else."""
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("group", ["jobs", "handlers", "dead", "providers", "callbacks", "db", "sinks"])
def test_a_groups_help_is_whole(group: str) -> None:
    """Each command's sentence to its end."""
    assert "..." not in CliRunner().invoke(main, [group, "--help"]).output.partition("Commands:")[2]


def test_an_explanation_has_no_marks_where_it_is_piped() -> None:
    """Backticks are markup, too."""
    assert "`" not in CliRunner().invoke(main, ["explain", "signature_mismatch"]).output
