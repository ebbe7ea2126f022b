"""Which IP addresses are public: the only ones that a request of ours may be sent to.

``ipaddress.is_global`` is not enough: it calls multicast, site-local, NAT64 and some embedded IPv4 addresses
global (tried on CPython 3.11 to 3.13). The IPv4 table follows the IANA special-purpose registry
(https://www.iana.org/assignments/iana-ipv4-special-registry, read 2026-11-20); for IPv6 only global unicast is
let through, minus the parts of it that carry or translate other addresses.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

_CLOSED_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's metadata service lives on a public-looking address
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
_OPEN_6: Final = IPv6Network("2000::/3")
_CLOSED_6: Final = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))


def is_public(text: str) -> bool:
    """Say whether *text*, an address as a resolver gave it, is public. Anything unclear is not."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        if address.ipv4_mapped is None:
            return address in _OPEN_6 and not any(address in net for net in _CLOSED_6)
        address = address.ipv4_mapped
    assert isinstance(address, IPv4Address)  # noqa: S101  (there is no third kind)
    return not any(address in net for net in _CLOSED_4)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks as they are configured (``10.0.0.0/8``, or a lone address); raises ValueError naming the wrong one."""
    found = []
    for text in texts:
        try:
            found.append(_plain(ip_network(text.strip())))
        except ValueError as error:
            raise ValueError(f"{text.strip()!r} is no network: {error}") from error
    return tuple(found)


def _plain(network: Network) -> Network:
    """An IPv4 network that is written as one of IPv6 (``::ffff:10.0.0.0/104``), as addresses are judged: as IPv4."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if mapped is None else IPv4Network((mapped, network.prefixlen - 96))


def within(text: str, among: Iterable[Network]) -> bool:
    """Say whether *text* is an address in one of the networks; anything that is no address is in none."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return any(address in network for network in among)
