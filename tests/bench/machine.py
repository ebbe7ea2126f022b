"""The machine: what it is, and which core does what."""

import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

#: Servers, whoever wrote them, share the first core; the generator has the last one to itself.
_CORES: Final = sorted(os.sched_getaffinity(0))
SERVER_CORE: Final = _CORES[0]
GENERATOR_CORE: Final = _CORES[-1]
_SYNCS: Final = 50


def described(folder: Path) -> str:
    """The machine in one line; *folder* is where the databases are."""
    return (
        f"{_model()}, {len(_CORES)} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"fdatasync {_sync_ms(folder):.2f} ms; {_pinning()}"
    )


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Start processes on one core: they inherit it from us."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _pinning() -> str:
    if SERVER_CORE == GENERATOR_CORE:
        return "server and generator share the only core"
    return f"every server on core {SERVER_CORE}, the generator on core {GENERATOR_CORE}"


def _sync_ms(folder: Path) -> float:
    took = []
    path = folder / "sync"
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(_SYNCS):
            os.write(file, bytes(8192))
            began = time.perf_counter()
            os.fdatasync(file)
            took.append(time.perf_counter() - began)
    finally:
        os.close(file)
        path.unlink()
    return statistics.median(took) * 1000
