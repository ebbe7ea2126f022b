"""Where the next page is, and all pages as one document: pure functions, no network."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.asking.pages import taken_apart
from receiver.core.description.shape import Shape
from receiver.core.errors import UnreadableError
from receiver.core.message import Message
from receiver.core.reading.observation import read
from receiver.core.reading.pagination import page_of

from ..making import LARGEST

URL = "https://api.acme.example/rows?limit=2&q=a%20b"
KEYS = st.text(min_size=1, max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def shape(**keys: Any) -> Shape:  # noqa: ANN401  (the keys of a shape)
    """A shape whose documents bring ``rows``."""
    return Shape(**{"result": ".", "items": "rows", "next": "next"} | keys)


def next_of(one: Shape, document: object, *, before: int = 0, headers: Any = ()) -> str | None:  # noqa: ANN401
    """Where the page after *document* is."""
    message = Message(body=json.dumps(document).encode(), headers=headers)
    return page_of(message, one, url=URL, number=1, before=before, largest=LARGEST).next_url


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("https://api.acme.example/rows?page=2", "https://api.acme.example/rows?page=2"),
        ("/rows?page=2", "https://api.acme.example/rows?page=2"),
        ("?page=2", "https://api.acme.example/rows?page=2"),
        (None, None),
        ("", None),
        (False, None),
    ],
)
def test_an_address_is_followed_whole_or_relative(written: object, there: str | None) -> None:
    """An address stands as it is, or is one beside that of the page; nothing there means that it is the last."""
    assert next_of(shape(), {"rows": [1], "next": written}) == there


@pytest.mark.parametrize(
    ("keys", "document", "there"),
    [
        (
            {"next": "https://x.example/{id}/{c}"},
            {"rows": [1], "id": "a/b", "c": 7},
            "https://x.example/a%2Fb/7",
        ),
        ({"next": "https://x.example/{id}"}, {"rows": [1]}, None),
        (
            {"next": "?after={last}"},
            {"rows": [1], "last": "é&="},
            f"{URL.replace('%20', '+')}&after=%C3%A9%26%3D",
        ),
        (
            {"next": "?limit=9&after={last}"},
            {"rows": [1], "last": "x"},
            "https://api.acme.example/rows?q=a+b&limit=9&after=x",
        ),
        ({"next": "?after={last}"}, {"rows": [], "last": "x"}, None),
        ({"next": "?after={last}", "more": "more"}, {"rows": [1], "last": "x", "more": False}, None),
        ({"next": "?offset={items_so_far}"}, {"rows": [1, 2]}, f"{URL.replace('%20', '+')}&offset=12"),
        ({"next": "?offset={items_so_far}", "total": "total"}, {"rows": [1, 2], "total": 12}, None),
        (
            {"next": "?offset={items_so_far}", "total": "total"},
            {"rows": [1, 2], "total": 13},
            f"{URL.replace('%20', '+')}&offset=12",
        ),
        ({"items": ".", "next": "?offset={items_so_far}"}, [1, 2, 3], f"{URL.replace('%20', '+')}&offset=13"),
    ],
)
def test_a_template_makes_the_address(keys: dict[str, str], document: object, there: str | None) -> None:
    """Placeholders are paths of the page, or how many items there were; without a value, or items, it is the last."""
    assert next_of(shape(**keys), document, before=10) == there


def test_a_header_may_say_how_many_there_are() -> None:
    """The total may stand beside the body."""
    one = shape(next="?offset={items_so_far}", total="header:x-total")
    assert next_of(one, {"rows": [1]}, headers=((b"x-total", b"1"),)) is None
    assert next_of(one, {"rows": [1]}, headers=((b"x-total", b"2"),)) is not None


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"next": "https://x.example"}, "items_missing"),
        ({"rows": {"a": 1}, "next": "https://x.example"}, "items_missing"),
        ({"rows": [1], "next": ["https://x.example"]}, "url_unreadable"),
        ({"rows": [1], "next": "https://x.example/\x00"}, "url_unreadable"),
        ({"rows": [1], "next": "https://x.example/" + "x" * 9000}, "url_unreadable"),
    ],
)
def test_what_is_no_page_is_refused(document: object, code: str) -> None:
    """A page without its list, and an address that is none, have a code."""
    with pytest.raises(UnreadableError) as refused:
        next_of(shape(), document)
    assert refused.value.code == code


def test_what_is_no_page_and_names_none_is_a_result() -> None:
    """One shape may be that of several operations, of which only some come in pages."""
    seen = read(Message(body=b'{"rows": {"a": 1}}'), shape(), largest=LARGEST)
    assert (seen.goes_on, seen.result is not None) == (False, True)


def test_a_list_that_is_there_twice_is_refused() -> None:
    """Two readers would not agree about it."""
    with pytest.raises(UnreadableError) as refused:
        page_of(Message(body=b'{"rows": [1], "rows": [2]}'), shape(), url=URL, largest=LARGEST)
    assert refused.value.code == "json_repeated_key"


@pytest.mark.parametrize(
    "keys",
    [
        {"next": None},
        {"items": None},
        {"result": "other"},
        {"result": None},
        {"result_url": "url"},
        {"content": "form"},
        {"items": None, "next": None, "more": "more"},
    ],
)
def test_a_shape_of_pages_is_checked(keys: dict[str, Any]) -> None:
    """What does not make sense is refused when the description is read."""
    with pytest.raises(ValueError, match=r"items|next|page"):
        shape(**keys)


def test_a_document_that_goes_on_has_no_result_yet() -> None:
    """Whoever reads the first page only is told that it is no more than that."""
    going_on = read(Message(body=b'{"rows": [1], "next": "https://x.example/2"}'), shape(), largest=LARGEST)
    assert (going_on.goes_on, going_on.result) == (True, None)
    whole = read(Message(body=b'{"rows": [1], "next": null}'), shape(), largest=LARGEST)
    assert whole.goes_on is False
    assert whole.result is not None


@given(
    pages=st.lists(st.lists(VALUES, max_size=3), min_size=1, max_size=4), beside=st.dictionaries(KEYS, VALUES)
)
def test_the_items_of_all_are_in_the_first(pages: list[list[Any]], beside: dict[str, Any]) -> None:
    """Whatever is in them, all items are there, in order, and all else is as on the first page."""
    documents = [dict(beside) | {"a": {"rows": rows}} for rows in pages]
    one = shape(items="a.rows")
    begin, after, parts = b"", b"", []
    for number, document in enumerate(documents):
        text = json.dumps(document, indent=number).encode()
        first, items, last = taken_apart(text, "application/json", one)
        begin, after = (first, last) if number == 0 else (begin, after)
        parts += [items] if items else []
    assert json.loads(begin + b",".join(parts) + after) == documents[0] | {
        "a": {"rows": [row for rows in pages for row in rows]}
    }


@pytest.mark.parametrize(
    ("text", "content_type"),
    [
        ('\ufeff {"rows": ["é"]} '.encode(), "application/json"),
        ('{"rows": ["é"]}'.encode("latin-1"), "application/json; charset=iso-8859-1"),
        ('{"rows": ["é"]}'.encode("utf-16"), "application/json"),
    ],
)
def test_pages_of_other_charsets_are_put_together_as_utf_8(text: bytes, content_type: str) -> None:
    """A byte order mark and another charset do no harm in the middle of a document."""
    assert taken_apart(text, content_type, shape()) == (b'{"rows": [', '"é"'.encode(), b"]}")


def test_odd_json_is_passed_by() -> None:
    """What lies beside and in the items may be what no strict parser reads; the last of two lists counts."""
    text = b'{"x": NaN, "rows": [0], "rows": [Infinity, "\\ud83d"], "y": [[[]]]}'
    assert taken_apart(text, "application/json", shape()) == (
        b'{"x": NaN, "rows": [0], "rows": [',
        b'Infinity, "\\ud83d"',
        b'], "y": [[[]]]}',
    )


def test_the_result_may_be_a_part_of_the_page() -> None:
    """Where the result is the list itself, or what holds it, the rest of the page is left out."""
    text = b'{"meta": 1, "a": {"rows": [1, 2], "n": 2}}'
    assert taken_apart(text, "application/json", shape(result="a.rows", items="a.rows")) == (
        b"[",
        b"1, 2",
        b"]",
    )
    assert taken_apart(text, "application/json", shape(result="a", items="a.rows")) == (
        b'{"rows": [',
        b"1, 2",
        b'], "n": 2}',
    )
