"""Durable: what survives a power cut."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until a file's content is on its disk; of a folder, the names in it: a new file has none there before."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
