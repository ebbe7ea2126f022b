"""Attempts: wrong tries to sign in, counted by the address that they come from, in bounded memory."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from receiver.core.model import MINUTE, SECOND

#: Wrong tries from one address before it has to wait, and for how long it waits then.
TRIES: Final = 8
_LOCKED: Final = 10 * MINUTE
MOST_ADDRESSES: Final = 10_000
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


def network(address: str) -> str:
    """Whose tries are counted together: one address, or with IPv6 the network that one customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network(f"{found}/64", strict=False))
    return str(found)
