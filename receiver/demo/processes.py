"""The demo's processes: the simulator and the receiver, started, found ready, and always ended."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final

import httpx

from receiver.core.errors import ReceiverError

_PATIENCE: Final = 15.0
_FARE_WELL: Final = 8.0
#: What takes minutes in the packaged descriptions takes seconds in the demo's copies.
_FASTER: Final = {
    r'(?m)^every = ".*"$': 'every = "1s"',
    r'(?m)^longest = ".*"$': 'longest = "1s"',
    r'(?m)^expected = ".*"$': 'expected = "3s"',
}


#: How the names of settings begin that would point the demo's receiver elsewhere.
_OURS: Final = ("RECEIVER_", "NETNUT_", "PULSE_", "YANDEX_", "PERPLEXITY_", "FIRECRAWL_", "RUNWAYML_")


class ProcessFailedError(ReceiverError):
    """A process of the demo did not come up."""

    code = "demo_process_failed"


def free_port() -> int:
    """A port on loopback that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def faster_descriptions(folder: Path) -> None:
    """Write the packaged descriptions to *folder* with cadences fit for a demo."""
    for file in files("receiver.providers").iterdir():
        if file.name.endswith(".toml"):
            text = file.read_text(encoding="utf-8")
            for pattern, replacement in _FASTER.items():
                text = re.sub(pattern, replacement, text)
            (folder / file.name).write_text(text, encoding="utf-8")


@contextmanager
def started(name: str, *args: str, environ: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Run ``receiver NAME …`` as a process while the block runs; its output goes to ``NAME.log``."""
    with (folder / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  (our own program, no shell)
            [sys.executable, "-m", "receiver", name, *args],
            env=dict(environ),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(_FARE_WELL)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_ready(url: str, *, name: str, folder: Path) -> None:
    """Wait until *url* answers; raises ProcessFailedError with the process's last words."""
    until = time.monotonic() + _PATIENCE
    with httpx.Client(trust_env=False, timeout=2) as client:
        while time.monotonic() < until:
            try:
                if client.get(url).is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
    words = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-2000:]
    raise ProcessFailedError(
        f"receiver {name} did not come up within {_PATIENCE:.0f} s. It said: {words.strip()}"
    )


def base_environ() -> dict[str, str]:
    """This process's environment without what would point the demo's receiver elsewhere."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(_OURS) and name != "PORT"
    }
