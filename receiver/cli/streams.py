"""Standard streams that are closed, broken or full: said in words, and no reason to fail for what only serves.

Python has no ``sys.stdout`` where a process is started without one, the next file that is opened then is number 1, and
what stands in a buffer at the end and cannot be written makes exit code 120 of any other.
"""

import contextlib
import errno
import fcntl
import io
import os
import sys
from typing import Any, Final, TextIO

from receiver.core.errors import ReceiverError

#: What is wrong with a stream rather than with what is written to it.
_BROKEN: Final = frozenset({errno.EPIPE, errno.EBADF, errno.ENOSPC, errno.EIO, errno.EDQUOT})
_OUT: Final = 1
_ERR: Final = 2
_FAILED: Final = 1


class OutputLostError(ReceiverError):
    """Standard output takes nothing: it is closed, full or broken."""

    code = "output_lost"


class Nowhere(io.RawIOBase):
    """Takes the place of a stream that was closed from the start, and notes whether anything was said."""

    lost = 0

    def writable(self) -> bool:
        """True: what is written is taken or lost."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  (any buffer)
        """Lose it."""
        size = len(data)
        self.lost += size
        return size


class _Tolerant(io.RawIOBase):
    """Writes to a file, and loses what that does not take: for processes that stay.

    It writes by a number that nobody else knows. A handler may close number 1 or 2, and what is opened next, a
    connection or a file of ours, is called so: what is printed would be written into it.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._own = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ERR + 1)
        #: Bytes that it did not take.
        self.lost = 0

    def writable(self) -> bool:
        """True: what is written is taken or lost."""
        return True

    def fileno(self) -> int:
        """Which file, as everybody calls it."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person reads along."""
        return os.isatty(self._own)

    def write(self, data: Any) -> int:  # noqa: ANN401  (any buffer)
        """Write, or lose it: a handler that prints does not fail because nobody reads any more."""
        try:
            return os.write(self._own, data)
        except OSError:
            self.lost += len(data)
            return len(data)


class _Lasting(io.TextIOWrapper):
    """Stays open, whoever closes it: others print too."""

    def close(self) -> None:
        """Write what waits."""
        with contextlib.suppress(ValueError):  # it was taken apart
            self.flush()


def open_closed() -> Nowhere | None:
    """Give a process that was started without them its standard streams; what stands for its output, if that is one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free. A database must not get it: what is printed would be written into it.
            os.open(os.devnull, os.O_RDWR)
    given: tuple[Any, ...] = (sys.stdin, sys.stdout, sys.stderr)
    nowhere = Nowhere() if given[1] is None else None
    if nowhere is not None:
        sys.stdout = _text(nowhere)
    if given[2] is None:
        sys.stderr = _text(Nowhere())
    if given[0] is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123  (as long as the process lives)
    return nowhere


def outlive() -> TextIO:
    """Have this process, which stays, go on when nobody reads what it prints any more, and whatever handlers close.

    Returns where its log goes: to standard error, by an object of its own.
    """
    given = sys.stderr
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(given)
    return _outliving(given)


def settled(code: Any, nowhere: Nowhere | None) -> Any:  # noqa: ANN401  (what SystemExit carries)
    """The exit code of a command that wanted to leave with *code*; says on standard error if output was lost."""
    _put_back()
    try:
        sys.stdout.flush()
    except OSError as error:
        # A reader that took as much as it wanted and closed the pipe is no error.
        if code or error.errno == errno.EPIPE:
            _let_go()
            return code
        say_lost(error)
        return _FAILED
    if code or nowhere is None or nowhere.lost == 0:
        return code
    say_lost(OSError(errno.EBADF, "it is closed"))
    return _FAILED


def _put_back() -> None:
    """Have streams that can be written out at the end, where a handler has closed them or taken them apart."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            usable = not stream.closed
        except (AttributeError, ValueError):
            usable = False
        if not usable:
            setattr(sys, name, _text(Nowhere()))


def say_lost(error: OSError) -> None:
    """Say on standard error that standard output takes nothing, and why."""
    _let_go()
    with contextlib.suppress(OSError):
        lost = OutputLostError(f"Standard output takes nothing: {error.strerror}")
        sys.stderr.write(f"error: {lost} ({lost.code})\n")
        sys.stderr.flush()


def is_broken(error: OSError) -> bool:
    """Whether *error* is that of a stream which takes nothing any more, rather than one of a file or a connection."""
    return error.errno in _BROKEN and error.filename is None


def _let_go() -> None:
    """Have what is left in the buffer go nowhere, or the end of the process would try it again."""
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, _OUT)
        os.close(nothing)
    with contextlib.suppress(OSError):
        sys.stdout.flush()


def _outliving(stream: TextIO) -> TextIO:
    if stream not in {sys.__stdout__, sys.__stderr__}:
        # It was closed from the start, or somebody else has taken it over.
        return _text(Nowhere()) if isinstance(getattr(stream, "buffer", None), io.BufferedWriter) else stream
    return _text(_Tolerant(stream.fileno()), like=stream)


def _text(raw: io.RawIOBase, *, like: TextIO | None = None) -> TextIO:
    return _Lasting(
        io.BufferedWriter(raw),
        encoding="utf-8" if like is None else like.encoding,
        errors="backslashreplace" if like is None else like.errors,
        line_buffering=like is not None and bool(like.line_buffering),
    )
