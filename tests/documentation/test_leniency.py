"""What is read leniently: each line says what it gives to an attacker, and names tests that exist."""

import re
from importlib.resources import files

import pytest

from .shown import is_there

_LINE = re.compile(r"- (.+?): (nothing.*)\. Shown by (`tests/.+`)\.")
_TEXT = (files("receiver.docs") / "verification.md").read_text("utf-8")
_LINES = [line for line in _TEXT.splitlines() if "`tests/" in line]
_SHOWN = sorted(set(re.findall(r"`(tests/[^`]+)`", _TEXT)))


def test_every_line_says_what_it_gives() -> None:
    """Nothing, or nothing but what is named; and by which test that is seen."""
    assert len(_LINES) >= 20
    for line in _LINES:
        found = _LINE.fullmatch(line)
        assert found is not None, line
        assert "::" in found[3]


def test_tests_are_named_at_the_end_only() -> None:
    """Who reads why a callback was rejected is not told of files that an installed package does not have."""
    before, _, appendix = _TEXT.partition("## Appendix: ")
    assert "tests/" not in before
    assert "an installed package does not have them" in appendix


@pytest.mark.parametrize("shown", _SHOWN)
def test_each_test_that_a_line_names_exists(shown: str) -> None:
    """The file is there, and a test of that name is in it."""
    assert is_there(shown)
