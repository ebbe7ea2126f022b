"""A process that is told to stop before it has started: a clean end, whenever the signal comes."""

import signal
import time

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
