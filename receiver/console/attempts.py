"""Attempts: wrong tries to sign in, counted by the address that they come from and all together, in bounded memory."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from receiver.core.model import HOUR, MINUTE, SECOND

#: Wrong tries from one address before it has to wait, and for how long it waits then.
TRIES: Final = 8
_LOCKED: Final = 10 * MINUTE
MOST_ADDRESSES: Final = 10_000
#: Wrong tries from all addresses together before those from addresses that nobody has signed in from have to wait, and
#: in which time as many are let through again, one by one.
TOGETHER: Final = 200
_AGAIN: Final = HOUR
_MOST_KNOWN: Final = 1_000
#: Seconds that the answer to a wrong try takes, by how many there were before.
_SLOWER: Final = (0.2, 0.4, 0.8, 1.6, 2.0)


class Locked(Exception):  # noqa: N818  (it is an answer, raised)
    """Too many wrong tries; ``wait`` is how many seconds are left."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


class Attempts:
    """Counts tries by address, each as a wrong one until it turns out to be right."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def begin(self, address: str) -> float:
        """Count a try before anything is compared, so that many at once are bounded as well.

        Returns:
            How many seconds the answer is to take if it is wrong.

        Raises:
            Locked: *address* has to wait.
        """
        whose = network(address)
        count, last = self._failed.get(whose, (0, 0))
        now = self._clock()
        left = last + _LOCKED - now
        if count >= TRIES and left > 0:
            raise Locked(-(-left // SECOND))
        count = 1 if left <= 0 else count + 1
        self._failed.pop(whose, None)
        self._failed[whose] = (count, now)
        while len(self._failed) > MOST_ADDRESSES:
            self._failed.popitem(last=False)
        return _SLOWER[min(count, len(_SLOWER)) - 1]

    def right(self, address: str) -> None:
        """Take back the last try of *address*, which was a right one.

        The wrong ones before it count on: else whoever has a password of their own could guess another's for ever.
        """
        whose = network(address)
        count, last = self._failed.get(whose, (0, 0))
        if count > 1:
            self._failed[whose] = (count - 1, last)
        else:
            self._failed.pop(whose, None)


class Together:
    """Counts tries from everywhere: one secret may be guessed from very many addresses, each of which tries little.

    An address that somebody has signed in from since this process began is let through, and its tries are bounded by
    themselves. Of all others one is let through every 18 seconds once there were too many: so nobody is shut out for
    ever, and nobody guesses faster than that.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        #: When all tries that were made would have been let through, one by one; what is past is room for as many.
        self._until = 0
        self._known: OrderedDict[str, None] = OrderedDict()

    def begin(self, address: str) -> None:
        """Count a try; raises Locked where there were too many, and *address* is not known."""
        if network(address) in self._known:
            return
        now, each = self._clock(), _AGAIN // TOGETHER
        until = max(self._until, now) + each
        if until > now + _AGAIN:
            raise Locked(-(-(until - now - _AGAIN) // SECOND))
        self._until = until

    def right(self, address: str) -> None:
        """Take back the last try of *address*, which was a right one, and know it from now on."""
        whose = network(address)
        if whose not in self._known:
            self._until -= _AGAIN // TOGETHER
        self._known[whose] = None
        self._known.move_to_end(whose)
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


def network(address: str) -> str:
    """Whose tries are counted together: one address, or with IPv6 the network that one customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network(f"{found}/64", strict=False))
    return str(found)
