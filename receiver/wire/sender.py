"""The sender of a request: the peer, or whom a proxy of ours names.

``X-Forwarded-For`` is a list to which each proxy adds, at its end, whom it heard. What is in front of the entries of
our own proxies anybody may have written, so it is read from its end, and only as far as they vouch for it.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from starlette.types import Scope

from receiver.core.address import Network, within

UNKNOWN: Final = "unknown"
_HEADER: Final = b"x-forwarded-for"
#: Bytes of the header, and entries of it, that are looked at: its end.
_LONGEST: Final = 2048
_MOST: Final = 32


class Senders:
    """Says who sent a request.

    Args:
        trusted: Where our own proxies are; without any, the peer is the sender, whatever it says.
    """

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)
        self._cached = lru_cache(1024)(self._named)

    def of(self, scope: Scope) -> str:
        """The address that a request came from; UNKNOWN, which is in no network, where it came over none."""
        client = scope.get("client")
        if client is None:
            return UNKNOWN
        peer: str = client[0]
        if not self._trusted:
            return _plain(peer) or UNKNOWN
        lines = [value for name, value in scope["headers"] if name == _HEADER]
        return self._cached(peer, b",".join(lines)[-_LONGEST:])

    def _named(self, peer: str, forwarded: bytes) -> str:
        sender = _plain(peer) or UNKNOWN
        for entry in forwarded.split(b",")[: -_MOST - 1 : -1]:
            if not within(sender, self._trusted):
                break
            named = _plain(entry.decode("latin-1"))
            if named is None:
                break  # what a proxy of ours could not name is no better named by what stands before it
            sender = named
        return sender


@lru_cache(1024)
def _plain(text: str) -> str | None:
    """An address as it is written most briefly, without port, brackets or scope; ``None`` where it is none."""
    host = text.strip().strip('"')
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)
