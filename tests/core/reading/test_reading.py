"""Provider bytes → Observation."""

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.catalog import check_samples
from receiver.core.body.jsontext import DEEPEST, parse_json
from receiver.core.description.provider import Rule, Shape
from receiver.core.errors import UnreadableError
from receiver.core.message import Message
from receiver.core.model import JobState, Observation
from receiver.core.reading.observation import WORD_UNLISTED, read
from tests.core.making import LARGEST, SYSTEMS, packaged

SHAPE = Shape(
    id=("id", "data.id"),
    status="status",
    states={"done": JobState.SUCCEEDED, "error": JobState.FAILED, "working": JobState.RUNNING},
    result="result",
    response_url="url",
    error=("reason",),
)


def packed(data: bytes) -> bytes:
    """Gzip without the time: a case's name is its bytes, and every process of one run must give it the same."""
    return gzip.compress(data, mtime=0)


def seen(body: bytes, shape: Shape = SHAPE, query: bytes = b"", **headers: str) -> Observation:
    """What *body* says."""
    fields = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return read(Message(body=body, headers=fields, query=query), shape, largest=LARGEST)


def refusal(body: bytes, shape: Shape = SHAPE, **headers: str) -> str:
    """The code with which *body* is refused."""
    with pytest.raises(UnreadableError) as refused:
        seen(body, shape, b"", **headers)
    return refused.value.code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "body_not_json"),
        (b'{"status": "\xff"}', "body_not_utf8"),
        (b'{"status":"done"', "body_not_json"),
        (b'{"status":"done"} x', "body_not_json"),
        (b"{'status':'done'}", "body_not_json"),
        (b'{"status":"done\n"}', "body_not_json"),
        (b'{"status":"done","status":"error"}', "json_repeated_key"),
        (b'{"status":"done","\\u0073tatus":"error"}', "json_repeated_key"),
        (b'{"status":NaN}', "json_number_range"),
        (b'{"status":-Infinity}', "json_number_range"),
        (b'{"status":"done","id":1e400}', "json_number_range"),
        (b'{"status":"done","id":' + b"9" * 400 + b"}", "json_number_range"),
        (b'{"status":"done","data":{"id":"a","id":"a"}}', "json_repeated_key"),
        (b'{"status":"done","data":{},"data":{"id":"a"}}', "json_repeated_key"),
        (b'{"status":done}', "body_not_json"),
        (b"[" * 100_000, "body_not_json"),
        (b'{"status":"done","x":[}]}', "body_not_json"),
        (b'{"status":"done","x":"}', "body_not_json"),
        (b'{"status":"done" "x":NaN}', "body_not_json"),
        (b'{"x":NaN,"status":"done"} x', "body_not_json"),
        (b'{"x":NaN,"status" "done"}', "body_not_json"),
        (b"[" * 100_000 + b"]" * 100_000, "status_missing"),
        (b'{"x":' * 100_000 + b"1" + b"}" * 100_000, "status_missing"),
        (b'{"id":"a"}', "status_missing"),
        (b'{"status":null}', "status_missing"),
        (b'{"status":true}', "status_missing"),
        (b'{"status":1.5}', "status_missing"),
        (b'{"status":["done"]}', "status_missing"),
        (b'"done"', "status_missing"),
        (b"[]", "status_missing"),
        (b'{"status":""}', "status_unreadable"),
        (b'{"status":"done\\u0000"}', "status_unreadable"),
        (b'{"status":"\\ud800"}', "status_unreadable"),
        (b'{"status":"' + b"a" * 257 + b'"}', "status_unreadable"),
        (b'{"status":"done","id":"\\ud83d"}', "id_unreadable"),
        (b'{"status":"done","id":"a\\u0000b"}', "id_unreadable"),
        (b'{"status":"done","id":"a\\u001b[2Jb"}', "id_unreadable"),
        (b'{"status":"done","id":"a\\u202eb"}', "id_unreadable"),
        (b'{"status":"done","id":""}', "id_unreadable"),
        (b'{"status":"done","id":"."}', "id_unreadable"),
        (b'{"status":"done","id":".."}', "id_unreadable"),
        (b'{"status":"done","id":" "}', "id_unreadable"),
        (b'{"status":"done","id":"\\u00a0\\u2003"}', "id_unreadable"),
        (b'{"status":"done","id":{}}', "id_unreadable"),
        (b'{"status":"done","id":true}', "id_unreadable"),
        (b'{"status":"done","id":1.5}', "id_unreadable"),
        (b'{"status":"done","id":"' + b"a" * 257 + b'"}', "id_unreadable"),
        (b'{"status":"done","id":' + b"9" * 300 + b"}", "id_unreadable"),
        (b'{"status":"done","url":7}', "url_unreadable"),
        (b'{"status":"done","url":"https://a.example/\\r\\nx"}', "url_unreadable"),
        (b'{"status":"done","url":"https://' + b"a" * 2048 + b'"}', "url_unreadable"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_a_hostile_body_is_refused_with_its_reason(body: bytes, code: str) -> None:
    """What two readers could understand differently, or what would break a log or a database, is not read."""
    assert refusal(body) == code


def test_what_callers_of_ours_write_is_read_strictly() -> None:
    """Sixty-four levels pass, whatever stands innermost and however many brackets there are beside them."""
    assert parse_json(b"[" * DEEPEST + b"1" + b"]" * DEEPEST + b" " * 9) is not None
    both = b"[[]," + b"[" * (DEEPEST - 1) + b"1" + b"]" * (DEEPEST - 1) + b"]"
    assert parse_json(both) is not None
    for document, code in (
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), "json_too_deep"),
        (b"[" * 100_000, "json_too_deep"),
        (b'{"a":{"b":1,"b":1}}', "json_repeated_key"),
        (b"[NaN]", "json_number_range"),
        (b"[1e400]", "json_number_range"),
        (b"\xef\xbb\xbf{}", "body_not_json"),
        (b'"\xff"', "body_not_utf8"),
    ):
        with pytest.raises(UnreadableError) as refused:
            parse_json(document)
        assert refused.value.code == code


