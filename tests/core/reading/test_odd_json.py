"""Documents that are no strict JSON: what decides is read as ever, and the result is the same bytes."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from receiver.core.body.fields import Fields
from receiver.core.body.members import Json
from receiver.core.description.provider import Shape
from receiver.core.errors import UnreadableError
from receiver.core.message import Message
from receiver.core.model import JobState, Observation
from receiver.core.reading.observation import read
from tests.core.making import LARGEST

SHAPE = Shape(
    id=("data.id", "id"),
    status="data.status",
    states={"done": JobState.SUCCEEDED, "error": JobState.FAILED},
    result="data.result",
    response_url="url",
    error=("data.reason",),
)
#: Values that a strict parser refuses, or not every parser reads alike, as they have been seen in answers.
ODD = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"-1e400",
    b"9" * 400,
    b"01",
    b"+1",
    b".5",
    b"1.",
    b"0x1F",
    b"True",
    b"None",
    b"undefined",
    b'{"a":1,"a":2}',
    b'{"a":1,"\\u0061":2}',
    b"[" * 65 + b"]" * 65,
    b'{"a":' * 3000 + b"NaN" + b"}" * 3000,
    b'"\\ud83d"',
    b'"a\nb\tc\x00"',
    b'"caf\xe9 \xff"',
    b'"\\x"',
    b'{"\xff":1}',
    b"[1,]",
    b'{"a":NaN,}',
    b'[{"status":"error","id":"other"},NaN]',
    b'"{\\"status\\":\\"error\\"} \\\\"',
]
WHERE = ("before", "between", "after", "inside data", "in the result", "the result itself")
PLAIN = b'{"text":"paid for","n":[1,2.50,{"id":"inner","status":"error"}]}'


def seen(body: bytes, shape: Shape = SHAPE, **headers: str) -> Observation:
    """What *body* says."""
    fields = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return read(Message(body=body, headers=fields), shape, largest=LARGEST)


def document(odd: bytes, where: str, blank: bytes = b"") -> tuple[bytes, bytes]:
    """A document with *odd* at one place of it; also its result's bytes."""
    result = {"in the result": b'{"text":"paid for","odd":' + odd + b"}", "the result itself": odd}.get(
        where, PLAIN
    )
    inside = [b'"id":"r1"', b'"status":"done"', b'"result":%b%b' % (blank, result)]
    if where == "inside data":
        inside.insert(1, b'"odd":' + odd)
    members = [b'"url":"https://a.example/r1"', b'"data":{%b}' % (b"," + blank).join(inside)]
    place = {"before": 0, "between": 1, "after": 2}.get(where)
    if place is not None:
        members.insert(place, b'"odd":' + odd)
    return blank + b"{" + blank + (b" ," + blank).join(members) + blank + b"}" + blank, result


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: ascii(odd)[:30])
def test_an_odd_value_anywhere_leaves_what_decides_as_it_is(odd: bytes, where: str) -> None:
    """The id, the state and the address are those of the strict document; the result is a slice, byte for byte."""
    body, result = document(odd, where)
    found = seen(body)
    assert (found.remote_id, found.state, found.response_url) == (
        "r1",
        JobState.SUCCEEDED,
        "https://a.example/r1",
    )
    assert found.result is not None
    assert found.result.content == result
    assert found.result.offset is not None
    assert body[found.result.offset :][: len(result)] == result


JSON = st.recursive(
    st.sampled_from([odd.decode("latin-1") for odd in ODD])
    | st.none().map(json.dumps)
    | st.integers().map(json.dumps)
    | st.floats().map(json.dumps)
    | st.text(max_size=6).map(json.dumps)
    | st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
        | st.dictionaries(st.sampled_from(["id", "status", "result", "data", "x"]), inner, max_size=3).map(
            lambda members: (
                "{" + ",".join(f"{json.dumps(name)}: {value}" for name, value in members.items()) + "}"
            )
        )
    ),
    max_leaves=8,
)


