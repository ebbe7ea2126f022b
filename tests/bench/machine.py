"""The machine that is measured on."""

import os
import platform
import sqlite3
import statistics
import time
from pathlib import Path
from typing import Final

_SYNCS: Final = 50


def described(folder: Path) -> str:
    """The machine in one line; *folder* is where the databases are."""
    return (
        f"{_model()}, {len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"fdatasync {_sync_ms(folder):.2f} ms"
    )


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


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
