"""Many dead letters by one command: some at a time, in few commits, and told as they are done."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from receiver.cli import dead, main, report
from receiver.core.model import Dispatch, Failure
from receiver.storage import rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .programs import Program

MANY = 250


def letters(count: int) -> list[Dispatch]:
    """Dead letters of as many jobs."""
    return [
        Dispatch(
            job_id=f"job_{number:032}",
            handler="broken",
            state="dead",
            run_at=0,
            created_at=0,
            attempt=8,
            error=Failure(code="ConnectionError", text="the other side is gone"),
        )
        for number in range(count)
    ]


@pytest.fixture
def said(alone: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What SQLite is told, where there are many dead letters."""
    alone.run("db", "migrate")
    with closing(sqlite3.connect(tmp_path / "receiver.db")) as connection, connection:
        places = ", ".join("?" for _ in rows.DISPATCH.split(", "))
        connection.executemany(
            f"INSERT INTO dispatch ({rows.DISPATCH}) VALUES ({places})",  # noqa: S608  (names of ours)
            [rows.dispatch_params(one) for one in letters(MANY)],
        )
    statements: list[str] = []
    connect = sqlite3.connect

    def watched(*args: object, **options: object) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*args, **options)  # type: ignore[call-overload]
        made.set_trace_callback(statements.append)
        return made

    monkeypatch.setattr(sqlite3, "connect", watched)
    for name, value in alone.settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return statements


async def run(*words: str) -> tuple[int, str]:
    """What a command in this process leaves with and prints."""
    done = await asyncio.to_thread(CliRunner().invoke, main, ["dead", *words])
    return done.exit_code, done.stdout


@pytest.mark.parametrize(
    ("word", "does"), [("retry", "UPDATE dispatch"), ("discard", "DELETE FROM dispatch")]
)
async def test_all_of_them_are_done_some_at_a_time(
    said: list[str], tmp_path: Path, word: str, does: str
) -> None:
    """The first are done before others are read, and those of a page share their commits: nothing grows with them."""
    told = f"{word.removesuffix('y')}ied" if word == "retry" else f"{word}ed"
    ids = [f"{one.job_id}:broken" for one in reversed(letters(MANY))]
    code, out = await run(word, "--all", "--json")
    assert (code, json.loads(out)) == (0, {told: ids, "gone": []})
    first = next(place for place, one in enumerate(said) if one.startswith(does))
    read = [place for place, one in enumerate(said) if "FROM dispatch WHERE state = 'dead'" in one]
    assert read[0] < first < read[1]
    assert len(read) == MANY // dead._TOGETHER + 1
    # One for each letter would be 750: that it is to be done, that it is done, and that it was.
    assert said.count("COMMIT") < 100
    with closing(sqlite3.connect(tmp_path / "receiver.db")) as connection:
        assert connection.execute("SELECT outcome, count(*) FROM audit GROUP BY outcome").fetchall() == [
            ("done", MANY)
        ]
        assert connection.execute("SELECT count(*) FROM dispatch WHERE state = 'dead'").fetchall() == [(0,)]


@pytest.mark.parametrize("outcomes", [[], [True], [False], [True, False, False, True] * 50])
def test_a_report_is_one_object_of_two_lists(
    outcomes: Sequence[bool], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was done and gone, also where what was gone does not stay in memory; as text it is a line for each."""
    monkeypatch.setattr(report, "_IN_MEMORY", 100)
    named = [(f'job:"{number}"', done) for number, done in enumerate(outcomes)]
    for as_json in (True, False):
        with report.Report("retried", as_json=as_json) as told:
            for one in named:
                told.tell([one])
        out = capsys.readouterr().out
        if as_json:
            expected = {
                word: [name for name, done in named if done is of]
                for word, of in (("retried", True), ("gone", False))
            }
            assert out == json.dumps(expected, indent=2) + "\n"
        else:
            assert out.splitlines() == [
                f"{'retried' if done else 'gone already'} {name}" for name, done in named
            ]


def fail(told: report.Report, *, after: Sequence[tuple[str, bool]]) -> None:
    """Tell of some, and then something goes wrong."""
    with told:
        if after:
            told.tell(after)
        raise ValueError("away")


def test_a_report_of_nothing_leaves_what_went_wrong_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was begun, the error is all that is said; where something was, the object is whole."""
    with pytest.raises(ValueError, match="away"):
        fail(report.Report("retried", as_json=True), after=[])
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="away"):
        fail(report.Report("retried", as_json=True), after=[("one", True)])
    assert json.loads(capsys.readouterr().out) == {"retried": ["one"], "gone": []}
