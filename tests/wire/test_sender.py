"""Who sent a request: the peer, or whom proxies of ours name, and nobody who merely says so."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.address import networks, within
from receiver.wire.sender import UNKNOWN, Senders

TRUSTED = networks(["10.0.0.0/8", "127.0.0.1", "fd00::/8"])


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    """A request from *peer*, with lines of X-Forwarded-For."""
    headers = [(b"host", b"a"), *((b"x-forwarded-for", line.encode("latin-1")) for line in forwarded)]
    return {"client": None if peer is None else (peer, 1234), "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "sender"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1", "10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ("10.0.0.1", ["198.51.100.1:5678"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:5678"], "2001:db8::1"),
        ("10.0.0.1", ["2001:DB8:0::1"], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["198.51.100.1"], "198.51.100.1"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, 999.1.1.1, 10.3.3.3"], "10.3.3.3"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["é" * 5000], "10.0.0.1"),
        (None, ["198.51.100.1"], UNKNOWN),
        ("", [], UNKNOWN),
        ("unix:/run/proxy", [], UNKNOWN),
    ],
)
def test_the_sender_is_whom_our_proxies_heard(peer: str | None, forwarded: list[str], sender: str) -> None:
    """Read from the end of the list, and no further than our own proxies vouch for it."""
    assert Senders(TRUSTED).of(scope(peer, *forwarded)) == sender


def test_without_proxies_of_ours_nobody_is_believed() -> None:
    """Whatever the header says: the peer is the sender."""
    assert Senders().of(scope("203.0.113.9", "198.51.100.1")) == "203.0.113.9"
    assert Senders().of(scope("127.0.0.1", "198.51.100.1")) == "127.0.0.1"


_ENTRIES = st.one_of(
    st.ip_addresses().map(str), st.text(st.characters(max_codepoint=255), max_size=20), st.just("10.1.2.3")
)


@given(written=st.lists(_ENTRIES, max_size=50), peer=st.ip_addresses(v=4), proxies=st.integers(0, 3))
def test_no_sender_chooses_whom_it_is_taken_for(written: list[str], peer: Any, proxies: int) -> None:  # noqa: ANN401
    """Our proxies add whom they heard to whatever was written before: that one is the sender, or one of them."""
    ours = [f"10.0.0.{number}" for number in range(proxies)]
    heard = [str(peer), *ours]
    found = Senders(TRUSTED).of(scope(heard[-1], ", ".join([*written, *heard[:-1]])))
    if not within(str(peer), TRUSTED):
        assert found == str(peer)