@given(odd=JSON, where=st.sampled_from(WHERE), blank=st.sampled_from([b"", b" ", b"\r\n\t"]))
def test_any_odd_document_leaves_what_decides_as_it_is(odd: str, where: str, blank: bytes) -> None:
    """Odd values inside one another, with and without space: nothing of it changes what is read."""
    value = odd.encode("utf-8", "surrogatepass")
    body, result = document(value, where, blank)
    found = seen(body)
    assert (found.remote_id, found.state, found.response_url) == (
        "r1",
        JobState.SUCCEEDED,
        "https://a.example/r1",
    )
    if result.strip() != b"null":
        assert found.result is not None
        assert found.result.content == result


STRICT = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c d", "é", '"', "\\", "0"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def at(value: Any, keys: Sequence[str]) -> Any:  # noqa: ANN401
    """The value that the keys lead to in a parsed document; ``None`` where there is none."""
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


@given(
    value=STRICT,
    keys=st.lists(st.sampled_from(["a", "b", "c d", "é", '"', "\\", "0", "1"]), min_size=1, max_size=3).map(
        tuple
    ),
    escaped=st.booleans(),
    odd=st.booleans(),
)
@example(value={"a": {"a": 1}}, keys=("a", "a"), escaped=False, odd=True)
def test_values_are_those_of_a_strict_parser(
    value: object, keys: tuple[str, ...], *, escaped: bool, odd: bool
) -> None:
    """Both ways into a document, the fast one and the one past odd values, find what json.loads finds."""
    text = json.dumps({"root": value}, ensure_ascii=escaped)
    if odd:
        text = text[:-1] + ', "odd": NaN}'
    found = Json(text.encode())
    expected = at(value, keys)
    actual = found.find(("root", *keys))
    if isinstance(actual, bytes):
        actual = json.loads(actual)
    assert (actual, type(actual)) == (expected, type(expected))
    cut = found.cut(("root", *keys))
    assert (None if cut is None else json.loads(cut)) == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":{"id":"r1","status":"done","status":"error"}}',
        b'{"data":{"id":"r1","status":"error","\\u0073tatus":"done"}}',
        b'{"data":{"id":"r1","stat\\u0075s":"error","status":"done","x":NaN}}',
        b'{"data":{"id":"r1"},"data":{"id":"r1","status":"done"}}',
        b'{"data":{"id":"r1","status":"done"},"d\\u0061ta":{"id":"r1","status":"done"}}',
        b'{"data":{"id":"a","id":"b","status":"done"}}',
        b'{"data":{"id":"a","status":"done"},"url":"https://a.example","url":"https://b.example"}',
        b'{"data":{"id":"a","status":"done"},"url":NaN,"url":"https://b.example","y":NaN}',
    ],
    ids=ascii,
)
def test_a_key_that_decides_is_there_once(body: bytes) -> None:
    """However it is written, and wherever on the way: two readers may disagree, so neither is believed."""
    with pytest.raises(UnreadableError) as refused:
        seen(body)
    assert refused.value.code == "json_repeated_key"


#: Keys as they may be written, and what may stand between the parts of a document.
WRITTEN = ['"id"', '"\\u0069d"', '"i\\u0064"', '"ID"', '"é"', '"\\u00e9"', '"a b"', '""', '"status"']
VALUES = ["0", '"id"', '"\\"id\\":"', "[]", '{"id":1}', "NaN", "null", '"é"']


