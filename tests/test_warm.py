"""Processes that are forked from a warm one are as those that begin anew, and none is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .test_postgres_server import exists
from .warm import Process

#: Starts a process, tells its number, and waits to be killed.
KILLED = """
import os, sys, time
from pathlib import Path
from tests.warm import Process

process = Process(["simulate", "--port", "0"], environ=os.environ, folder=Path(sys.argv[1]), files={})
print(process.pid, flush=True)
time.sleep(60)
"""
PATIENCE = 15.0


def test_its_end_is_told_to_whoever_asks(tmp_path: Path) -> None:
    """The exit code, or the signal that ended it, as often as it is asked for; meanwhile it runs."""
    done = Process(["--version"], environ=os.environ, folder=tmp_path, files={})
    wrong = Process(["--wrong"], environ=os.environ, folder=tmp_path, files={})
    assert [done.wait(PATIENCE), done.poll(), wrong.wait(PATIENCE)] == [0, 0, 2]
    stays = Process(["simulate", "--port", "0"], environ=os.environ, folder=tmp_path, files={})
    assert stays.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        stays.wait(0.01)
    stays.kill()
    assert stays.wait(PATIENCE) == -signal.SIGKILL
    stays.kill()


def test_it_ends_when_the_tests_are_killed(tmp_path: Path) -> None:
    """The process goes when the one that asked for it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
    ) as tests:
        assert tests.stdout is not None
        pid = int(tests.stdout.readline())
        assert exists(pid)
        tests.kill()
    until = time.monotonic() + PATIENCE
    while exists(pid):
        assert time.monotonic() < until
        time.sleep(0.02)
