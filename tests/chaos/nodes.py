"""Nodes: ``receiver serve`` processes that can be killed, frozen, started again and listened to."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.path.world import API_TOKEN, MASTER_KEY, until
from tests.ports import free_port
from tests.warm import Process

from .databases import Database, rows
from .provider import SECRET, Provider, describe
from .wire import Heard, ask

#: Seconds.
LEASE: Final = 2
_ROOT: Final = Path(__file__).parents[2]
#: However busy the machine is.
_PATIENCE: Final = 60.0
#: Lines of its log that are shown of a node that is not ready, and seconds for it to show what it is at.
_LINES: Final = 200
_SHOWING: Final = 2.0


class Node:
    """One node, through all the processes that it has been."""

    def __init__(self, folder: Path, environ: Mapping[str, str], number: int) -> None:
        self.port = free_port()
        self.number = number
        self.runs = folder / f"runs-{number}"
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")},
            **environ,
            "CHAOS_RUNS": str(self.runs),
            "RECEIVER_PORT": str(self.port),
        }
        self._folder = folder
        self._process: Process | subprocess.Popen[bytes] | None = None
        #: It ends with whoever holds this.
        self._held = -1
        #: What it has logged, in all its lives.
        self.log: list[dict[str, Any]] = []

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    @property
    def name(self) -> str:
        """What it calls itself in the database, in its latest life."""
        return str(next(line["node"] for line in reversed(self.log) if line["event"] == "receiver_started"))

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log about *event*."""
        return [line for line in self.log if line.get("event") == event]

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.launch()
        await self.ready()

    def launch(self) -> None:
        """Start it."""
        self.kill()
        (held, self._held), (log, output) = os.pipe(), os.pipe()
        try:
            self._process = self._begun(held, output)
        finally:
            os.close(held)
            os.close(output)
            threading.Thread(target=self._listen, args=(log,), daemon=True).start()

    async def ready(self) -> None:
        """Wait until it says that it is ready; if it does not, fail with what it says and what it is at."""
        last: list[Heard] = []

        async def ready() -> bool:
            assert self.running, self.log[-5:]
            last[:] = [await self.ask("GET", "/readyz", patience=5)]
            return last[0].status == 200

        try:
            await until(ready, patience=_PATIENCE)
        except AssertionError as error:
            raise AssertionError(
                f"Node {self.number}: {error}; last heard {last}.\n{await self.at()}"
            ) from error

    async def at(self) -> str:
        """What it is at: the end of its log, the stacks of its threads and what its tasks wait for."""
        seen = len(self.log)
        if self.running:
            os.kill(self.pid, signal.SIGUSR2)
            # The stacks come through its log; nothing says when they are all there.
            await asyncio.sleep(_SHOWING)
        before, shown = self.log[:seen][-_LINES:], self.log[seen:]
        stacks = [str(line["event"]) if line.keys() == {"event"} else json.dumps(line) for line in shown]
        return "\n".join([*map(json.dumps, before), "--- asked with SIGUSR2:", *stacks])

    async def ask(self, method: str, path: str, *, body: object = None, patience: float = 30.0) -> Heard:
        """Ask its API."""
        headers = {"authorization": f"Bearer {API_TOKEN}", "content-type": "application/json"}
        sent = b"" if body is None else json.dumps(body).encode()
        return await ask(self.port, method, path, headers=headers, body=sent, patience=patience)

    def kill(self) -> None:
        """End it without a chance to do anything."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        os.close(self._held)

    async def terminate(self) -> tuple[int, float]:
        """Tell it to stop; what it exits with, and after how many seconds."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self._process.wait, _PATIENCE)
        return status, time.monotonic() - began

    def freeze(self) -> None:
        """Let nothing in it run."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def memory(self) -> int:
        """Its resident memory in bytes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="utf-8").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def _begun(self, held: int, output: int) -> "Process | subprocess.Popen[bytes]":
        if "LD_PRELOAD" not in self.environ:
            files = {0: held, 1: output, 2: output}
            return Process(["serve"], environ=self.environ, folder=self._folder, files=files)
        # A library can only be put before those of a program that begins.
        command = [sys.executable, "-m", "receiver", "serve"]
        return subprocess.Popen(
            command, env=self.environ, cwd=self._folder, stdin=held, stdout=output, stderr=output
        )

    def _listen(self, log: int) -> None:
        with open(log, "rb") as lines:
            for line in lines:
                try:
                    self.log.append(json.loads(line))
                except ValueError:
                    self.log.append({"event": line.decode(errors="replace").rstrip()})


