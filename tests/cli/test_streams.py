"""Standard streams that are closed, broken or full: exit codes and words."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

from .programs import PATIENCE

if TYPE_CHECKING:
    from .programs import Program

#: Prints, as a handler may, once it is loaded and whenever it is called.
HOOKS = """
import atexit
from receiver import Receiver

receiver = Receiver()
print("handlers are here", flush=True)
atexit.register(print, "x" * 100_000)
"""


def ended(program: Program, redirected: str, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a command whose streams a shell has set up."""
    command = " ".join([sys.executable, "-m", "receiver", *arguments, redirected])
    done = subprocess.run(
        ["sh", "-c", command],
        env=program.environ,
        cwd=program.folder,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    "arguments", ["keygen", "providers list", "providers list --json", "config show", "docs http"]
)
@pytest.mark.parametrize(("redirected", "reason"), [(">&-", "it is closed"), (">/dev/full", "No space left")])
def test_what_could_not_be_printed_is_said(
    alone: Program, arguments: str, redirected: str, reason: str
) -> None:
    """A key that went nowhere was not made: exit 1, one sentence, and no traceback."""
    code, err = ended(alone, redirected, *arguments.split())
    assert (code, err.count("\n")) == (1, 1), err
    assert err.startswith(f"error: Standard output takes nothing: {reason}")
    assert err.endswith("(output_lost)\n")


def test_other_failures_keep_their_code(alone: Program) -> None:
    """And their sentence."""
    code, err = ended(alone, ">&-", "jobs", "show", "job_1")
    assert (code, err.count("\n")) == (3, 1)
    assert ended(alone, ">&-", "no-such-command")[0] == 2


def test_whoever_has_read_enough_hears_nothing(alone: Program) -> None:
    """As behind ``| head -1``: no words, and no exit code that stands for a crash."""
    code = "sys.stdin.readline()"
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m receiver docs http | {sys.executable} -c 'import sys; {code}'"],
        env=alone.environ,
        cwd=alone.folder,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("command", "how"),
    [
        *(("serve", how) for how in ("closed", "all closed", "broken", "full", "both broken")),
        ("worker", "both broken"),
    ],
)
def test_what_serves_goes_on_and_ends_as_ever(alone: Program, command: str, how: str) -> None:
    """Whoever reads its output may leave, or never have been there: SIGTERM is a clean end."""
    (alone.folder / "loud.py").write_text(HOOKS, encoding="utf-8")
    database = f"sqlite:///{alone.folder}/loud.db"
    program = alone.but(RECEIVER_HANDLERS="loud:receiver", RECEIVER_DATABASE_URL=database)
    port = free_port()
    read, write = os.pipe()
    os.close(read)
    log = alone.folder / "log"
    redirected = {
        "closed": f">&- 2>{log}",
        "all closed": "<&- >&- 2>&-",
        "broken": f">&9 2>{log}",
        "full": f">/dev/full 2>{log}",
        "both broken": ">&9 2>&9",
    }[how]
    process = subprocess.Popen(
        [
            "bash",
            "-c",
            f"exec 9>&{write}; exec {sys.executable} -m receiver {command} --port {port} {redirected}",
        ],
        env=program.environ,
        cwd=alone.folder,
        pass_fds=(write,),
    )
    os.close(write)
    try:
        _wait_until_it_serves(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    if log.exists():
        lines = [json.loads(line)["event"] for line in log.read_text(encoding="utf-8").splitlines()]
        assert lines[-1] == "receiver_stopped"
    assert b"handlers are here" not in (alone.folder / "loud.db").read_bytes()


@pytest.mark.parametrize(
    "does",
    [
        "sys.stdout.close()",
        "sys.stdout = None",
        "sys.stdout.detach()",
        "sys.stdout.buffer.close()",
        "os.close(1)",
        "sys.stderr.close()",
        "sys.stderr.detach()",
        "sys.stderr = None; sys.stdout = open(os.devnull, 'w'); sys.stdout.close()",
        "os.close(2)",
        "os.close(1); os.close(2)",
    ],
)
def test_what_serves_goes_on_whatever_handlers_close(alone: Program, does: str) -> None:
    """Its log goes on, SIGTERM is a clean end, and what is printed is not written into what is opened next."""
    hooks = ["import os, sys", does, "next_ones = [open(name, 'w') for name in ('first', 'second')]"]
    # As another handler may: to the stream that it has taken along.
    hooks += [
        "for out in (sys.stdout, sys.stderr):",
        "    try:",
        "        print('heard', file=out, flush=True)",
    ]
    hooks += ["    except ValueError:", "        pass  # it was taken apart"]
    hooks += ["from receiver import Receiver", "receiver = Receiver()"]
    (alone.folder / "closing.py").write_text("\n".join(hooks), encoding="utf-8")
    database = f"sqlite:///{alone.folder}/closing.db"
    program = alone.but(RECEIVER_HANDLERS="closing:receiver", RECEIVER_DATABASE_URL=database)
    port, log = free_port(), alone.folder / "log"
    with log.open("wb") as err, (alone.folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "receiver", "serve", "--port", str(port)],
            env=program.environ,
            cwd=alone.folder,
            stdout=out,
            stderr=err,
        )
    try:
        _wait_until_it_serves(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text(encoding="utf-8")
    finally:
        process.kill()
        process.wait()
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line != "heard"]
    events = [json.loads(line)["event"] for line in lines]
    assert events[0] == "receiver_started"
    assert events[-1] == "receiver_stopped"
    assert [(alone.folder / name).read_text(encoding="utf-8") for name in ("first", "second")] == ["", ""]


def _wait_until_it_serves(port: int) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            if connection.recv(12) == b"HTTP/1.1 200":
                return
        time.sleep(0.05)
    raise AssertionError("it never served")
