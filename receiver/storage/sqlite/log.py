"""SQLite's write-ahead log, looked at from outside: how long it is."""

import os
from typing import Final

#: The sizes of the header of the log, and of that of each page in it.
_LOG_HEADER: Final = 32
_FRAME_HEADER: Final = 24


def reaches(log: str, size: int) -> bool:
    """Whether the log is *size* bytes long, not counting what is left in its file from before it was last moved.

    Each page in it bears the salts of the log's header, and these change when the log begins anew (the head of
    https://sqlite.org/src/file/src/wal.c, read 2026-11-21). On this file SQLite has no lock that closing it would drop.
    """
    try:
        file = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        header = os.pread(file, _LOG_HEADER, 0)
        if len(header) < _LOG_HEADER:
            return False
        frame = _FRAME_HEADER + int.from_bytes(header[8:12], "big")
        last = _LOG_HEADER + (size // frame) * frame
        return os.pread(file, 8, last + 8) == header[16:24]
    finally:
        os.close(file)
