"""What moves a job on: every state and every kind of due row has its line, no cell is empty, and each test exists."""

import re
from importlib.resources import files

import pytest

from receiver.core.model import JobState, Step
from receiver.storage.tables import tables

from .shown import is_there

_TEXT = (files("receiver.docs") / "states.md").read_text("utf-8")
_ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in _TEXT.splitlines()
    if line.startswith("| ") and not line.startswith(("| state |", "| row |"))
]
_BEFORE, _, _APPENDIX = _TEXT.partition("## Appendix: ")
_SHOWN = sorted(set(re.findall(r"`(tests/[^`]+)`", _TEXT)))


@pytest.mark.parametrize("word", [*(state.value for state in JobState), *(step.value for step in Step)])
def test_every_state_and_every_step_has_its_line(word: str) -> None:
    """The table says of each what moves it on."""
    assert any(row[0].startswith(f"`{word}`") for row in _ROWS)


#: How the lines begin of what waits in tables: by a column that says when.
_WAITING = {
    "due": "`look`",
    "dispatch": "dispatch",
    "download": "download",
    "held": "held callback",
    "pause": "provider, left alone",
    "circuit": "dispatch, behind an open circuit",
    "alarm_notice": "alarm, not told",
}


def test_every_table_in_which_something_waits_has_its_line() -> None:
    """A table whose rows have a time that they wait for is told of, or this test names it first."""
    waiting = {one.name for one in tables() if {"run_at", "until", "trial_at"} & one.types.keys()}
    assert waiting == set(_WAITING)
    for begins in _WAITING.values():
        assert any(row[0].startswith(begins) for row in _ROWS)


def test_no_cell_is_empty() -> None:
    """Every line says what moves it on, and by when; the appendix says of each line what shows it."""
    assert len(_ROWS) >= len(JobState) + len(Step)
    for row in _ROWS:
        assert len(row) == 3
        assert all(row)
    assert "tests/" not in _BEFORE
    shown = re.findall(r"(?m)^- (.+?): `tests/.+`$", _APPENDIX)
    assert shown == [row[0] for row in _ROWS]


@pytest.mark.parametrize("shown", _SHOWN)
def test_each_test_that_the_table_names_exists(shown: str) -> None:
    """The file is there, and a test of that name is in it."""
    assert is_there(shown)