class Cluster:
    """A database, the nodes that serve it and the provider that they ask."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        provider: Provider,
        *,
        nodes: int | None,
        handlers: str,
        lease: int,
    ) -> None:
        self.folder = folder
        self.database = database
        self.provider = provider
        environ = {
            "PYTHONPATH": str(_ROOT),
            "RECEIVER_DATABASE_URL": database.url,
            "RECEIVER_SECRET_KEY": MASTER_KEY,
            "RECEIVER_API_TOKEN": API_TOKEN,
            # Senders choose a node themselves, as a load balancer would.
            "RECEIVER_PUBLIC_URL": "http://127.0.0.1:9",
            "RECEIVER_PROVIDERS_DIR": str(folder / "providers"),
            "RECEIVER_HANDLERS": handlers,
            "RECEIVER_LEASE": str(lease),
            "RECEIVER_FILES_URL": (folder / "kept").as_uri(),
            "RECEIVER_DISK_FLOOR": "0",
            "RECEIVER_CHAOS_BASE_URL": provider.url,
            "CHAOS_API_KEY": "key",
            "CHAOS_WEBHOOK_SECRET": SECRET,
        }
        self.nodes = [Node(folder, environ, number) for number in range(nodes or database.nodes)]
        self.kills = 0
        #: Seconds.
        self.longest_recovery = 0.0

    @property
    def ports(self) -> list[int]:
        """Where the nodes listen."""
        return [node.port for node in self.nodes]

    def runs(self) -> list[list[str]]:
        """What the handlers have recorded: handler, job, idempotency key, process."""
        files = [node.runs for node in self.nodes if node.runs.exists()]
        return [line.split() for file in files for line in file.read_text(encoding="utf-8").splitlines()]

    async def recovered(self, since: float) -> None:
        """Wait until every node is ready, and note how long that took."""
        for node in self.nodes:
            await node.ready()
        self.longest_recovery = max(self.longest_recovery, time.monotonic() - since)

    async def held_by(self, name: str) -> list[int]:
        """When the leases that a node of this name holds end."""
        found = await rows(
            self.database, "SELECT owner, run_at FROM due UNION ALL SELECT owner, run_at FROM dispatch"
        )
        return [ends_at for owner, ends_at in found if owner == name]

    async def dispatching(self, name: str) -> int:
        """How many dispatches a node of this name holds."""
        return [owner for (owner,) in await rows(self.database, "SELECT owner FROM dispatch")].count(name)


@contextlib.asynccontextmanager
async def cluster(
    folder: Path,
    database: Database,
    provider: Provider,
    *,
    expected: str = "3s",
    nodes: int | None = None,
    environ: Mapping[str, str] | None = None,
    handlers: str = "tests.chaos.handlers:receiver",
    files: str = "",
    lease: int = LEASE,
) -> AsyncIterator[Cluster]:
    """Nodes that are ready; *environ* is for the first of them only."""
    describe(folder / "providers", expected=expected, files=files)
    found = Cluster(folder, database, provider, nodes=nodes, handlers=handlers, lease=lease)
    found.nodes[0].environ |= environ or {}
    try:
        # One after the other: the first makes the schema.
        await found.nodes[0].start()
        await asyncio.gather(*(node.start() for node in found.nodes[1:]))
        yield found
    finally:
        for node in found.nodes:
            node.kill()
