"""Servers under load: the receiver and its rivals, each a process on the servers' core."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import receiver
from tests.ports import free_port

from .load import WrongError
from .machine import SERVER_CORE, on_core

RIVALS: Final = Path(__file__).parent / "rivals"
#: Where the package lies that this process imported: servers must run the same one.
_SOURCE: Final = str(Path(receiver.__file__).parents[1])
_HANDLERS: Final = "tests.bench.handlers:receiver"
_PATIENCE: Final = 30.0


class Server:
    """One server process, started on entering and ended on leaving; ``{port}`` in *command* is its port."""

    def __init__(
        self, command: Sequence[str], *, folder: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self._command = [one.replace("{port}", str(self.port)) for one in command]
        self._folder = folder
        self._log = folder / "server.log"
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")},
            "PYTHONPATH": _SOURCE,
            **(environ or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._cpu_at_start = 0.0

    def __enter__(self) -> Self:
        # The log goes to a file that is not synced, as under systemd or Docker: the receiver's default is to write one.
        with self._log.open("wb") as output, on_core(SERVER_CORE):
            self._process = subprocess.Popen(
                self._command,
                env=self._environ,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._cpu_at_start = self._cpu_seconds()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(12)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self) -> None:
        """Wait until it listens."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > until:
                    raise WrongError(f"{' '.join(self._command[:4])} did not start:\n{self.log()}") from error
                time.sleep(0.02)
            else:
                return

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def cpu_seconds(self) -> float:
        """The processor time that it has used since it was ready."""
        return self._cpu_seconds() - self._cpu_at_start

    def _cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self, line: str = "VmRSS") -> float:
        """Its resident memory now (``VmRSS``), or the most since ``forget_peak`` (``VmHWM``)."""
        for text in Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines():
            name, _, value = text.partition(":")
            if name == line:
                return int(value.split()[0]) / 1024
        raise WrongError(f"/proc does not say {line}")

    def forget_peak(self) -> None:
        """Let the peak begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="utf-8")


def serving(folder: Path, environ: Mapping[str, str], *, worker: bool = False) -> Server:
    """``receiver serve`` with one handler; without *worker* its dispatches are made, and left to another node."""
    served = [sys.executable, "-m", "receiver", "serve", "--port", "{port}"]
    command = served if worker else [sys.executable, "-m", "tests.bench.idle", "{port}"]
    return Server(command, folder=folder, environ={"RECEIVER_HANDLERS": _HANDLERS} | dict(environ))


def script(name: str, *, folder: Path, interpreter: str = sys.executable, **environ: str) -> Server:
    """A rival that is a Python file."""
    return Server([interpreter, str(RIVALS / name), "{port}"], folder=folder, environ=environ)
