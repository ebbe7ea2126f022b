"""Ctrl-C before a command has begun."""

import signal
import subprocess
import sys

import pytest

from receiver.interruption import INTERRUPTED
from tests.cli.programs import PATIENCE


@pytest.mark.parametrize("module", ["click.core", "asyncio.events", "structlog"])
def test_a_command_that_is_still_imported_ends_without_a_word(module: str) -> None:
    """Exit code 130, and nothing but what Python tells of its imports on standard error."""
    command = [sys.executable, "-X", "importtime", "-m", "receiver", "jobs", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rstrip().endswith(f" {module}"):
                process.send_signal(signal.SIGINT)
                break
        rest, out = process.stderr.read(), process.stdout.read() if process.stdout else ""
        assert process.wait(PATIENCE) == INTERRUPTED
    assert out == ""
    assert [line for line in rest.splitlines() if not line.startswith("import time:")] == []
