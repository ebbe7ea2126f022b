"""The processes of the tests: what a run of several says is what a run of one would have said."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUITE = """
import os, signal, warnings
import pytest

@pytest.fixture(scope="session")
def stays(tmp_path_factory):
    yield tmp_path_factory.mktemp("stays")
    assert not "taken down"

def test_passes(tmp_path):
    assert tmp_path.is_dir()

@pytest.mark.skipif(bool(os.environ.get("UNHURT")), reason="is run where others go on")
def test_ends_its_process():
    os.kill(os.getpid(), signal.SIGKILL)

def test_fails():
    print("what it wrote")
    assert 1 == 2

def test_shares(stays):
    assert stays.is_dir()

def test_warns():
    warnings.warn("look here")

@pytest.mark.skip(reason="not today")
def test_skips():
    pass
"""


def run(folder: Path, *options: str, **environ: str) -> str:
    """What pytest says of the suite."""
    (folder / "test_suite.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.parallel", "-p", "no:cacheprovider", "-rA"]
    done = subprocess.run(
        [*command, *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def ended(said: str) -> dict[str, str]:
    """How each test ended, by its name."""
    return {name: word for word, name in re.findall(r"^([A-Z]+) test_suite\.py::(\w+)", said, re.MULTILINE)}


def counts(said: str) -> str:
    """The last line but for the time."""
    return said.splitlines()[-1].partition(" in ")[0]


def test_several_processes_say_what_one_says(tmp_path: Path) -> None:
    """Passed, failed, skipped, warned, written, and what fails when the whole run's own is taken down."""
    one, several = run(tmp_path, "-n", "0", UNHURT="1"), run(tmp_path, "-n", "3", UNHURT="1")
    assert ended(several) == ended(one)
    assert counts(several) == counts(one)
    for line in (
        "what it wrote",
        "E       assert 1 == 2",
        "assert not 'taken down'",
        "UserWarning: look here",
    ):
        assert line in one
        assert line in several


def test_a_process_that_ends_fails_its_test_alone(tmp_path: Path) -> None:
    """Its test is said to have failed, with the signal, and the others are run elsewhere."""
    said = run(tmp_path, "-n", "2")
    assert "test_ends_its_process: the process that ran it ended with -9" in said
    assert "2 failed, 3 passed, 1 skipped" in counts(said)


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_run_ends_at_the_first_failure_if_told_so(processes: str, tmp_path: Path) -> None:
    """What was not begun is not run."""
    assert "1 failed, 1 passed" in counts(run(tmp_path, "-x", "-n", processes, UNHURT="1"))
