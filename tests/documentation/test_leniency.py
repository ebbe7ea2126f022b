"""What is read leniently: each line says what it gives to an attacker, and names tests that exist."""

import re
from importlib.resources import files

import pytest

from .shown import is_there

_ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (files("receiver.docs") / "verification.md").read_text("utf-8").splitlines()
    if "`tests/" in line
]
_SHOWN = sorted({shown for row in _ROWS for shown in re.findall(r"`(tests/[^`]+)`", row[-1])})


def test_every_line_says_what_it_gives() -> None:
    """Nothing, or nothing but what is named; and by which test that is seen."""
    assert len(_ROWS) >= 20
    for row in _ROWS:
        assert len(row) == 3
        assert row[1].startswith("nothing")
        assert "::" in row[2]


@pytest.mark.parametrize("shown", _SHOWN)
def test_each_test_that_a_line_names_exists(shown: str) -> None:
    """The file is there, and a test of that name is in it."""
    assert is_there(shown)