def test_ids_and_words_may_be_numbers() -> None:
    """An integer id is its own digits; an unknown word means that the job runs, and deserves a warning."""
    observation = seen(b'{"id": 12345678901234567890, "status": 3}')
    assert observation.remote_id == "12345678901234567890"
    assert (observation.state, observation.word) == (JobState.RUNNING, "3")
    assert observation.attention == WORD_UNLISTED
    assert seen(b'{"status": "done", "result": 1}').attention is None


def test_the_first_path_that_says_something_counts() -> None:
    """A missing or null value leaves the word to the next path."""
    assert seen(b'{"id":null,"data":{"id":"b"},"status":"done"}').remote_id == "b"
    assert seen(b'{"id":"a","data":{"id":"b"},"status":"done"}').remote_id == "a"
    assert seen(b'{"data":["b"],"status":"done"}').remote_id is None


@pytest.mark.parametrize(
    ("rule", "body", "state"),
    [
        ({"path": "done", "is": True}, b'{"done":true}', True),
        ({"path": "done", "is": True}, b'{"done":1}', False),
        ({"path": "done", "is": True}, b"{}", False),
        ({"path": "code", "is": 1}, b'{"code":1}', True),
        ({"path": "code", "is": 1}, b'{"code":true}', False),
        ({"path": "done", "not": True}, b"{}", True),
        ({"path": "done", "not": True}, b'{"done":1}', True),
        ({"path": "done", "not": True}, b'{"done":true}', False),
        ({"path": "a.b", "exists": True}, b'{"a":{"b":0}}', True),
        ({"path": "a.b", "exists": True}, b'{"a":{"b":null}}', False),
        ({"path": "a.1", "exists": True}, b'{"a":[0,{}]}', True),
        ({"path": "a.2", "exists": True}, b'{"a":[0,{}]}', False),
        ({"path": "a", "exists": False}, b"{}", True),
        ({"path": "header:X-State", "is": "ready"}, b"{}", True),
        ({"path": "query:state", "is": "ready"}, b"{}", True),
        ({"path": ".", "exists": True}, b"{}", True),
    ],
    ids=ascii,
)
def test_rules_hold_by_type_and_value(rule: dict[str, Any], body: bytes, state: bool) -> None:  # noqa: FBT001
    """One is not true, null is not there, and a header or a query parameter may decide as well."""
    fields = {"is": "is_", "not": "not_"}
    shape = Shape(rules=(Rule(**{fields.get(k, k): v for k, v in rule.items()}, state=JobState.RUNNING),))
    assert (seen(body, shape, query=b"state=ready", x_state="ready").state is not None) is state


