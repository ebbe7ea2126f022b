"""What an exception came from, where that is too much to be written."""

import io
import json
import sys
import traceback
from dataclasses import dataclass
from itertools import islice

import pytest
import structlog

from receiver import logs
from receiver.core import causes
from receiver.steps.dispatch import _trace

MANY = 20_000


@dataclass(frozen=True)
class FrozenError(Exception):
    """One whose attributes cannot be set, as a handler's may be."""

    number: int


def fail(number: int, kind: type[Exception], cause: Exception | None) -> None:
    """Raise one more."""
    raise kind(number) from cause


def chain(count: int, kind: type[Exception] = ValueError) -> Exception:
    """One exception of so many, each the cause of the next."""
    last: Exception | None = None
    for number in range(count):
        try:
            fail(number, kind, last)
        except kind as error:
            last = error
    assert last is not None
    return last


def length(raised: BaseException | None) -> int:
    """How many it is the last of."""
    found = 0
    while raised is not None:
        found, raised = found + 1, raised.__cause__
    return found


@pytest.mark.parametrize("kind", [ValueError, FrozenError])
def test_of_very_many_causes_the_nearest_are_written(kind: type[Exception]) -> None:
    """A sentence says that others are left out, and the exception is whole again afterwards."""
    raised = chain(MANY, kind)
    written = _trace(raised)
    assert written.startswith(causes.LEFT_OUT)
    assert written.count("Traceback (most recent call last)") == causes.MOST
    assert str(MANY - 1) in written.splitlines()[-1]
    assert (length(raised), raised.__suppress_context__) == (MANY, True)


@pytest.mark.parametrize("count", [1, 2, causes.MOST])
def test_of_few_causes_all_are_written(count: int) -> None:
    """As Python writes them, without a word more."""
    raised = chain(count)
    assert _trace(raised) == "".join(traceback.format_exception(raised))


def test_contexts_count_and_a_ring_ends() -> None:
    """What was being handled hangs together with what was raised then, and an exception may come from itself."""
    first, last = ValueError("first"), ValueError("last")
    first.__context__, last.__context__ = last, first
    assert _trace(first) == "".join(traceback.format_exception(first))
    last.__context__ = chain(MANY)
    assert _trace(first).startswith(causes.LEFT_OUT)


@pytest.mark.parametrize("count", [causes.MOST - 1, causes.MOST])
def test_a_group_of_many_is_named_and_not_written(count: int) -> None:
    """Its members cannot be parted from it."""
    group = ExceptionGroup("all of them", [ValueError(number) for number in range(count)])
    written = _trace(group)
    assert written.startswith(causes.LEFT_OUT) is (count == causes.MOST)
    assert "ExceptionGroup: all of them" in written
    assert len(group.exceptions) == count


@pytest.mark.parametrize("raised", [chain(MANY), ExceptionGroup("all", [ValueError(n) for n in range(MANY)])])
@pytest.mark.parametrize("terminal", [False, True])
def test_no_line_of_the_log_grows_with_the_causes(raised: Exception, *, terminal: bool) -> None:
    """As JSON and for people: so many of them, or none of a group, and the sentence."""
    written = io.StringIO()
    written.isatty = lambda: terminal  # type: ignore[method-assign]
    before = structlog.get_config()
    logs.configure("info", written)
    try:
        structlog.get_logger().error("work_failed", exc_info=raised)
        try:
            raise raised
        except type(raised):
            structlog.get_logger().exception("work_failed")
        structlog.get_logger().error("work_failed", exc_info=None)
    finally:
        structlog.configure(**before)
    text = written.getvalue()
    assert text.count(causes.LEFT_OUT) == 2
    assert len(text) < 200 * 2 * causes.MOST * 2
    if not terminal:
        *lines, last = map(json.loads, text.splitlines())
        for line in islice(lines, 2):
            assert (
                line["exception"] == "ExceptionGroup: all (20000 sub-exceptions)"
                or len(line["exception"]) == causes.MOST
            )
        assert "exception" not in last
    assert sys.exc_info() == (None, None, None)
