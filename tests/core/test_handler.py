"""What a handler wants: its filter on metadata, and the line of a completion, whatever a caller put there."""

from typing import Any

import pytest

from receiver.core.handler import HandlerSpec
from tests.core.making import job

SPEC = HandlerSpec(name="h", ordered_by="metadata.key")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a", "a", True),
        ("1", 1, False),
        (True, 1, False),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ([1, 2], [2, 1], False),
        ("", "a", False),
        ("x" * 300, "x" * 300, True),
        ("x" * 300, "x" * 301, False),
    ],
)
def test_a_line_is_known_by_its_key(one: Any, other: Any, same: bool) -> None:  # noqa: ANN401, FBT001
    """Of whatever kind it is: a text is no number, and the order in which an object was written says nothing."""
    lines = [SPEC.line(job(), {"key": each}) for each in (one, other)]
    assert None not in lines
    assert (lines[0] == lines[1]) is same
    assert all(len(each or "") <= 200 for each in lines)


@pytest.mark.parametrize("metadata", [{}, {"key": None}, {"other": "a"}])
def test_who_has_no_key_stands_in_no_line(metadata: dict[str, Any]) -> None:
    """It goes on beside the others."""
    assert SPEC.line(job(), metadata) is None


@pytest.mark.parametrize(
    ("wanted", "given", "accepted"),
    [
        (3, 3, True),
        (3, 3.0, True),
        (3, "3", False),
        (3, None, False),
        (1, True, False),
        (False, 0, False),
        (None, None, True),
        ([1, "a"], [1, "a"], True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
    ],
)
def test_a_filter_goes_by_the_value_as_json_has_it(wanted: Any, given: Any, accepted: bool) -> None:  # noqa: ANN401, FBT001
    """A number is no text and no truth, and a part of an object is not the object."""
    spec = HandlerSpec(name="h", metadata={"n": wanted})
    assert spec.accepts({"n": given, "more": 1}) is accepted
    assert not spec.accepts({"more": 1})
