"""The real program in a terminal, for tests of what people see."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

from .programs import PATIENCE

if TYPE_CHECKING:
    from .programs import Program

WIDTH = 80


def in_a_terminal(program: Program, *arguments: str) -> str:
    """What a command prints in a terminal of 80 columns, without its colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "receiver", *arguments],
        env=program.environ | {"TERM": "xterm"},
        cwd=program.folder,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    pieces = []
    with contextlib.suppress(OSError):  # the other end is closed: it has ended
        while piece := os.read(ours, 65536):
            pieces.append(piece)
    os.close(ours)
    assert process.wait(PATIENCE) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", b"".join(pieces).decode()).replace("\r\n", "\n")
