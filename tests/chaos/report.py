"""What happened in each run, as a table at the end of the tests."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import pytest

KEY: Final = "chaos"
RATIO: Final = "chaos ratio"
_TOLD: Final = pytest.StashKey[bool]()


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one run."""

    damage: str
    database: str
    #: Tries of deliveries that were answered with 2xx, and those that were not.
    acked: int
    refused: int
    #: Callbacks that the jobs count, and how many of them changed nothing.
    stored: int
    duplicates: int
    #: Observations that ended a job.
    completions: int
    runs: int
    dispatched: int
    dead: int
    #: How often the damage was done.
    kills: int
    #: The most seconds from a damage until every node was ready again.
    recovery: float

    def record(self, request: pytest.FixtureRequest) -> None:
        """Hand them over for the table; the tests may run in a process of their own."""
        request.node.user_properties.append((KEY, asdict(self)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, once, however many conftest files name this function."""
    if terminalreporter.config.stash.setdefault(_TOLD, False):
        return
    terminalreporter.config.stash[_TOLD] = True
    reports = [
        one
        for reports in terminalreporter.stats.values()
        for one in reports
        if isinstance(one, pytest.TestReport) and one.when == "call"
    ]
    properties = [pair for one in reports for pair in one.user_properties]
    found = [value for key, value in properties if key == KEY]
    ratios = [value for key, value in properties if key == RATIO]
    if found or ratios:
        terminalreporter.section("what was broken, and what came of it")
    for line in _table(found):
        terminalreporter.write_line(line)
    for ratio in ratios:
        terminalreporter.write_line(str(ratio))


def _table(found: Iterable[Any]) -> list[str]:
    lines = [
        [str(one[name]) for name in _NAMES]
        for one in sorted(found, key=lambda one: (one["damage"], one["database"]))
    ]
    if not lines:
        return []
    widths = [max(map(len, column)) for column in zip(_NAMES, *lines, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if number < 2 else text.rjust(width)
            for number, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in [_NAMES, *lines]
    ]


_NAMES: Final = [one.name for one in fields(Figures)]
