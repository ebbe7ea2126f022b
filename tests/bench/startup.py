"""What a command costs before it does anything, as a multiple of Python's own start."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Final

from .figure import Figure, in_turn
from .load import WrongError

_TIMES: Final = 3


def help_over_pass(*, rounds: int) -> Figure:
    """``receiver --help`` against ``python -c pass``."""
    # What the installed script does, by the interpreter that is also asked for nothing.
    entry = "import sys; from receiver.cli import main; sys.argv = ['receiver', '--help']; main()"
    return Figure(
        name="help/pass",
        target=6,
        at_most=True,
        runs=in_turn(
            lambda: _seconds([sys.executable, "-c", entry]),
            lambda: _seconds([sys.executable, "-c", "pass"]),
            rounds=rounds,
        ),
    )


def serve_over_pass(*, rounds: int) -> Figure:
    """``receiver serve``, until it takes callbacks, against ``python -c pass``."""
    with tempfile.TemporaryDirectory() as folder:
        return Figure(
            name="serve-start/pass",
            # 0.35 s, where Python itself takes 15 ms.
            target=23,
            at_most=True,
            runs=in_turn(
                lambda: _until_listening(folder),
                lambda: _seconds([sys.executable, "-c", "pass"]),
                rounds=rounds,
            ),
        )


def _until_listening(folder: str) -> float:
    """The best of a few."""
    return min(_start(folder) for _ in range(_TIMES))


def _start(folder: str) -> float:
    # Compiled once, as an installed program is, also where the machine that measures compiles nothing.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {
        "PYTHONPYCACHEPREFIX": folder,
        "RECEIVER_SECRET_KEY": "k" * 43,
        "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db",
    }
    entry = "from receiver.cli import main; main(['serve', '--host', '127.0.0.1', '--port', '0'])"
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", entry],
        env=environ,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=folder,
    ) as process:
        assert process.stderr is not None
        listening = any(b"receiver_listening" in line for line in process.stderr)
        took = time.perf_counter() - began
        process.send_signal(signal.SIGTERM)
        process.communicate()
    if not listening:
        raise WrongError("receiver serve did not start")
    return took


def _seconds(command: Sequence[str]) -> float:
    """The best of a few."""
    took = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - began)
    return min(took)
