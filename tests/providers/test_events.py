"""Which events are about jobs, and what a body is by its Content-Type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.description.shape import About
from receiver.core.errors import UnreadableError
from receiver.core.message import Message
from receiver.core.reading.observation import read

from .making import LARGEST, PROVIDERS
from .test_readings import seen


@pytest.mark.parametrize(
    ("word", "concerns"),
    [
        ("video.asset.ready", True),
        ("video.asset.errored", True),
        ("video.asset.track.ready", False),
        ("video.asset.track.created", False),
        ("video.asset.static_rendition.ready", False),
        ("video.asset.static_renditions.ready", False),
        ("video.asset.master.ready", False),
        ("video.asset.ready.more", False),
        ("video.upload.asset_created", False),
        ("VIDEO.ASSET.READY", False),
        ("", False),
        (None, False),
        (7, False),
        ({}, False),
    ],
)
def test_events_of_other_objects_make_no_jobs_of_muxs_assets(word: object, *, concerns: bool) -> None:
    """Tracks and renditions name themselves where the asset is named: they are kept, and no job."""
    body = {"type": word, "data": {"id": "TRACK1", "asset_id": "ASSET1", "status": "ready"}}
    if concerns:
        assert seen("mux", "event", body).remote_id == "TRACK1"
        return
    with pytest.raises(UnreadableError) as refused:
        seen("mux", "event", body)
    assert refused.value.code == "event_of_no_job"


ABOUT = st.builds(
    lambda words, begins, excludes, absent: About(
        path="type",
        is_=tuple(words),
        begins=tuple(begins),
        excludes=tuple(one + end for one in begins for end in excludes),
        absent=absent,
    ),
    st.lists(st.sampled_from(["a.b", "a.b.c", "x"]), min_size=1, max_size=2),
    st.lists(st.sampled_from(["a.", "b."]), max_size=2),
    st.lists(st.sampled_from(["b.", "c"]), max_size=2),
    st.booleans(),
)


@given(about=ABOUT, word=st.sampled_from(["a.b", "a.b.c", "a.c", "a.d", "b.x", "x", "xy", "", None, 1, True]))
def test_a_word_counts_exactly_or_by_its_beginning_less_exclusions(about: About, word: object) -> None:
    """Exact words count whatever is excluded; a word that is no text never does, and none only where that is said."""
    expected = about.absent if word is None else False
    if isinstance(word, str):
        begins = any(word.startswith(one) for one in about.begins)
        expected = word in about.is_ or (begins and not any(word.startswith(one) for one in about.excludes))
    assert about.concerns(word) is expected


FORM = "application/x-www-form-urlencoded"
JSON_TYPE = "application/json"


@pytest.mark.parametrize(
    ("name", "body", "content_type", "remote_id", "result", "result_type"),
    [
        ("github", "payload=%7B%22zen%22%3A%22x%22%7D", FORM, "d1", b'{"zen":"x"}', JSON_TYPE),
        (
            "github",
            "payload=%7B%22a%22%3A%22%C3%A9+b%22%7D&x=1",
            f"{FORM}; charset=utf-8",
            "d1",
            b'{"a":"\xc3\xa9 b"}',
            JSON_TYPE,
        ),
        ("github", '{"zen":"x"}', JSON_TYPE, "d1", b'{"zen":"x"}', JSON_TYPE),
        ("github", '{"zen":"x"}', None, "d1", b'{"zen":"x"}', JSON_TYPE),
        (
            "slack",
            "payload=%7B%22type%22%3A%22shortcut%22%2C%22trigger_id%22%3A%22t1%22%7D",
            FORM.upper(),
            "t1",
            None,
            JSON_TYPE,
        ),
        (
            "slack",
            "command=%2Fgo&text=caf%E9&trigger_id=t2",
            FORM,
            "t2",
            b"command=%2Fgo&text=caf%E9&trigger_id=t2",
            FORM,
        ),
        ("slack", '{"type":"event_callback","event_id":"e1"}', JSON_TYPE, "e1", None, JSON_TYPE),
    ],
)
def test_what_a_body_is_goes_by_its_content_type(
    name: str, body: str, content_type: str | None, remote_id: str, result: bytes | None, result_type: str
) -> None:
    """JSON, JSON in a field of a form, or the form itself: read as what it is said to be."""
    headers = [(b"x-github-delivery", b"d1")]
    headers += [] if content_type is None else [(b"content-type", content_type.encode())]
    found = read(
        Message(body=body.encode(), headers=headers), PROVIDERS[name].shapes["event"], largest=LARGEST
    )
    assert found.remote_id == remote_id
    assert found.result is not None
    assert found.result.content_type == result_type
    assert result is None or found.result.content == result
