"""Forks: what a process that a handler forks off is to have no part in.

It has every file of its parent open. For as long as it lives it would hold the lock on the database, and the port that
is listened at, although the receiver itself died long ago, and whoever is started next would be refused.
"""

import os
from typing import Final

_ours: Final[set[int]] = set()


def keep(file: int) -> int:
    """Keep an open file from processes that are forked off; it is to be closed by ``close``, or let go of before."""
    _ours.add(file)
    return file


def let_go(file: int) -> None:
    """Say that a file is about to be closed: its number may soon be another's."""
    _ours.discard(file)


def close(file: int) -> None:
    """Close a file that may have been kept."""
    let_go(file)
    os.close(file)


def _begin() -> None:
    """Put nothing in their place: whoever closes them there must not close what is no business of theirs."""
    if not _ours:
        return
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for file in _ours:
        os.dup2(nothing, file, inheritable=False)
    os.close(nothing)
    _ours.clear()


os.register_at_fork(after_in_child=_begin)
