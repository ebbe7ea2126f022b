"""The registry of codes: complete, true, and readable from the command line."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from receiver.cli import main
from receiver.cli.reach_checks import _NEAR
from receiver.docs.codes import PLACES, Code, explain, groups
from receiver.wire import near

from . import raised

CODES = {code.name: code for group in groups() for code in group.codes}
WHERE = "add a table to a file in receiver/docs/codes/, then run: python -m tests.documentation --write"


def test_the_registry_says_what_the_source_says() -> None:
    """A code that somebody meets in a log, an answer or a timeline can be looked up, and no other is explained.

    And the registry says with which status an error leaves by HTTP, and with which exit code a command ends. It is one
    test, because whoever reads all of the source should do it once.
    """
    missing = sorted(raised.codes() - CODES.keys())
    assert not missing, f"no explanation of {', '.join(missing)}; {WHERE}"
    written = raised.written()
    stale = [name for name in CODES.keys() - raised.codes() if "<" not in name and name not in written]
    assert not stale, f"nothing has the code {', '.join(stale)}; remove it from receiver/docs/codes/"
    wrong = {
        name: [f"status = {status}, exit = {end}" for status, end in sorted(leaves)]
        for name, leaves in raised.leaving().items()
        if name in CODES and (CODES[name].status, CODES[name].exit) not in leaves
    }
    assert not wrong, f"in receiver/docs/codes/ should stand: {wrong}"


def test_the_doctor_knows_what_is_nearly_an_address() -> None:
    """It says in words what was wrong with an address, of every kind that there is, and each can be explained."""
    kinds = set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', (Path(near.__file__)).read_text(encoding="utf-8")))
    assert kinds == _NEAR.keys() <= CODES.keys()


@pytest.mark.parametrize("code", CODES.values(), ids=lambda one: one.name)
def test_an_explanation_is_one(code: Code, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what the code means, why and what next in whole sentences, and its example can be run."""
    for sentence in (code.means, code.why, code.next):
        assert sentence[0].isupper() or sentence[0] == "`"
        assert sentence.endswith(".")
    assert set(code.places) <= set(PLACES)
    monkeypatch.chdir(tmp_path)
    for file in ("request.json", "body.json", "private.pem"):
        (tmp_path / file).touch()
    if code.example.startswith("receiver "):
        assert parses(shlex.split(code.example)[1:]), code.example


def parses(words: list[str]) -> bool:
    """Whether *words* name a command and fit its arguments; nothing is run."""
    command: click.Command = main
    context = click.Context(main, info_name="receiver")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            return False
        command, words = found, words[1:]
    try:
        # Its values are read too, but for --version and --help, which would print and leave.
        with command.make_context("receiver", [word for word in words if word != "--version"]):
            pass
    except click.ClickException as error:
        return isinstance(error, click.exceptions.NoArgsIsHelpError)
    return True


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("signature_mismatch", "signature_mismatch"),
        ("submission_refused_400", "submission_refused_<status>"),
        ("submission_refused_422", "submission_refused_<status>"),
        ("status_503", "status_<status>"),
        ("status_missing", "status_missing"),
        ("ZeroDivisionError", "<Exception>"),
    ],
)
def test_a_family_is_understood(word: str, name: str) -> None:
    """What stands in a timeline finds its entry, also where a part of it varies."""
    assert explain(word).name == name


def test_explain_says_it_in_a_paragraph() -> None:
    """``receiver explain CODE`` prints meaning, cause, next step and example, without markup where it is piped.

    And in lines that a terminal of eighty columns shows whole.
    """
    done = CliRunner().invoke(main, ["explain", "signature_mismatch"])
    code = CODES["signature_mismatch"]
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    plain = (one.replace("`", "") for one in (code.means, code.why, code.next, code.example, "HTTP 401"))
    assert all(one in said for one in plain)
    assert "**" not in done.output
    assert max(map(len, done.output.splitlines())) <= 80


def test_explain_speaks_json() -> None:
    """A program gets the entry as it is."""
    done = CliRunner().invoke(main, ["explain", "status_502", "--json"])
    assert json.loads(done.output)["name"] == "status_<status>"


@pytest.mark.parametrize("arguments", [["explain", "signature_mismach"], ["docs", "handler"]])
def test_what_is_misspelled_is_answered_with_the_nearest(arguments: list[str]) -> None:
    """Exit code 3, and the sentence names what may have been meant."""
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 3
    assert {"explain": "signature_mismatch", "docs": "handlers"}[arguments[0]] in done.stderr


def test_a_code_has_one_home() -> None:
    """No code is explained twice."""
    names = [code.name for group in groups() for code in group.codes]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_it_laid_out(environ: dict[str, str], *, coloured: bool) -> None:
    """People at a terminal see headings and emphasis, not marks; NO_COLOR is honoured."""
    ours, theirs = pty.openpty()
    variables = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "100", **environ}
    command = [sys.executable, "-m", "receiver", "explain", "signature_mismatch"]
    done = subprocess.run(command, stdout=theirs, env=variables, timeout=60, check=True)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "What to do:" in shown
    assert "**" not in shown
    assert (re.search(r"\x1b\[(\d+;)*3\d", shown) is not None) is coloured
