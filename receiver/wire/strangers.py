"""Strangers: connections that never proved anything, and the share of all connections that they may rest in.

A connection that has carried a token or a signature of ours may rest as long as any. All others together have a share:
whoever only asks for what does not exist must not use up the connections that a process can have.
"""

import asyncio
import resource
from collections.abc import MutableMapping
from typing import Any, Final, Protocol

#: The share, of the files that this process may have open, and its bounds.
_PART: Final = 4
_FEWEST: Final = 8
_MOST: Final = 1024
#: Seconds for which nobody has to leave who has only just come: a head is on its way, or an answer is read.
_GRACE: Final = 1.0


#: What is in the ``state`` of a request's scope once it has proved something.
PROVED: Final = "receiver.proved"


class Stranger(Protocol):
    """A connection that rests."""

    def dismiss(self) -> None:
        """Close it."""


def prove(scope: MutableMapping[str, Any]) -> None:
    """Note that a request carries what only somebody can have whom we gave it: its connection is no stranger's."""
    state = scope.get("state")
    if state is not None:
        state[PROVED] = True


def share() -> int:
    """How many may rest at a time: a quarter of what may be open, and never more than a thousand."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    part = _MOST if soft == resource.RLIM_INFINITY else soft // _PART
    return min(max(part, _FEWEST), _MOST)


class Strangers:
    """Those who rest, longest first; when there are too many, whoever has rested longest leaves."""

    def __init__(self, most: int | None = None) -> None:
        self._most = share() if most is None else most
        #: Since when, by the loop's clock; the order is that of resting.
        self._resting: dict[Stranger, float] = {}

    def rest(self, one: Stranger) -> None:
        """Take *one* in, who waits for what a peer sends next."""
        resting = self._resting
        resting.pop(one, None)
        resting[one] = now = asyncio.get_running_loop().time()
        while len(resting) > self._most:
            longest, since = next(iter(resting.items()))
            if now - since < _GRACE:
                return
            del resting[longest]
            longest.dismiss()

    def forget(self, one: Stranger) -> None:
        """Let *one* go: it rests no longer."""
        self._resting.pop(one, None)
