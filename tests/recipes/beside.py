"""A receiver that serves beside a program of somebody else's, with a simulator, all as processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from receiver.simulator import PROVIDERS
from tests.cli.programs import PATIENCE, SECRETS, Program
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

APP_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a program beside the receiver has: a folder, and an environment that says where everything is."""

    program: Program
    folder: Path
    url: str
    environ: dict[str, str]

    @contextlib.contextmanager
    def running(self, *command: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a Python program (``-m module …`` or a file); it is gone when the block ends."""
        with (self.folder / "program.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder,
                env=self.environ | more,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self) -> str:
        """What the program has printed."""
        return (self.folder / "program.log").read_text(encoding="utf-8", errors="replace")

    def until(self, condition: Callable[[], Any], *, patience: float = PATIENCE) -> Any:  # noqa: ANN401
        """What *condition* returns once it is true; fails with the program's log."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if found := condition():
                    return found
            time.sleep(0.05)
        raise AssertionError(self.log()[-4000:])


@contextlib.contextmanager
def beside(folder: Path, *, sinks: str = "", handlers: bool = True, **settings: str) -> Iterator[Beside]:
    """A receiver that serves, with *sinks* as its file of sinks."""
    ports = free_port(), free_port()
    url = f"http://127.0.0.1:{ports[0]}"
    named = {
        f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL": f"http://127.0.0.1:{ports[1]}/{name}"
        for name in PROVIDERS
    }
    if sinks:
        (folder / "sinks.toml").write_text(sinks, encoding="utf-8")
        settings["RECEIVER_SINKS"] = str(folder / "sinks.toml")
    program = Program.at(folder, RECEIVER_PUBLIC_URL=url, APP_SECRET=APP_SECRET, **named, **settings)
    if not handlers:
        program = program.but(RECEIVER_HANDLERS="")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "RECEIVER_URL": url,
        "RECEIVER_API_TOKEN": SECRETS["RECEIVER_API_TOKEN"],
        "APP_SECRET": APP_SECRET,
        "PYTHONUNBUFFERED": "1",
    }
    with program.started("simulate", "--port", str(ports[1])) as simulator:
        simulator.wait_for("Simulating")
        with program.started("serve", "--port", str(ports[0])) as serving:
            serving.wait_for("receiver_listening")
            yield Beside(program=program, folder=folder, url=url, environ=environ)