@pytest.mark.parametrize(
    ("path", "body", "result"),
    [
        ("result", b'{"status":"done","result":{"a":1}}', b'{"a":1}'),
        ("result", b'{ "status" : "done" , "result" :  { "a" : [ 1 , 2 ] }  }\n', b'{ "a" : [ 1 , 2 ] }'),
        ("result", b'{"status":"done","result":"\\u00e9\\/ \\n"}', b'"\\u00e9\\/ \\n"'),
        ("result", '{"status":"done","result":"é\U0001f600"}'.encode(), '"é\U0001f600"'.encode()),
        ("result", b'{"status":"done","result":1.50e+3}', b"1.50e+3"),
        ("result", b'{"status":"done","result":-0}', b"-0"),
        ("result", b'{"status":"done","result":' + b"7" * 300 + b"}", b"7" * 300),
        ("result", b'{"status":"done","result":false}', b"false"),
        ("result", b'{"status":"done","result":""}', b'""'),
        ("result", b'{"status":"done","result":null}', None),
        ("result", b'{"status":"done"}', None),
        ("result", b'{"a":{"x":1},"status":"done","b":{"x":1},"result":{"x":1}}', b'{"x":1}'),
        ("result", b'{"result\\u0020":0,"status":"done","re\\u0073ult":{"x":1}}', b'{"x":1}'),
        ("out.0.text", b'{"status":"done","out":[ {"text": "hi" } ]}', b'"hi"'),
        ("out.1", b'{"status":"done","out":[1,  [ 2 ] ,3]}', b"[ 2 ]"),
        ("out.9", b'{"status":"done","out":[1]}', None),
        ("out.x", b'{"status":"done","out":[1]}', None),
        ("0", b'{"status":"done","0": "zero"}', b'"zero"'),
        (".", b'  {"status":"done"} \n', b'  {"status":"done"} \n'),
        # Half an emoji, as a text generator leaves behind when it stops in the middle of one.
        ("result", b'{"status":"done","result": {"text":"\\ud83d"} }', b'{"text":"\\ud83d"}'),
        ("result", b'{"x":"\\uD83D","status":"done","result":[ 1 ] , "y":2}', b"[ 1 ]"),
        ("result", b'{"\\ud83d":[],"status":"done","e":{},"result":"x"}', b'"x"'),
        ("out.1.t", b'{"status":"done","a":[],"out":["\\ud83d" , {"s":0, "t" : "\\ud83d"}]}', b'"\\ud83d"'),
        ("out.2", b'{"status":"done","out":["\\ud83d"]}', None),
        ("result", b'{"status":"done","x":"\\ud83d","result":null}', None),
        ("x.y", b'{"status":"done","x":"\\ud83d"}', None),
    ],
    ids=lambda value: ascii(value)[:70],
)
def test_the_result_is_the_exact_slice(path: str, body: bytes, result: bytes | None) -> None:
    """The result is kept as the provider wrote it, byte for byte, and found again in the received bytes."""
    shape = Shape(status="status", states={"done": JobState.SUCCEEDED}, result=path)
    found = seen(body, shape).result
    if result is None:
        assert found is None
        return
    assert found is not None
    assert found.content == result
    assert found.offset is not None
    assert body[found.offset : found.offset + len(result)] == result


