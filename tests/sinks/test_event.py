"""What is sent: CloudEvents, the same bytes in every attempt."""

from __future__ import annotations

import json

import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.core.making import JOB_ID
from tests.sinks.making import PUBLIC, event


def test_a_completion_is_a_cloud_event() -> None:
    """Its attributes say whose completion it is, how it ended and when; its library reads it back."""
    one = event()
    headers = one.headers("ce-")
    read = from_binary(HTTPMessage(headers=headers, body=one.data), JSONFormat())
    assert read.get_id() == one.subject
    assert read.get_source() == "/providers/acme"
    assert read.get_type() == "receiver.job.succeeded.v1"
    assert read.get_subject() == one.subject
    assert read.get_specversion() == "1.0"
    assert read.get_time() is not None
    assert headers["content-type"] == "application/json"


def test_the_result_stands_in_it_as_it_came() -> None:
    """A JSON result is the same bytes inside the document: no number is read and written again."""
    content = b'{"b": 1.10,"a":[1e2, 12345678901234567890123]}'
    assert content in event(content).data
    assert json.loads(event(content).structured())["data"]["result"]["b"] == 1.1


def test_a_result_that_is_no_json_travels_as_it_is() -> None:
    """Bytes keep their own content type; as one document they are base64."""
    one = event(b"\x89PNG...")
    assert one.data == b"\x89PNG..."
    assert one.headers("ce-")["content-type"] == "image/png"
    assert json.loads(one.structured())["data_base64"] == "iVBORy4uLg=="


@pytest.mark.parametrize("odd", [b'{"a": NaN}', b"{broken", b"[" * 5000])
def test_a_result_that_only_looks_like_json_is_bytes(odd: bytes) -> None:
    """What JSON's own readers would refuse never makes the document unreadable."""
    assert event(odd).data == odd


def test_a_large_result_is_linked() -> None:
    """Over the limit the event says where the result is, and carries the job alone."""
    one = event(b'{"x": "%s"}' % (b"x" * 100), largest=50)
    assert one.attributes["dataref"] == f"{PUBLIC}/v1/jobs/{one.subject}/result"
    assert "result" not in msgspec.json.decode(one.data)


def test_a_replay_is_another_event() -> None:
    """A consumer that goes by ids takes a replay for something new, and an attempt for the same."""
    assert event().id == event().id == f"{JOB_ID[:-6]}000000"
    assert event(replay_id="late").id == f"{event().id}:late"


def test_a_callers_word_cannot_leave_its_place() -> None:
    """What a caller wrote into metadata cannot climb a path or split a subject."""
    assert event().fields["metadata.customer"] == "a_b_c"


def test_progress_is_told_as_such() -> None:
    """Another id and type than the end's, so that no broker takes the end for a repetition."""
    told = event(b"", replay_id="running")
    assert told.id == f"{told.subject}:running"
    assert told.attributes["type"] == "receiver.job.running.v1"
    assert told.fields["state"] == "running"


@given(
    metadata=st.text(max_size=30),
    at=st.integers(0, 4_000_000_000_000),
    kind=st.sampled_from([b'{"a": 1}', b"\x89PNG"]),
)
def test_headers_are_those_that_the_cloudevents_package_writes(metadata: str, at: int, kind: bytes) -> None:
    """Whatever stands in an attribute: what no header may hold is percent-encoded."""
    made = event(kind)
    one = replace(made, at=at, attributes=made.attributes | {"source": f"/providers/{metadata}"})
    theirs = to_binary(one.cloud_event(), JSONFormat()).headers
    ours = one.headers("ce-")
    assert ours == theirs
