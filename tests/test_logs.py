"""Log lines: whole, all of them, and those of one turn of the event loop at once."""

import asyncio
import io
import json
import logging
import threading

import pytest
import structlog
from structlog.testing import capture_logs

from receiver import logs
from receiver.logs import Lines


class Stream(io.StringIO):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        """Note it."""
        self.writes.append(text)
        return super().write(text)


async def test_the_lines_of_one_turn_are_written_at_once() -> None:
    """In their order, and no later than the turn's end."""
    lines = Lines(stream := Stream())
    for _ in range(2):
        for text in ("a", "b", "c"):
            lines.msg(text)
        await asyncio.sleep(0)
    assert stream.writes == ["a\nb\nc\n"] * 2


def test_without_an_event_loop_a_line_is_written_at_once() -> None:
    """A thread that writes to the database, or a command, has no turns."""
    lines = Lines(stream := Stream())
    lines.msg("a")
    assert stream.writes == ["a\n"]


def test_a_loop_that_ended_keeps_no_line() -> None:
    """What was logged in its last turn is written with the next line, from wherever it comes."""
    lines = Lines(stream := Stream())

    async def end() -> None:
        lines.msg("last")
        asyncio.get_running_loop().stop()

    loop = asyncio.new_event_loop()
    task = loop.create_task(end())
    loop.run_forever()
    loop.close()
    assert task.done()
    asyncio.run(_logged(lines, "first"))
    assert stream.getvalue() == "last\nfirst\n"


async def _logged(lines: Lines, text: str) -> None:
    lines.msg(text)
    await asyncio.sleep(0)


async def test_lines_of_several_threads_are_all_there() -> None:
    """None is lost, none is torn."""
    lines = Lines(stream := Stream())

    def write(number: int) -> None:
        for place in range(500):
            lines.msg(f"{number} {place}")

    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for one in threads:
        one.start()
    while any(one.is_alive() for one in threads):
        lines.msg("loop 0")
        await asyncio.sleep(0)
    written = [line for line in stream.getvalue().splitlines() if not line.startswith("loop")]
    assert sorted(written) == sorted(f"{number} {place}" for number in range(4) for place in range(500))


def test_a_line_says_what_happened(logging_restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The event, what was bound, its facts, how much it matters and when; an exception without values."""
    logs.configure("info")
    log = structlog.get_logger().bind(node="a")
    log.debug("unheard")
    log.info("counted_%d", 1, node="b", odd=object)
    try:
        int("x")
    except ValueError:
        log.exception("failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first.pop("timestamp") < second.pop("timestamp")
    assert first == {"event": "counted_1", "level": "info", "node": "b", "odd": "<class 'object'>"}
    (failure,) = second.pop("exception")
    assert second == {"event": "failed", "level": "error", "node": "a"}
    assert failure["exc_type"] == "ValueError"
    assert "locals" not in failure["frames"][0]


def test_lines_can_be_captured(logging_restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever tests a handler of their own sees with structlog's own means what was logged."""
    logs.configure("info")
    with capture_logs() as captured:
        structlog.get_logger().info("seen", number=1)
    assert captured == [{"event": "seen", "number": 1, "log_level": "info"}]
    assert capsys.readouterr().err == ""


def test_facts_may_be_called_as_they_like(logging_restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    """A handler's own line has its own words: none of ours stands in their way."""
    logs.configure()
    structlog.get_logger().info("told", method="POST", name="mine")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["method"], line["name"], line["level"]) == ("told", "POST", "mine", "info")


def test_another_librarys_logger_may_be_wrapped(
    logging_restored: None, caplog: pytest.LogCaptureFixture
) -> None:
    """What a handler's code wraps for itself is handed the line by the level's name."""
    logs.configure()
    structlog.wrap_logger(logging.getLogger("theirs")).warning("careful", number=1)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert json.loads(record.getMessage())["number"] == 1
