"""``receiver sinks``: what is configured, whether it is right, and what the other side answers to an example."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import termios
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program


@pytest.fixture
def program(alone: Program, tmp_path: Path) -> Program:
    """The program with a file of sinks."""
    file = tmp_path / "sinks.toml"
    file.write_text(
        f'[sinks.lines]\nto = "file://{tmp_path}/jobs.jsonl"\n'
        '[sinks.says]\nto = "command:/bin/cat"\n'
        f'[sinks.away]\nto = "redis://u:{{env:PW}}@127.0.0.1:{free_port()}/0?stream=jobs"\ntimeout = 2\n',
        encoding="utf-8",
    )
    return alone.but(RECEIVER_SINKS=str(file), PW="canary")


def test_an_example_arrives_marked_and_the_answer_is_printed(program: Program, tmp_path: Path) -> None:
    """It says which sink took it, and what that one answered."""
    ran = program.run("sinks", "test", "lines")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("lines: synced at byte 0\n")
    event = json.loads((tmp_path / "jobs.jsonl").read_text())
    assert (event["receivertest"], event["source"]) == ("true", "/providers/test")


def on_terminal(program: Program, *arguments: str) -> str:
    """What a terminal of 80 columns is sent."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = program._process(arguments, {0: theirs, 1: theirs, 2: theirs})
    os.close(theirs)
    found = b""
    with contextlib.suppress(OSError):  # it has ended
        while piece := os.read(ours, 4096):
            found += piece
    os.close(ours)
    assert process.wait(30) == 0, found
    return found.decode()


def test_it_can_be_read_on_a_terminal_of_80_columns(program: Program) -> None:
    """What is coloured is coloured rather than written out, and no line of a table is wrapped by the terminal."""
    assert "\x1b[32mok\x1b[0m lines: synced" in on_terminal(program, "sinks", "test", "lines")
    listed = re.sub("\x1b\\[[0-9;]*m", "", on_terminal(program, "sinks", "list"))
    # A path that is longer than a line is left whole.
    assert max(len(line) for line in listed.splitlines() if len(line.split()) > 1) <= 80


def test_a_long_answer_is_cut_and_json_has_it_whole(program: Program) -> None:
    """A program that says much takes three lines of a terminal."""
    ran = program.run("sinks", "test", "says")
    assert len(ran.out) < 320
    whole = program.json("sinks", "test", "says")["answer"]
    assert f"… (--json has all {len(whole)} characters)" in ran.out


def test_an_other_side_that_is_away_is_told_with_its_code(program: Program) -> None:
    """And a sink that nobody configured with those that there are; a password is told nowhere."""
    away = program.run("sinks", "test", "away")
    assert (away.code, away.out) == (1, "")
    assert "sink_away" in away.err
    unknown = program.run("sinks", "test", "nowhere")
    assert unknown.code == 3
    assert "there are: away, lines, says" in unknown.err
    listed = program.run("sinks", "list")
    assert "canary" not in away.err + listed.out
    assert program.run("sinks", "check").code == 0


def test_a_provider_that_there_is_not_is_told_as_serve_would(alone: Program, tmp_path: Path) -> None:
    """A word that is written wrong would have its sink wait for ever for completions that nobody has."""
    file = tmp_path / "odd.toml"
    file.write_text('[sinks.odd]\nto = "stdout:"\nprovider = "perplexty"\n', encoding="utf-8")
    checked = alone.but(RECEIVER_SINKS=str(file)).run("sinks", "check")
    assert checked.code != 0
    assert "sinks.odd, line 3: provider: no provider is called 'perplexty'" in checked.err.replace("\n", " ")


def test_what_a_client_writes_into_its_log_is_no_answer(alone: Program) -> None:
    """The one sentence about the other side stands alone."""
    away = alone.but(RECEIVER_SINK_A=f"kafka://127.0.0.1:{free_port()}/jobs").run("sinks", "test", "a")
    assert away.code == 1
    assert away.err.startswith("error: The servers are out of reach: nobody listens there")