@given(
    st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3), st.lists), st.data()
)
def test_any_result_survives(value: object, data: st.DataObject) -> None:
    """Whatever JSON a provider sends, and whatever stands around it, the slice parses to the same value."""
    read_too = {"status", "result", "id", "data", "url", "reason"}
    before = data.draw(
        st.dictionaries(st.text(max_size=4).filter(lambda k: k not in read_too), st.integers())
    )
    ascii_only, indent = data.draw(st.booleans()), data.draw(st.sampled_from([None, 1]))
    surrogate = data.draw(st.booleans())
    document = before | ({"s": "\ud83d"} if surrogate else {}) | {"status": "done", "result": value}
    body = json.dumps(document, ensure_ascii=ascii_only or surrogate, indent=indent).encode()
    found = seen(body).result
    if value is None:
        assert found is None
    else:
        assert found is not None
        assert json.loads(found.content) == value
        assert found.content in body


def test_only_what_the_description_calls_success_is_a_result() -> None:
    """A document that matches none of the rules for success is not taken for one, whatever else it holds."""
    netnut = packaged("netnut").shapes["result"]
    assert seen(b'{"status":"failed","status_code":500,"traceId":"t"}', netnut).result is None
    found = seen(b'{"response":{"a":1},"traceID":"t"}', netnut)
    assert (found.state, found.remote_id) == (JobState.SUCCEEDED, "t")
    assert found.result is not None
    whole = seen(b"\x89PNG", Shape(content="any", result=".", result_type="image/png")).result
    assert whole is not None
    assert (whole.content, whole.offset, whole.content_type) == (b"\x89PNG", 0, "image/png")


def test_a_failure_is_told_in_the_providers_own_words() -> None:
    """Text, or JSON as text; bounded, and fit for any log and database."""
    assert seen(b'{"status":"error","reason":"no\\u0000\\ud800"}').error is not None
    error = seen(b'{"status":"error","reason":"no\\u0000\\ud800"}').error
    assert error is not None
    assert error.text.encode().decode() == "no\N{REPLACEMENT CHARACTER}?"
    error = seen(b'{"status":"error","reason":{"code":7}}').error
    assert error is not None
    assert error.text == '{"code": 7}'
    error = seen(b'{"status":"error","reason":"' + b"x" * 9000 + b'"}').error
    assert error is not None
    assert len(error.text) == 2000
    error = seen(b'{"status":"error"}').error
    assert error is not None
    assert (error.code, error.text) == ("provider_reported", "")
    assert seen(b'{"status":"done","reason":"x"}').error is None


SHAPES = [
    *(shape for name in SYSTEMS for shape in packaged(name).shapes.values()),
    SHAPE,
    *(
        Shape(content=kind, id=("id",), result="a.0", status="a")
        for kind in ("json", "json-string", "form", "query", "any")
    ),
    Shape(content="json-string", id=("query:a", "header:content-encoding"), result="."),
]
BODIES = st.one_of(
    st.binary(max_size=200),
    st.text().map(lambda text: json.dumps(text).encode()),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "status", "result", "a", "error", "response", "done", "job_id"]), inner
            )
        ),
        max_leaves=9,
    ).map(lambda document: json.dumps(document).encode()),
    st.binary(max_size=60).map(packed),
)


@given(
    body=BODIES,
    query=st.binary(max_size=40),
    encoding=st.sampled_from([b"", b"identity", b"gzip", b"deflate", b"br", b"\xff"]),
    shape=st.sampled_from(SHAPES),
)
@example(body=b'"\\ud800"', query=b"", encoding=b"", shape=SHAPES[-1])
@example(body=base64.b64decode("AAA="), query=b"%ff=%00;&", encoding=b"", shape=SHAPES[-2])
def test_reading_returns_or_says_unreadable(body: bytes, query: bytes, encoding: bytes, shape: Shape) -> None:
    """Whatever the bytes, there is an observation or an UnreadableError with a code; nothing else is raised."""
    received = Message(body=body, headers=[(b"content-encoding", encoding)], query=query)
    try:
        found = read(received, shape, largest=1000)
    except UnreadableError as error:
        code = error.code
    else:
        code = "read"
        error_text = None if found.error is None else found.error.text
        for text in (found.remote_id, found.word, found.response_url, found.result_url, error_text):
            assert text is None or "\0" not in text.encode().decode()
    assert code != UnreadableError.code


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_description_reads_its_own_samples(name: str) -> None:
    """The documents that the sources show are read as they are meant."""
    assert packaged(name).samples
    assert check_samples(packaged(name)) == []
