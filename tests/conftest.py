"""What every folder of tests may ask for."""

import gc
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings
from structlog.typing import Processor

from .certificates import share_trust
from .chaos.report import pytest_terminal_summary
from .memory import MEMORY, OwnFolder, has_room
from .order import pytest_collection_modifyitems
from .postgres import migrated_url, postgres_server, postgres_template, postgres_url

__all__ = [
    "migrated_url",
    "postgres_server",
    "postgres_template",
    "postgres_url",
    "pytest_collection_modifyitems",
    "pytest_terminal_summary",
]

# No test goes by a clock: how long examples take says how busy the machine is.
settings.register_profile("without a clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("without a clock")

# An image may forbid Python to keep what it has compiled. Then every process of the tests, and every program that
# they start, would compile the receiver anew: a third of all the work. What is kept is in folders that git ignores.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Whoever starts the tests in the background may have them ignore Ctrl-C; what they start would ignore it as well.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The databases of the tests are real files, and each commit waits for the disk; in memory that is no time.
OWN = OwnFolder(MEMORY) if "TMPDIR" not in os.environ and has_room() else None
if OWN is not None:
    os.environ["TMPDIR"] = tempfile.tempdir = str(OWN.path)
share_trust()
PLAIN_LOG: list[Processor] = [
    structlog.processors.add_log_level,
    structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while the tests are gathered, nor ever among them.

    What is imported and gathered stays to the end: a million objects, which every full collection would go through.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        # Garbage in rings is looked for after ten thousand new objects, not after seven hundred: a tenth of the work
        # of tests that run a receiver in their own process.
        gc.set_threshold(10_000, 20, 20)
        gc.enable()


def pytest_sessionfinish(exitstatus: int) -> None:
    """Leave what failed tests wrote, until the next run begins, and nothing of a run that passed."""
    if OWN is not None and exitstatus == pytest.ExitCode.OK:
        OWN.delete_at_exit()


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """Leave logging as it was: a command that runs in this process sets it up for itself.

    Until then tracebacks are written as Python does it: structlog's own, of rich, takes long to draw every local.
    """
    structlog.configure(processors=PLAIN_LOG)
    quieted = [logging.getLogger(name) for name in ("httpx", "httpcore", "uvicorn.access", "asyncio")]
    levels = [one.level for one in quieted]
    yield
    structlog.reset_defaults()
    for one, level in zip(quieted, levels, strict=True):
        one.setLevel(level)
