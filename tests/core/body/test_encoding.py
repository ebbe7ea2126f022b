"""Content codings: undone where they can be, left alone where they cannot, never beyond a bound."""

import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.core.body.encoding import (
    STEP,
    EncodingError,
    Inflation,
    codings_of,
    looks_packed,
    undone,
    unpacked,
)
from receiver.core.description.shape import Shape
from receiver.core.message import Message
from receiver.core.reading.document import Document
from tests.core.packing import PACKERS, gzipped, library

LARGEST = 8 * 1024 * 1024
Packer = tuple[str, Callable[[bytes], bytes]]
PACKED = st.sampled_from(PACKERS)
BODIES = st.one_of(
    st.binary(max_size=2000),
    st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=9), st.integers(1, 30_000)),
)


def labelled(label: str) -> list[tuple[bytes, bytes]]:
    """Headers with that Content-Encoding."""
    return [(b"content-type", b"application/json"), (b"content-encoding", label.encode())]


@given(packed=PACKED, body=BODIES, cuts=st.lists(st.integers(0, 5000), max_size=6))
@example(packed=PACKERS[0], body=b"a" * STEP, cuts=[])
@example(packed=PACKERS[0], body=b"a" * (3 * STEP + 1), cuts=[1])
def test_what_was_packed_is_read_however_it_arrives(packed: Packer, body: bytes, cuts: list[int]) -> None:
    """Each coding, in one piece or in many: the same bytes come out, in pieces of at most a step."""
    label, pack = packed
    sent = pack(body)
    assert undone(sent, labelled(label), largest=LARGEST) == body
    inflation = Inflation(codings_of(labelled(label)), largest=LARGEST)
    places = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    pieces = [piece for start, end in pairwise(places) for piece in inflation.feed(sent[start:end])]
    inflation.end()
    assert b"".join(pieces) == body
    assert all(len(piece) <= STEP for piece in pieces)


@given(packed=PACKED, body=BODIES, cut=st.integers(1, 8))
def test_what_was_cut_off_is_not_taken_for_whole(packed: Packer, body: bytes, cut: int) -> None:
    """A packed body that lacks its last bytes says so, whatever has come out of it."""
    label, pack = packed
    sent = pack(body)
    with pytest.raises(EncodingError) as refused:
        undone(sent[: max(len(sent) - cut, 0)], labelled(label), largest=LARGEST)
    assert refused.value.code == "body_encoding_broken"


@pytest.mark.parametrize(
    "label", ["utf-8", "UTF-8", "none", "aws-chunked", "identity", "", "lzma", "binary, utf-8"]
)
def test_a_word_that_is_no_coding_leaves_the_body_as_it_is(label: str) -> None:
    """Senders put charsets and the like there: it says nothing about how the bytes are packed."""
    assert undone(b'{"a":1}', labelled(label), largest=LARGEST) == b'{"a":1}'


@pytest.mark.parametrize("label", ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "gzip, gzip"])
@pytest.mark.parametrize("body", [b'{"a":1}', b"[]", b"<html>", b"", b"\xef\xbb\xbf{}", b"hello"], ids=repr)
def test_a_label_over_plain_text_is_found_out(label: str, body: bytes) -> None:
    """A proxy that unpacks and leaves the label: the bytes are not what it says, and do not look so either."""
    with pytest.raises(EncodingError) as refused:
        undone(body, labelled(label), largest=LARGEST)
    assert not refused.value.packed or refused.value.code == "body_encoding_unknown"


def test_size_is_bounded_while_it_unfolds() -> None:
    """What unfolds to more than is allowed is given up at the bound, not when all of it is there."""
    bomb = gzipped(bytes(100 * 1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(EncodingError) as refused:
            undone(bomb, labelled("gzip"), largest=1024 * 1024)
        assert refused.value.code == "body_inflates_too_far"
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert len(undone(gzipped(bytes(LARGEST)), labelled("gzip"), largest=LARGEST)) == LARGEST


def test_ratio_is_bounded_over_all_layers() -> None:
    """Gzip in gzip makes a thousand of a thousand: the ratio of the whole counts, and more layers are not tried."""
    layered = gzipped(gzipped(bytes(64 * 1024 * 1024)))
    assert len(layered) < 1000
    with pytest.raises(EncodingError) as refused:
        undone(layered, labelled("gzip, gzip"), largest=64 * 1024 * 1024)
    assert refused.value.code == "body_inflates_too_far"
    with pytest.raises(EncodingError) as refused:
        undone(gzipped(gzipped(gzipped(gzipped(b"x")))), labelled("gzip, gzip, gzip, gzip"), largest=LARGEST)
    assert refused.value.code == "body_encoding_unknown"


@pytest.mark.parametrize("name", ["brotli", "zstd"])
def test_ratio_is_bounded_where_the_coding_knows_no_end(name: str) -> None:
    """A hundred bytes of br or zstd can stand for a hundred megabytes."""
    found = (
        library("brotli") if name == "brotli" else library("compression.zstd") or library("backports.zstd")
    )
    if found is None:
        pytest.skip("the extra 'encodings' is not installed")
    with pytest.raises(EncodingError) as refused:
        undone(
            found.compress(bytes(50_000_000)), labelled("br" if name == "brotli" else name), largest=1 << 30
        )
    assert refused.value.code == "body_inflates_too_far"


@given(
    packed=st.sampled_from([gzipped, *([_zstd.compress] if (_zstd := library("backports.zstd")) else [])]),
    label=st.sampled_from([None, "identity", "br", "deflate", "gzip, gzip", "compress", "utf-8"]),
    layers=st.integers(1, 2),
    amount=st.integers(0, 3000),
)
def test_a_callback_that_shows_that_it_is_packed_is_read_whatever_its_label(
    packed: Callable[[bytes], bytes], label: str | None, layers: int, amount: int
) -> None:
    """Labels get lost on the way, or are another's; text never begins as gzip or zstd does."""
    plain = b'{"id":"job-1","status":"done","text":"%b"}' % (b"a" * amount)
    body = plain
    for _ in range(layers):
        body = packed(body)
    headers = [(b"content-type", b"application/json")] if label is None else labelled(label)
    document = Document(Message(body=body, headers=headers), Shape(id=("id",)), largest=LARGEST)
    assert document.find("id") == "job-1"
    assert document.cut(".") == plain
    assert looks_packed(body)


def test_what_shows_that_it_is_packed_is_bounded_as_well() -> None:
    """Neither a bomb nor half a file is unfolded because nobody labelled it."""
    assert unpacked(gzipped(bytes(LARGEST + 1)), largest=LARGEST) is None
    assert unpacked(gzipped(b"text")[:-3], largest=LARGEST) is None
    assert unpacked(b"text", largest=LARGEST) is None


@pytest.mark.parametrize("label", ["gzip;q=1.0", "gzip; q=0.5", "gzip;level=9, identity;q=0"])
def test_a_parameter_changes_nothing_about_a_coding(label: str) -> None:
    """Some senders copy Accept-Encoding into Content-Encoding."""
    assert undone(gzipped(b"text"), labelled(label), largest=LARGEST) == b"text"
