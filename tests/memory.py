"""A folder in memory: what is to survive no more than a test need not wait for a disk."""

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  (whoever uses it makes a private folder in it)
#: Bytes that must be free; containers may have less.
ROOM = 2**31


def has_room() -> bool:
    """Whether there is one, with room, in which programs may lie."""
    if not os.access(MEMORY, os.W_OK):
        return False
    return shutil.disk_usage(MEMORY).free > ROOM and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
