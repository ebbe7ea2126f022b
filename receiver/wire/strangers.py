"""Strangers: connections that never proved anything, and the share of all connections that they may rest in.

A connection that has carried a token or a signature of ours may rest as long as any. All others together have a share:
whoever only asks for what does not exist must not use up the connections that a process can have.
"""

import asyncio
import resource
from collections.abc import MutableMapping
from itertools import islice
from typing import Any, Final, Protocol

#: The share, of the files that this process may have open, and its bounds.
_PART: Final = 4
_FEWEST: Final = 8
_MOST: Final = 1024
#: Seconds for which a new connection need not leave: its head may be on the way, or its answer is being read.
_GRACE: Final = 1.0


#: What is in the ``state`` of a request's scope once it has proved something.
PROVED: Final = "receiver.proved"


class Stranger(Protocol):
    """A connection that rests."""

    def dismiss(self) -> None:
        """Close it."""


def prove(scope: MutableMapping[str, Any]) -> None:
    """Note that a request carries a token or signature of ours: its connection is no stranger's."""
    state = scope.get("state")
    if state is not None:
        state[PROVED] = True


def share() -> int:
    """How many may rest at a time: a quarter of what may be open, and never more than a thousand."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    part = _MOST if soft == resource.RLIM_INFINITY else soft // _PART
    return min(max(part, _FEWEST), _MOST)


class Strangers:
    """The resting strangers; when there are too many, the one that was answered and has rested longest leaves first.

    Then those leave who never said a word, the oldest first, once they have had time to say one.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = share() if most is None else most
        #: Those who were answered, and those who have said nothing, each since when; the order is that of time.
        self._answered: dict[Stranger, float] = {}
        self._silent: dict[Stranger, float] = {}
        self._later: asyncio.TimerHandle | None = None

    def rest(self, one: Stranger, *, answered: bool) -> None:
        """Take *one* in, who waits for what a peer sends next."""
        self.forget(one)
        loop = asyncio.get_running_loop()
        (self._answered if answered else self._silent)[one] = loop.time()
        if len(self._answered) + len(self._silent) > self._most:
            self._trim(loop)

    def forget(self, one: Stranger) -> None:
        """Let *one* go: it rests no longer."""
        if self._silent.pop(one, None) is None:
            self._answered.pop(one, None)

    def _trim(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send away who is too many; look again once the others have had their time."""
        over = len(self._answered) + len(self._silent) - self._most
        leaving = list(islice(self._answered, max(over, 0)))
        late = loop.time() - _GRACE
        for one, since in islice(self._silent.items(), max(over - len(leaving), 0)):
            if since > late:
                # No further connection may come to trigger this look, because there may be no room for one.
                if self._later is None:
                    self._later = loop.call_later(since - late, self._look_again, loop)
                break
            leaving.append(one)
        for one in leaving:
            self.forget(one)
            one.dismiss()

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._later = None
        self._trim(loop)
