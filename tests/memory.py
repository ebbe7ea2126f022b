"""A folder in memory: what is to survive no more than a test need not wait for a disk."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  (whoever uses it makes a private folder in it)
#: Bytes that must be free; containers may have less.
ROOM = 2**31
_NAME = "receiver-tests-"


def has_room() -> bool:
    """Whether there is one, with room, in which programs may lie."""
    if not os.access(MEMORY, os.W_OK):
        return False
    return shutil.disk_usage(MEMORY).free > ROOM and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC


class OwnFolder:
    """A folder for one run of the tests, locked as long as its process lives.

    What a failed test wrote can be looked at until the next run begins, which deletes what runs that are gone have
    left: also those that were killed.
    """

    def __init__(self, below: Path) -> None:
        for left in below.glob(f"{_NAME}*"):
            _delete_left(left)
        self.path, self._file = _made(below)
        # A server of the tests may run as another user, who has to pass.
        self.path.chmod(0o711)

    def delete_at_exit(self) -> None:
        """Delete it once this process ends, and the processes that it waits for."""
        atexit.register(shutil.rmtree, self.path, ignore_errors=True)


def _made(below: Path) -> tuple[Path, int]:
    """A new folder, and the file that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_NAME, dir=below))
        # A run that begins at the same moment may take it for one that is left, until it is locked.
        with suppress(FileNotFoundError):
            # Inherited by none of the programs that are started, so the lock ends with this process.
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists():
                return path, file
            os.close(file)


def _delete_left(folder: Path) -> None:
    """Delete the folder of a run that is gone; of one that goes on, or of another user, nothing is touched."""
    try:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if os.fstat(file).st_uid == os.getuid():
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(file)
