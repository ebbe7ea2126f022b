"""Faults that a node is told to have: its disk is full, its disk does not confirm, its clock is wrong.

Nothing here needs a compiler or root: a full disk is a limit on the size of files, which the kernel enforces at the
same calls; a disk that confirms nothing is a filter of system calls that the node lays upon itself; a clock is set
by libfaketime, which leaves the steady clocks alone.
"""

import ctypes
import importlib.util
import platform
import resource
import struct
from pathlib import Path
from typing import Final

#: fsync and fdatasync.
_SYNCING: Final = {"x86_64": (74, 75), "aarch64": (82, 83)}
_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_EIO: Final = 5
_NO_NEW_PRIVILEGES: Final = 38
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000


def fill_disk(pid: int, *, at: int) -> None:
    """Let no file of a process grow past *at* bytes: writing more fails, as on a disk that is full."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (at, hard))


def clear_disk(pid: int) -> None:
    """Let them grow again."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


def fail_syncing() -> None:
    """Have every fsync of this process fail with EIO, in all its threads, until it ends."""
    machine = platform.machine()
    fsync, fdatasync = _SYNCING[machine]
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, 0),  # the number of the system call
            (_IF_EQUAL, 1, 0, fsync),
            (_IF_EQUAL, 0, 1, fdatasync),
            (_RETURN, 0, 0, _FAIL | _EIO),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    laid = Program(len(program) // 8, ctypes.addressof(code))
    # SECCOMP_SET_MODE_FILTER for all threads (SECCOMP_FILTER_FLAG_TSYNC).
    if libc.syscall(_SECCOMP[machine], 1, 1, ctypes.byref(laid)) != 0:
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")


class FalseClock:
    """The clock of a node that is started with ``environ``; ``close`` when the node has ended."""

    def __init__(self, folder: Path) -> None:
        found = importlib.util.find_spec("libfaketime")
        if found is None or found.origin is None:
            raise RuntimeError("the tests need the package libfaketime: pip install '.[test]'")
        library = Path(found.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
        self._file = folder / "clock"
        self.set(0)
        self.environ = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            # Its default turns the interpreter's short waits into long ones.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "DONT_FAKE_MONOTONIC": "1",
        }

    @staticmethod
    def close() -> None:
        """Remove what a process that was killed had no chance to: the library's memory, named after it."""
        for file in Path("/dev/shm").glob("*faketime_*"):  # noqa: S108  (where the library has it)
            if not Path(f"/proc/{file.name.rpartition('_')[2]}").exists():
                file.unlink(missing_ok=True)

    def set(self, ahead: int) -> None:
        """Set it *ahead* seconds off; it is noticed within a second."""
        # Replaced as a whole: it may be read at any moment.
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead:+d}\n", encoding="utf-8")
        new.replace(self._file)
