"""What a command costs before it does anything, as a multiple of Python's own start."""

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

from .figure import Figure, in_turn

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


def _seconds(command: Sequence[str]) -> float:
    """The best of a few."""
    took = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - began)
    return min(took)