@given(
    members=st.lists(st.tuples(st.sampled_from(WRITTEN), st.sampled_from(VALUES)), max_size=6),
    blank=st.sampled_from(["", " ", "\n\t  "]),
    nested=st.booleans(),
)
@example(members=[('"id"', "0"), ('"id"', "0")], blank="", nested=False)
def test_a_key_that_decides_is_refused_just_where_it_is_repeated(
    members: list[tuple[str, str]], blank: str, *, nested: bool
) -> None:
    """Wherever there are blanks, however keys are written and whatever stands beside them."""
    inside = f"{blank},{blank}".join(f"{key}{blank}:{blank}{value}" for key, value in members)
    text = f"{{{blank}{inside}{blank}}}"
    found = Json((f'{{"in":{blank}{text}}}' if nested else text).encode())
    above = ("in",) if nested else ()
    keys = [json.loads(key) for key, _ in members]
    values = dict(zip(keys, (value for _, value in members), strict=True))
    for key in set(keys):
        if keys.count(key) > 1 or values[key] == "NaN":
            with pytest.raises(UnreadableError) as refused:
                found.find((*above, key))
            assert (refused.value.code == "json_repeated_key") == (keys.count(key) > 1)
        else:
            wanted = json.loads(values[key])
            assert found.find((*above, key)) == (
                values[key].encode() if isinstance(wanted, (list, dict)) else wanted
            )


def test_of_a_result_that_is_there_twice_the_last_counts() -> None:
    """It decides nothing, and most readers take the last."""
    found = seen(b'{"data":{"status":"done","result":1,"result":2}}').result
    assert found is not None
    assert found.content == b"2"


def test_the_words_of_a_failure_may_be_odd() -> None:
    """They are for people: whatever they are written as, they are told."""
    for reason, text in (
        (b'"caf\xe9"', '"caf\N{REPLACEMENT CHARACTER}"'),
        (b'{"x":NaN}', '{"x":NaN}'),
        (b"NaN", "NaN"),
    ):
        error = seen(b'{"data":{"status":"error","reason":' + reason + b"}}").error
        assert error is not None
        assert error.text == text


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\xef\xbb\xbf%b", {}),
        (b"\xef\xbb\xbf\xef\xbb\xbf%b", {}),
        ("\N{ZERO WIDTH NO-BREAK SPACE}%b".encode("utf-16-le"), {}),
        ("utf-16", {}),
        ("utf-16-le", {}),
        ("utf-16-be", {"content_type": "application/json; charset=utf-16be"}),
        ("utf-32", {}),
        ("latin-1", {"content_type": "application/json;charset=ISO-8859-1"}),
        ("cp1252", {"content_type": 'application/json; charset="windows-1252"'}),
        ("shift_jis", {"content_type": "application/json; charset=Shift_JIS"}),
        ("gb18030", {"content_type": "application/json; charset=gb18030"}),
        ("utf-8", {"content_type": "application/json; charset=latin1"}),
        ("utf-8", {"content_type": "application/json; charset=nonsense"}),
        ("utf-8", {"content_type": "application/json; charset=utf-16"}),
        ("utf-8-sig", {"content_type": "application/json; charset=utf-16"}),
        ("utf-16-be", {"content_type": "application/json; charset=utf-16le"}),
        ("utf-16-le", {"content_type": "application/json; charset=gb18030"}),
        ("ascii", {"content_type": "application/json; charset=us-ascii"}),
    ],
    ids=ascii,
)
def test_marks_are_passed_over_and_charsets_honoured(body: bytes | str, headers: dict[str, str]) -> None:
    """A byte order mark, UTF-16 with and without, a declared charset, also one that is not what was sent."""
    name = {
        "latin-1": "r\N{LATIN SMALL LETTER E WITH ACUTE}1",
        "cp1252": "r\N{EURO SIGN}1",
        "shift_jis": "r\u8868",
    }
    remote_id = name.get(body, "r1") if isinstance(body, str) else "r1"
    text = f'{{"data":{{"id":"{remote_id}","status":"done","result":{{"a":1}}}}}}'
    if isinstance(body, bytes):
        sent = (
            body.decode("utf-16-le").replace("%b", text).encode("utf-16-le")
            if b"%\0" in body
            else body % text.encode()
        )
    else:
        sent = text.encode(body)
    found = seen(sent, SHAPE, **headers)
    assert (found.remote_id, found.state) == (remote_id, JobState.SUCCEEDED)
    assert found.result is not None
    assert found.result.content == b'{"a":1}'


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("charset", ["", "; charset=utf-8"])
@pytest.mark.parametrize("parts", [False, True])
def test_json_in_a_form_is_read_in_either_spelling_of_a_form(mark: str, charset: str, *, parts: bool) -> None:
    """With a byte order mark of its own, too."""
    text = f'{mark}{{"data":{{"id":"r\u00e9","status":"done","result":1}}}}'
    body, kind = urlencode({"payload": text}).encode(), f"application/x-www-form-urlencoded{charset}"
    if parts:
        head = '--a\r\nContent-Disposition: form-data; name="payload"\r\n\r\n'
        body, kind = f"{head}{text}\r\n--a--\r\n".encode(), f"multipart/form-data; boundary=a{charset}"
    shape = replace(SHAPE, content_types={"application/x-www-form-urlencoded": "form-json"}, field="payload")
    found = seen(body, shape, content_type=kind)
    assert (found.remote_id, found.state) == ("r\u00e9", JobState.SUCCEEDED)


