"""Answers about a job that nobody can read: asked for again, and then kept as the outcome that they are."""

import pytest
from msgspec.structs import replace

from receiver.core.asking import exchange
from receiver.core.asking.exchange import Gone, HttpResponse, Seen, TryLater
from receiver.core.model import JobState
from tests.core.asking.test_exchange import answer, play
from tests.core.making import LARGEST, NOW, job, packaged


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"id":"r1","status":"COMPLETED","response":{"a":1}', "body_not_json"),
        (b'{"id":"r1","status":"COMPLETED","status":"FAILED"}', "json_repeated_key"),
        (b'{"id":"r1","status":NaN}', "json_number_range"),
        (b"\x1f\x8b\x08 cut", "body_not_utf8"),
        (b"upstream says no", "body_not_json"),
        (b'{"id":"r1","status":"COMPLETED\n"}', "body_not_json"),
    ],
    ids=ascii,
)
def test_an_outcome_that_nobody_can_read_is_asked_for_again_and_then_kept(body: bytes, code: str) -> None:
    """A moment's trouble passes within three answers; what comes three times ends the job, with its bytes."""
    one = job(remote_id="r1", provider="perplexity")
    look = exchange.status(packaged("perplexity"), one, candidate_id=None, largest=LARGEST, now=NOW)
    unreadable = answer(200, body, ((b"content-type", b"application/json; charset=utf-8"),))
    asked, outcome = play(look, unreadable, unreadable, unreadable)
    assert [request.after for request in asked] == [0, 1000, 2000]
    assert isinstance(outcome, Seen)
    seen = outcome.seen
    assert (seen.state, seen.remote_id) == (JobState.FAILED, None)
    assert seen.error is not None
    assert (seen.error.code, code in seen.error.text) == ("result_unreadable", True)
    assert seen.result is not None
    assert (seen.result.content, seen.result.content_type) == (body, "application/json; charset=utf-8")


def test_an_answer_that_becomes_readable_is_taken() -> None:
    """What the second or third answer says counts, whatever it is."""
    one = job(remote_id="r1", provider="perplexity")

    def after(*answers: HttpResponse) -> exchange.Look:
        look = exchange.status(packaged("perplexity"), one, candidate_id=None, largest=LARGEST, now=NOW)
        found = play(look, *answers)[1]
        return replace(found, answer=None) if isinstance(found, TryLater) else found

    odd = answer(200, b"odd")
    assert after(odd, answer(404, b"")) == Gone(status=404)
    assert after(odd, odd, answer(500, b"")) == TryLater(code="status_500")
    assert after(odd, answer(200, b"<html>")) == TryLater(code="body_not_json")
    running = after(odd, odd, answer(200, {"id": "r1", "status": "IN_PROGRESS"}))
    assert isinstance(running, Seen)
    assert running.seen.state is JobState.RUNNING
