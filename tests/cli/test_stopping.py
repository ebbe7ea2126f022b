"""A process that is told to stop before it has started, or in the midst of writing: a clean end, whenever that is."""

import signal
import sqlite3
import time
from contextlib import closing

import pytest

from .programs import PATIENCE, Program


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["worker", "--port", "0"], ["worker"]])
def test_a_start_that_is_told_to_stop_ends_cleanly(alone: Program, command: list[str]) -> None:
    """Exit code 0, or that of the signal while nothing of ours listens yet; never a traceback."""
    for step in range(8):
        with alone.started(*command) as started:
            time.sleep(step * 0.08)
            started.process.send_signal(signal.SIGTERM)
            code = started.process.wait(PATIENCE)
            told = "".join((*started.out, *started.err))
            assert "Traceback" not in told, told
            assert code in {0, -signal.SIGTERM}, (step, code, told)


@pytest.mark.parametrize("target", ["out", "out.ndjson"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_export_that_was_cut_short_is_told_by_its_name(
    alone: Program, target: str, number: signal.Signals
) -> None:
    """Exit code of the signal; what was there before stays, what is not whole ends in .part, the next one is whole."""
    alone.json("db", "migrate")
    assert alone.run("db", "export", target).code == 0

    def whole() -> dict[str, bytes]:
        found = alone.folder / target
        files = [found] if found.is_file() else sorted(found.iterdir())
        return {one.name: one.read_bytes() for one in files if one.suffix != ".part"}

    before = whole()
    with closing(sqlite3.connect(alone.folder / "receiver.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO pruned VALUES (?, 1)", ((n.to_bytes(32, "big"),) for n in range(200_000))
        )
    unfinished = alone.folder / (f"{target}.part" if "." in target else f"{target}/pruned.ndjson.part")
    with alone.started("db", "export", target) as started:
        deadline = time.monotonic() + PATIENCE
        while not (unfinished.exists() and unfinished.stat().st_size > 100_000):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        started.process.send_signal(number)
        assert started.process.wait(PATIENCE) == -number
        assert "Traceback" not in "".join(started.err)
    assert whole() == before
    assert unfinished.exists()
    assert alone.json("db", "export", target)["tables"]["pruned"] == 200_000
    assert not list(alone.folder.rglob("*.part"))
    assert sum(text.count(b"\n") for text in whole().values()) > 200_000
