"""How the doctor and those who know names tell what they have found: nothing is buried."""

from __future__ import annotations

import json
import os
import pty
import re
import termios
from typing import TYPE_CHECKING

import httpx
import pytest

from receiver.cli.record_checks import _which

from .programs import SECRETS
from .test_installation import TEA

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program


def test_what_needs_somebody_is_told_last(alone: Program) -> None:
    """What is well comes first, then warnings, then failures, then how many there are; no line lists all providers."""
    done = alone.but(RECEIVER_SECRET_KEY="x", RECEIVER_BOGUS="1", SLACK_SIGNING_SECRET="y").run("doctor")
    *lines, last = done.out.splitlines()
    words = [line.split()[0] for line in lines]
    assert words == sorted(words, key=["ok", "warn", "fail"].index)
    counts = [words.count(one) for one in ("fail", "warn", "ok")]
    assert re.findall(r"\d+", last) == [str(one) for one in counts]
    assert max(map(len, lines)) < 300
    assert re.search(r"credentials: \d+ of \d+ providers are not in use.*'receiver providers list'", done.out)
    assert "has 1 byte, but" in done.out
    assert "Did you mean" not in done.out
    report = alone.json("doctor")
    assert sum(report["numbers"].values()) == len(report["checks"])


def test_lines_fit_a_terminal(alone: Program) -> None:
    """At 80 columns no line is broken by the terminal, and what to do begins a line of its own."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    short = alone.but(RECEIVER_BOGUS="1", RECEIVER_DATABASE_URL="sqlite:///receiver.db")
    process = short._process(("doctor",), {0: theirs, 1: theirs, 2: theirs})
    os.close(theirs)
    found = b""
    try:
        while piece := os.read(ours, 4096):
            found += piece
    except OSError:
        pass  # it has ended
    finally:
        os.close(ours)
    assert process.wait(60) == 0
    lines = re.sub("\x1b\\[[0-9;]*m", "", found.decode()).splitlines()
    assert max(map(len, lines)) <= 80
    assert "      → 'receiver config show' lists all settings." in lines


def test_an_unknown_provider_is_answered_with_the_nearest(program: Program) -> None:
    """Three names at most and where the list is, on the command line as over HTTP."""
    done = program.run("submit", "perplexty", "-", "--json", given="{}")
    headers = {"authorization": f"Bearer {SECRETS['RECEIVER_API_TOKEN']}"}
    url = f"{program.settings['RECEIVER_PUBLIC_URL']}/v1/jobs"
    answer = httpx.post(url, json={"provider": "perplexty", "request": {}}, headers=headers, timeout=60)
    for problem in (done.problem, answer.json()):
        assert problem["code"] == "provider_unknown"
        assert "Nearest: perplexity" in problem["detail"]
        assert "'receiver providers list'" in problem["detail"]
        assert len(problem["detail"]) < 200, json.dumps(problem)


@pytest.mark.parametrize("code", ["trailing_slash", "path_cut", "setting_unknown", "database_copied"])
def test_a_word_that_is_printed_is_explained(alone: Program, code: str) -> None:
    """By the command that the reader is sent to."""
    assert alone.run("explain", code).code == 0


@pytest.mark.parametrize("secret", ["acme-secret-of-sixteen", "env:acme-secret-of-sixteen"])
def test_a_secret_in_the_place_of_a_reference_is_not_repeated(
    alone: Program, tmp_path: Path, secret: str
) -> None:
    """Neither of a description nor of a sink, nor what an option or the name of a file holds by mistake."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "tea.toml").write_text(TEA.replace("env:RECEIVER_TEA_KEY", secret), encoding="utf-8")
    (tmp_path / "sinks.toml").write_text(
        f'[sinks.a]\nto = "https://h/"\nsecret = "{secret}"\n', encoding="utf-8"
    )
    (tmp_path / "body").write_text("{}", encoding="utf-8")
    wrong = {
        ("providers", "check", "own"): alone,
        ("sinks", "check"): alone.but(RECEIVER_SINKS="sinks.toml"),
        ("sinks", "list"): alone.but(RECEIVER_SINK_A=secret),
        ("doctor",): alone.but(RECEIVER_SINK_A=secret),
        ("verify", "pulse", "body", "--key-env", secret): alone,
        ("config", "show"): alone.but(RECEIVER_API_TOKEN="", RECEIVER_API_TOKEN_FILE=secret),
        ("jobs", "list"): alone.but(RECEIVER_DATABASE_URL=secret),
        ("db", "migrate"): alone.but(RECEIVER_EGRESS_PROXY=secret, RECEIVER_PROVIDERS_DIR="own"),
    }
    for command, program in wrong.items():
        done = program.run(*command)
        assert "acme-secret" not in done.out + done.err, command


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (
            "GITHUB_WEBHOOK_SECRET#1-2",
            " (keys 1 to 2 of GITHUB_WEBHOOK_SECRET read as one, with the comma in it)",
        ),
        ("GITHUB_WEBHOOK_SECRET#2", " (key 2 of GITHUB_WEBHOOK_SECRET)"),
        ("published", ""),
    ],
)
def test_the_number_of_a_key_is_explained(key: str, words: str) -> None:
    """Which of the keys in one setting it is, where it says that it proved callbacks."""
    assert _which(key) == words
