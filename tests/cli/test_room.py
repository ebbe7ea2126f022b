"""Room for connections: a process with few files is not used up by those who ask for what does not exist."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

from .programs import PATIENCE

if TYPE_CHECKING:
    from .programs import Program

_FILES = 96


def answered(port: int) -> bool:
    """Whether a sender that comes now is answered."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as one:
        one.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return one.recv(12) == b"HTTP/1.1 200"
    return False


def until_answered(port: int, patience: float) -> float:
    """Seconds until a sender is."""
    began = time.monotonic()
    while not answered(port):
        assert time.monotonic() - began < patience, "nobody is answered"
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.mark.parametrize("words", [b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", b"", b"POST /callb"])
def test_strangers_do_not_use_up_the_files_of_a_process(alone: Program, words: bytes) -> None:
    """More of them than the process may open, and they stay: the next sender is answered within seconds."""
    port = free_port()
    process = subprocess.Popen(
        ["sh", "-c", f"ulimit -n {_FILES}; exec {sys.executable} -m receiver serve --port {port}"],
        env=alone.environ | {"RECEIVER_RECEIVE_TIMEOUT": "3600"},
        cwd=alone.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_answered(port, PATIENCE)
        with ExitStack() as stack:
            for _ in range(_FILES + 20):
                with suppress(OSError):
                    one = stack.enter_context(socket.create_connection(("127.0.0.1", port), 1))
                    one.sendall(words)
            # Before the fifteen seconds are over that a connection may rest; a head may take an hour.
            assert until_answered(port, 14) < 14
    finally:
        process.terminate()
        process.wait(PATIENCE)
