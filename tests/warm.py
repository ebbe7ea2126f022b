"""The program as a process, forked from one that has it imported already: the same, but at once.

The warm process begins with the first that is asked for and ends with the tests, however they end, and with it all
that it has forked. Each request is a message of JSON with file descriptors: where to answer, and the files of the new
process. The answers are two messages: the pid, and in the end the exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ROOT = Path(__file__).parents[1]
#: The longest request in bytes; an environment is a few thousand.
_LONGEST = 1 << 17
#: Modules that few commands import, each with a large package.
_SELDOM = (
    "receiver.__main__",
    "receiver.client.",
    "receiver.sinks.",
    "receiver.telemetry.",
    "receiver.testing.",
)
#: What is imported late, by these names, by packages that are imported early.
_LATE = (
    "_strptime",
    "anyio._backends._asyncio",
    "encodings.idna",
    "uvicorn.lifespan.off",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.h11_impl",
    "uvloop",
)


class Process:
    """``python -m receiver`` as a process; used like one of ``subprocess``.

    *files* says which descriptor is to be its 0, 1 or 2; else there is nothing to be read, and nobody who reads.
    """

    def __init__(
        self, arguments: Sequence[str], *, environ: Mapping[str, str], folder: Path, files: Mapping[int, int]
    ) -> None:
        self.arguments = list(arguments)
        self.returncode: int | None = None
        self._answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {
            "arguments": self.arguments,
            "environ": dict(environ),
            "folder": str(folder),
            "places": list(files),
        }
        with theirs:
            socket.send_fds(_warm(), [json.dumps(request).encode()], [theirs.fileno(), *files.values()])
        self.pid = int(self._answers.recv(32))

    def poll(self) -> int | None:
        """What it has exited with, if it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return what it has exited with.

        Raises:
            subprocess.TimeoutExpired: it has not, after *timeout* seconds.
        """
        if self.returncode is None:
            if not select.select([self._answers], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.arguments, timeout or 0)
            # It stays there for whoever else is waiting, in another thread.
            self.returncode = int(self._answers.recv(32, socket.MSG_PEEK))
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tell it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a chance to do anything."""
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        self._answers.close()


@cache
def _warm() -> socket.socket:
    """Where requests go: a warm process of these tests' own."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


class _Forked:
    """The processes that are not over, by a descriptor that tells when one is."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[int, socket.socket]] = {}

    def wait(self, requests: socket.socket) -> None:
        """Wait for a request, and meanwhile tell how processes ended."""
        while True:
            ready, _, _ = select.select([requests.fileno(), *self._running], [], [])
            for one in ready:
                if one in self._running:
                    self._tell(one)
            if requests.fileno() in ready:
                return

    def add(self, pid: int, answers: socket.socket) -> None:
        """Mind a new one."""
        self._running[os.pidfd_open(pid)] = pid, answers
        _answer(answers, pid)

    def _tell(self, descriptor: int) -> None:
        pid, answers = self._running.pop(descriptor)
        os.close(descriptor)
        _answer(answers, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        answers.close()

    def kill(self) -> None:
        """End all."""
        for pid, _ in self._running.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def forget(self) -> None:
        """Leave them to the process that this one was forked from."""
        for descriptor, (_, answers) in self._running.items():
            os.close(descriptor)
            answers.close()


def _answer(answers: socket.socket, number: int) -> None:
    # Whoever asked may have gone.
    with contextlib.suppress(OSError):
        answers.send(b"%d" % number)


def _load() -> None:
    """Import what commands import where they use it, and read what each would read at its start."""
    import receiver  # noqa: PLC0415  (the tests import this module too)

    ours = [module.name for module in pkgutil.walk_packages(receiver.__path__, "receiver.")]
    for name in [*(one for one in ours if not one.startswith(_SELDOM)), *_LATE]:
        importlib.import_module(name)
    from receiver.catalog import _packaged  # noqa: PLC0415
    from receiver.outbound.pool import _trust  # noqa: PLC0415

    _packaged()
    _trust(ssl.get_default_verify_paths())


def _serve(requests: socket.socket) -> None:
    """Fork what is asked for, until nobody can ask any more."""
    _load()
    # What is shared with the forked stays shared.
    gc.collect()
    gc.freeze()
    # Ctrl-C is for the tests; their end is this process's end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    forked = _Forked()
    while True:
        forked.wait(requests)
        text, descriptors, _, _ = socket.recv_fds(requests, _LONGEST, 4)
        if not text:
            forked.kill()
            return
        answers, files = socket.socket(fileno=descriptors[0]), descriptors[1:]
        pid = os.fork()
        if pid == 0:
            forked.forget()
            answers.close()
            requests.close()
            _become(descriptors=files, **json.loads(text))
        for one in files:
            os.close(one)
        forked.add(pid, answers)


def _become(
    *,
    arguments: list[str],
    environ: dict[str, str],
    folder: str,
    places: list[int],
    descriptors: Sequence[int],
) -> None:
    """Be the program, to its end."""
    from receiver.cli import main  # noqa: PLC0415

    code = 1
    try:
        for place, descriptor in zip(places, descriptors, strict=True):
            os.dup2(descriptor, place)
            os.close(descriptor)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(folder)
        sys.path[:1] = [folder, *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
        sys.argv = ["receiver", *arguments]
        main(prog_name="receiver")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  (as the interpreter does at its end)
        sys.excepthook(*sys.exc_info())
    finally:
        # What the interpreter does at its end, but for taking all the modules apart, which takes it long.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
