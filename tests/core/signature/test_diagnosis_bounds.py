"""Diagnosis of whatever arrives: bounded, and with an answer."""

import gzip
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.core.signature.verify import Message

from .samples import SCHEMES, key
from .test_diagnosis import Case, diagnosed, over


@pytest.mark.parametrize(
    "build", [lambda: b"x" * (100 << 20), lambda: b"[" * (1 << 20), lambda: gzip.compress(bytes(64 << 20))]
)
def test_the_work_is_bounded(build: Callable[[], bytes]) -> None:
    """A huge, a deep or an exploding body costs a bounded number of bytes, and ends in an answer."""
    assert diagnosed(Case("signature_mismatch", over(b"forged", build()))).code == "signature_mismatch"


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(name for name in SCHEMES if SCHEMES[name].authenticates)),
    st.binary(max_size=60),
    st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=60)), max_size=4),
    st.text(max_size=30),
    st.binary(max_size=100),
)
def test_whatever_the_bytes_a_diagnosis_comes_out(
    name: str, body: bytes, headers: list[tuple[bytes, bytes]], url: str, value: bytes
) -> None:
    """Diagnosis meets the same hostile bytes as verification, and raises nothing at all."""
    carrier = SCHEMES[name].headers[0].encode()
    arrived = Message(body=body, headers=[*headers, (carrier, value)], url=url)
    found = diagnosed(Case("", arrived, SCHEMES[name], (key(name),)))
    assert found.code
    assert found.sentence.isprintable()
