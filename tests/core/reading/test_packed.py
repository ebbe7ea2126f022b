"""Bodies that are no plain JSON: compressed, a form, a query, or JSON inside of JSON."""

import json
import tracemalloc
import zlib

import pytest

from receiver.core.charset import in_utf8
from receiver.core.description.provider import Shape
from receiver.core.model import JobState
from tests.core.making import LARGEST

from .test_reading import packed, refusal, seen

BODY = b'{"status":"done","result":{"a":1}}'


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", packed(BODY)),
        ("x-gzip", packed(BODY)),
        (" GZIP ", packed(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("gzip, gzip", packed(packed(BODY))),
        ("gzip", packed(BODY[:9]) + packed(BODY[9:])),
        ("gzip, utf-8", packed(BODY)),
        ("identity", BODY),
        ("", BODY),
        ("gzip", BODY),
        ("br", BODY),
        ("utf-8", BODY),
        ("none", BODY),
    ],
)
def test_a_compressed_body_is_read(encoding: str, body: bytes) -> None:
    """Its result is copied out, because the received bytes do not hold it as it is."""
    result = seen(body, content_encoding=encoding).result
    assert result is not None
    assert result.content == b'{"a":1}'
    assert (result.offset is None) is (body != BODY)


@pytest.mark.parametrize(
    ("encoding", "body", "code"),
    [
        ("compress", b"\x1f\x9d" + BODY, "body_encoding_unknown"),
        ("lzma", b"\x5d" + BODY, "body_encoding_unknown"),
        ("gzip", BODY[:-1], "body_encoding_broken"),
        ("gzip", b"", "body_encoding_broken"),
        ("gzip", packed(BODY)[:-1], "body_encoding_broken"),
        ("gzip", packed(BODY)[:-9], "body_encoding_broken"),
        ("gzip", packed(BODY) + b"tail", "body_encoding_broken"),
        ("gzip", packed(BODY)[:-8] + bytes(8), "body_encoding_broken"),
        ("deflate", zlib.compress(BODY)[:-1], "body_encoding_broken"),
        ("gzip", packed(b" " * (LARGEST + 1)), "body_inflates_too_far"),
        ("gzip", packed(b" " * LARGEST), "body_not_json"),
    ],
)
def test_a_badly_compressed_body_is_refused(encoding: str, body: bytes, code: str) -> None:
    """Cut, with a tail, of another encoding, or too large once decompressed: each says which it is."""
    assert refusal(body, content_encoding=encoding) == code


def test_a_bomb_costs_no_more_than_the_limit() -> None:
    """A hundred megabytes of nothing are not unpacked to find that they are too many."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(bytes(1024 * 1024)) for _ in range(100)) + deflater.flush()
    tracemalloc.start()
    try:
        assert refusal(bomb, content_encoding="gzip") == "body_inflates_too_far"
        assert tracemalloc.get_traced_memory()[1] < 4 * LARGEST
    finally:
        tracemalloc.stop()


def test_forms_and_queries_are_read() -> None:
    """A provider may send a form, or everything in the query string."""
    form = Shape(content="form", id=("id",), status="status", states={"done": JobState.SUCCEEDED})
    found = seen(b"id=a%20b&status=done&empty=", form)
    assert (found.remote_id, found.state) == ("a b", JobState.SUCCEEDED)
    query = Shape(content="query", id=("id",), status="status", states={"done": JobState.SUCCEEDED})
    assert seen(b"ignored", query, query=b"id=7&status=done").remote_id == "7"
    beside = Shape(id=("header:X-Id", "query:id"))
    assert seen(b"{}", beside, query=b"id=q", x_id="h").remote_id == "h"
    assert seen(b"{}", beside, query=b"id=q").remote_id == "q"
    assert seen(b"{}", beside, query=b"\xff").remote_id is None


@pytest.mark.parametrize(
    ("charset", "value"),
    [
        ("iso-8859-1", "%E9"),
        ("windows-1252", "%E9"),
        ("gb18030", "%A8%A6"),
        ("iso-8859-1", "%C3%A9"),
        ("x", "%C3%A9"),
    ],
)
def test_a_form_is_read_in_the_charset_that_it_declares(charset: str, value: str) -> None:
    """Its fields, and the JSON in one of them; what is UTF-8 is UTF-8, whatever is declared."""
    kind = f"application/x-www-form-urlencoded; charset={charset}"
    fields = Shape(content="form", id=("id",))
    assert seen(f"id=r{value}".encode(), fields, content_type=kind).remote_id == "ré"
    inside = Shape(content="form-json", field="payload", id=("id",), result="text")
    found = seen(
        f"payload=%7B%22id%22:%22r{value}%22,%22text%22:%22{value}%22%7D".encode(), inside, content_type=kind
    )
    assert found.remote_id == "ré"
    assert found.result is not None
    assert in_utf8(found.result.content, found.result.content_type) == '"é"'.encode()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\xff", "body_not_form"),
        (b"status=done&id=%ff", "body_not_form"),
        (b"&".join(b"a%d=1" % n for n in range(1001)), "body_not_form"),
        (b"status=done&status=error", "json_repeated_key"),
        (b"status=done&id=%00", "id_unreadable"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_broken_form_is_refused(body: bytes, code: str) -> None:
    """Not UTF-8, too many fields, or one field twice."""
    assert refusal(body, Shape(content="form", id=("id",), status="status")) == code


def test_json_inside_a_json_string_is_read() -> None:
    """Some senders encode their document twice; both layers are held to the same rules."""
    shape = Shape(
        content="json-string",
        id=("id",),
        result="result",
        states={"done": JobState.SUCCEEDED},
        status="status",
    )
    inner = '{"id":"a","status":"done","result":{"é":1}}'
    found = seen(json.dumps(inner).encode(), shape)
    assert found.remote_id == "a"
    assert found.result is not None
    assert (found.result.content, found.result.offset) == ('{"é":1}'.encode(), None)
    assert seen(inner.encode(), shape).remote_id == "a"
    assert refusal(b'"{"', shape) == "body_not_json"
    assert refusal(json.dumps("\ud800").encode(), shape) == "body_not_utf8"
    assert refusal(json.dumps('{"status":1,"status":2}').encode(), shape) == "json_repeated_key"
