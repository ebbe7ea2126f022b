"""Which addresses are public."""

import pytest

from receiver.core.address import is_public, networks, within

CLOSED = [
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.3",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.1.2.3",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "fe80::1%eth0",
    "2606:4700::1111%1",
    "0177.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "1.2.3",
    "8.8.8.8.8",
    "08.8.8.8",
    "localhost",
    "example.com",
    "[::1]",
    "8.8.8.8/32",
]
OPEN = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "192.167.1.1",
    "198.17.0.1",
    "198.20.0.1",
    "223.255.255.255",
    "168.63.129.15",
    "2606:4700::1111",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2a00::1",
    "3ffe::1",
    "::ffff:8.8.8.8",
]


@pytest.mark.parametrize("address", [*CLOSED, "", " 8.8.8.8", "8.8.8.8 ", "\uff18.8.8.8", "8.8.8.8\0"])
def test_an_address_that_is_not_plainly_public_is_closed(address: str) -> None:
    """Private, embedded, translated, reserved, scoped or oddly written addresses are never asked."""
    assert not is_public(address)


@pytest.mark.parametrize("address", OPEN)
def test_a_public_address_is_open(address: str) -> None:
    """The neighbours of the closed ranges are not closed by mistake."""
    assert is_public(address)


@pytest.mark.parametrize("written", ["10.0.0.0/8", "::ffff:10.0.0.0/104", "::ffff:a00:0/104"])
@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_a_network_of_ipv4_is_the_same_however_it_is_written(written: str, address: str) -> None:
    """As is an address in it."""
    assert within(address, networks([written]))
    assert not within("11.1.2.3", networks([written]))