@given(
    words=st.lists(st.text('é\\"{}:,&=%\u3042\U0001f600ab', max_size=12), max_size=5),
    forged=st.sampled_from(
        ["&payload=%7B%22id%22:%22forged%22,%22status%22:%22error%22%7D&", "&id=forged&status=error&", ""]
    ),
    said=st.sampled_from(
        [
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded; charset=gb18030",
            "multipart/form-data; boundary=a",
            *(
                f"application/json; charset={name}"
                for name in (
                    "gbk",
                    "gb18030",
                    "shift_jis",
                    "big5",
                    "euc-kr",
                    "latin-1",
                    "utf-16",
                    "utf-32",
                    "utf-7",
                )
            ),
        ]
    ),
    blank=st.sampled_from(["", " \n", "\ufeff"]),
)
def test_no_header_makes_a_genuine_document_say_anything_else(
    words: list[str], forged: str, said: str, blank: str
) -> None:
    """Content-Type is not signed: whoever passes a genuine body on cannot choose what it is read as."""
    shape = Shape(
        id=("id",),
        status="status",
        states=SHAPE.states,
        result=".",
        content_types={"application/x-www-form-urlencoded": "form-json"},
        field="payload",
    )
    document = {"id": "r1", "words": words, "forged": forged, "status": "done"}
    body = (blank + json.dumps(document, ensure_ascii=False)).encode()
    found = seen(body, shape, content_type=said)
    assert (found.remote_id, found.state) == ("r1", JobState.SUCCEEDED)


def test_the_whole_document_stays_as_it_was_sent() -> None:
    """A result that is all of the document has its mark and its charset still."""
    shape = Shape(id=("id",), result=".")
    for sent in (b'\xef\xbb\xbf{"id":"a"}', '{"id":"a"}'.encode("utf-16"), b'{"id":"a","x":"\xe9"}'):
        found = seen(sent, shape)
        assert found.remote_id == "a"
        assert found.result is not None
        assert (found.result.content, found.result.offset) == (sent, 0)


@given(
    pairs=st.lists(st.tuples(st.sampled_from(["id", "status", "x", "é"]), st.binary(max_size=6)), max_size=8),
)
def test_of_a_form_only_what_decides_must_be_text(pairs: list[tuple[str, bytes]]) -> None:
    """Other fields may be in any charset, empty, or there as often as they like."""
    from urllib.parse import quote_from_bytes  # noqa: PLC0415

    form = "&".join(
        f"{quote_from_bytes(name.encode())}={quote_from_bytes(value)}" for name, value in pairs
    ).encode()
    values = [value for name, value in pairs if name == "id"]
    try:
        expected: str | None = values[0].decode() if values else None
    except UnicodeDecodeError:
        expected = "refused"
    try:
        found: str | None = Fields(form).find(("id",))
    except UnreadableError:
        found = "refused"
    assert found == ("refused" if len(values) > 1 else expected)
