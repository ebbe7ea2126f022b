"""What a callback may do to its job."""

import gzip
import hashlib
import hmac
import json
from typing import Any

import pytest
from msgspec.structs import replace

from receiver.core.description.provider import Provider
from receiver.core.errors import KeyUnavailableError, RejectionError
from receiver.core.job.admission import MOST_KEPT, Admission, Examined, admit, examine, terms_for
from receiver.core.message import Message
from receiver.core.model import DAY, HOUR, Delivery, Job, JobState, Source, Verdict
from receiver.core.signature.keyform import load_key
from tests.core.making import LARGEST, NOW, SIGNED, acme, job, packaged

SECRET = "a secret of sixteen bytes or more"
NOTIFIES = {"callback": {"where": "body", "path": "callback_url", "delivers": "notification"}}


def message(body: bytes, **headers: str) -> Message:
    """A callback as it arrives."""
    fields = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Message(body=body, headers=fields)


def taken(
    provider: Provider, document: object, job: Job, *, forged: bool = False, **headers: str
) -> Admission:
    """What becomes of *document*, signed if the provider signs, and of *job*."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return admit(job, examined(provider, body, forged=forged, **headers), callback_id="cb_1", now=NOW)


def examined(provider: Provider, body: bytes, *, forged: bool = False, **headers: str) -> Examined:
    """*body*, proved and read."""
    keys = []
    if provider.signed:
        assert provider.verify is not None
        keys = [load_key("k", SECRET, scheme=provider.verify)]
        secret = b"another" if forged else SECRET.encode()
        headers["x_signature"] = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return examine(message(body, **headers), provider=provider, keys=keys, now=NOW, largest=LARGEST)


LIES: list[dict[str, Any]] = [
    {"id": "r1", "status": "done", "result": {"lie": True}},
    {"id": "r1", "status": "error", "reason": "a lie"},
    {"id": "r1", "response_url": "https://api.acme.example/other"},
    {"id": "r1", "response_url": "https://evil.example/"},
    {"id": "another"},
    {},
]


@pytest.mark.parametrize("lie", LIES, ids=json.dumps)
@pytest.mark.parametrize("state", [s for s in JobState if not s.ended])
def test_a_wake_up_is_believed_no_further_than_that_it_is_time_to_look(
    lie: dict[str, Any], state: JobState
) -> None:
    """Neither its status nor its address nor its id reaches the job; only a look is asked for."""
    before = job(
        state=state, delivery=Delivery.NOTIFICATION, succeeded_at=NOW if state == "fetching" else None
    )
    got = taken(acme(**NOTIFIES), lie, before)
    assert got.verdict is Verdict.ACCEPTED
    assert got.move is not None
    assert got.move.job == Job(
        **{n: getattr(before, n) for n in before.__struct_fields__} | {"woken_by": "cb_1"}
    )
    assert (got.move.completed, got.move.look_now, got.move.result_url) == (False, True, None)
    assert got.candidate_id == lie.get("id")
    assert got.fetch_refused is ("evil" in str(lie))


def test_an_id_in_a_wake_up_is_a_candidate_only_where_none_is_known() -> None:
    """With the submit answer stored, a wake-up's id is at most a contradiction."""
    known = job(delivery=Delivery.NOTIFICATION, remote_id="r1")
    assert taken(acme(**NOTIFIES), {"id": "r1"}, known).candidate_id is None
    got = taken(acme(**NOTIFIES), {"id": "r2"}, known)
    assert (got.verdict, got.code, got.candidate_id) == (Verdict.UNREADABLE, "job_id_mismatch", None)
    assert got.move is not None
    assert (got.move.look_now, got.move.job.remote_id) == (True, "r1")


def test_a_wake_up_with_another_address_than_the_known_one_is_noted() -> None:
    """The address that we know is asked; the other one is refused, even on a listed origin."""
    known = job(delivery=Delivery.NOTIFICATION, response_url="https://api.acme.example/jobs/1")
    elsewhere = {"response_url": "https://api.acme.example/jobs/2"}
    assert taken(acme(**NOTIFIES), elsewhere, known).fetch_refused
    assert not taken(acme(**NOTIFIES), {"response_url": known.response_url}, known).fetch_refused


def test_a_second_wake_up_is_a_duplicate() -> None:
    """Until the look is done, further wake-ups change nothing."""
    waiting = job(delivery=Delivery.NOTIFICATION, woken_by="cb_0")
    got = taken(acme(**NOTIFIES), {}, waiting)
    assert (got.verdict, got.code) == (Verdict.DUPLICATE, "look_pending")


def test_a_signed_notification_without_a_status_leads_to_a_look() -> None:
    """It is genuine but carries no outcome: its id is known, the outcome comes from the poll."""
    provider = acme(**SIGNED, **NOTIFIES)
    got = taken(provider, {"id": "r1"}, job(delivery=Delivery.NOTIFICATION))
    assert got.move is not None
    assert (got.move.look_now, got.move.completed, got.move.job.remote_id) == (True, False, "r1")
    assert got.candidate_id is None


def test_a_signed_result_is_believed() -> None:
    """An authenticated outcome with its result ends the job, and the result is where it arrived."""
    body = b'{"id": "r1", "status": "done", "result": {"a": 1}}'
    got = taken(acme(**SIGNED), body, job())
    assert got.verdict is Verdict.ACCEPTED
    assert got.move is not None
    assert (got.move.job.state, got.move.completed) == (JobState.SUCCEEDED, True)
    held = got.move.job.held
    assert held is not None
    assert (held.callback_id, body[held.offset :][: held.size]) == ("cb_1", b'{"a": 1}')
    assert held.sha256 == hashlib.sha256(b'{"a": 1}').hexdigest()
    assert got.content is None


def test_a_compressed_result_is_copied_out() -> None:
    """Where the received bytes do not hold the result as it is, it is stored apart."""
    body = gzip.compress(b'{"status": "done", "result": {"a": 1}}')
    got = taken(acme(**SIGNED), body, job(), content_encoding="gzip")
    assert got.content == b'{"a": 1}'
    assert got.move is not None
    assert got.move.job.held is not None
    assert got.move.job.held.callback_id is None


def test_a_result_is_believed_unsigned_where_the_provider_posts_results() -> None:
    """Which it is, is decided by the mode in which the job was submitted."""
    netnut = packaged("netnut")
    document = {"traceID": "t", "response": {"text": "x"}}
    got = taken(netnut, document, job(delivery=Delivery.RESULT))
    assert got.move is not None
    assert got.move.job.state is JobState.SUCCEEDED
    woken = taken(netnut, document, job(delivery=Delivery.NOTIFICATION))
    assert woken.move is not None
    assert (woken.move.completed, woken.move.look_now) == (False, True)


@pytest.mark.parametrize(
    "document",
    [{}, {"status": "failed", "traceId": "t", "status_code": 500}, {"traceId": "t", "status": "processing"}],
    ids=json.dumps,
)
def test_what_is_not_the_described_result_is_no_success(document: object) -> None:
    """A body that does not look like the described result is kept as unreadable; no handler gets it for one."""
    got = taken(packaged("netnut"), document, job(delivery=Delivery.RESULT))
    assert (got.verdict, got.code) == (Verdict.UNREADABLE, "status_missing")
    assert got.move is not None
    assert (got.move.completed, got.move.look_now) == (False, True)


def test_a_shape_without_any_state_is_the_result() -> None:
    """Where the description names neither status nor rule, the posted body is the outcome."""
    provider = acme(shapes={"answer": {"id": ["id"]}, "result": {"content": "any", "result": "."}})
    got = taken(provider, b"\x00\xff", job())
    assert got.move is not None
    assert got.move.job.state is JobState.SUCCEEDED


def test_each_reading_has_its_own_digest() -> None:
    """The stored digest is that of the result which the job's mode finds in the body."""
    callback = {
        "where": "body",
        "path": "callback_url",
        "delivers": "notification",
        "delivers_when": [{"path": "sync", "is": True, "delivers": "result"}],
    }
    shapes = {
        "answer": {"id": ["id"]},
        "notification": {"result": "short"},
        "result": {"status": "status", "states": {"done": "succeeded"}, "result": "result"},
    }
    provider = acme(**SIGNED, callback=callback, shapes=shapes)
    got = taken(provider, b'{"status":"done","short":1,"result":"whole"}', job())
    assert got.move is not None
    assert got.move.job.held is not None
    assert got.move.job.held.sha256 == hashlib.sha256(b'"whole"').hexdigest()


@pytest.mark.parametrize("name", ["response_url", "result_url", "cancel_url"])
@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "http://api.acme.example/x",
        "https://api.acme.example.evil.example/x",
        "https://api.acme.example@evil.example/x",
        "https://api.acme.example:444/x",
        "https://169.254.169.254/x",
        "file:///etc/passwd",
        "//api.acme.example/x",
        "api.acme.example/x",
    ],
)
def test_an_address_outside_the_listed_origins_is_not_followed(name: str, url: str) -> None:
    """Even a signed callback cannot send us elsewhere, whichever address it names beside good ones."""
    good = dict.fromkeys(("response_url", "result_url", "cancel_url"), "https://api.acme.example/x")
    got = taken(acme(**SIGNED), {"status": "done", **good, name: url}, job())
    assert got.fetch_refused
    assert got.move is not None
    assert (got.move.job.state, got.move.look_now, got.move.result_url) == (JobState.FETCHING, True, None)
    assert (got.move.job.response_url, got.move.job.cancel_url) == (None, None)
    listed = taken(acme(**SIGNED), {"status": "done", **good}, job())
    assert not listed.fetch_refused
    assert listed.move is not None
    assert listed.move.result_url == good["result_url"]


UNREAD = [
    (b"", "body_not_json"),
    (b"thanks", "body_not_json"),
    (b"<html>", "body_not_json"),
    (b"a=1&b=2", "body_not_json"),
    (b'{"status":NaN}', "json_number_range"),
    (b'{"status":"done","id":"other"}', "job_id_mismatch"),
    (b'{"result":1}', "status_missing"),
    (b"[" * 100_000, "body_not_json"),
]


@pytest.mark.parametrize(("body", "code"), UNREAD, ids=lambda value: ascii(value)[:30])
@pytest.mark.parametrize("signed", [SIGNED, {}], ids=["signed", "token"])
@pytest.mark.parametrize("delivery", [Delivery.RESULT, Delivery.NOTIFICATION])
def test_a_callback_that_cannot_be_read_is_a_reason_to_ask(
    body: bytes, code: str, signed: dict[str, Any], delivery: Delivery
) -> None:
    """It is kept with the reason and starts one look; what it says reaches the job in no other way."""
    provider = acme(**signed, **(NOTIFIES if delivery is Delivery.NOTIFICATION else {}))
    before = job(remote_id="r1", delivery=delivery)
    got = taken(provider, body, before)
    if delivery is Delivery.NOTIFICATION and got.code is None:
        assert got.verdict is Verdict.ACCEPTED  # a notification needs no status
    else:
        assert (got.verdict, got.code) == (Verdict.UNREADABLE, code)
    assert got.move is not None
    assert (got.move.look_now, got.move.completed) == (True, False)
    assert got.move.job == replace(before, woken_by="cb_1")
    again = taken(provider, body, got.move.job)
    assert again.move is not None
    assert again.move.note == "look_pending"
    tired = taken(provider, body, replace(before, callbacks=MOST_KEPT))
    assert tired.move is not None
    assert not tired.move.look_now
    assert tired.move.job == replace(before, callbacks=MOST_KEPT)


POSTS: dict[str, Any] = {"poll": None}


@pytest.mark.parametrize(("body", "code"), UNREAD, ids=lambda value: ascii(value)[:30])
@pytest.mark.parametrize("signed", [SIGNED, {}], ids=["signed", "token"])
def test_an_outcome_that_nobody_can_read_is_kept_as_one(
    body: bytes, code: str, signed: dict[str, Any]
) -> None:
    """Where the body is the result and nobody can be asked, the job fails with it, and is never called unseen.

    Not so with what is no document: an empty body, a page, another job's outcome, one that says nothing yet.
    """
    got = taken(acme(**signed, **POSTS), body, job(remote_id="r1"))
    assert (got.verdict, got.code) == (Verdict.UNREADABLE, code)
    if body[:1] in {b"", b"<"} or code in {"status_missing", "job_id_mismatch"}:
        assert got.move is None
        return
    assert got.move is not None
    after = got.move.job
    assert (after.state, got.move.completed, after.settled_by) == (JobState.FAILED, True, Source.CALLBACK)
    assert after.error is not None
    assert (after.error.code, code in after.error.text) == ("result_unreadable", True)
    assert after.held is not None
    assert (after.held.callback_id, after.held.offset, after.held.size) == ("cb_1", 0, len(body))
    assert after.held.sha256 == hashlib.sha256(body).hexdigest()
    ended = taken(acme(**signed, **POSTS), body, after)
    assert ended.move is not None
    assert not ended.move.changed


def test_what_is_not_proved_is_not_read() -> None:
    """A forged signature is rejected before the body is looked at; a missing key is our own fault."""
    with pytest.raises(RejectionError):
        taken(acme(**SIGNED), b"[" * 100_000, job(), forged=True)
    with pytest.raises(KeyUnavailableError):
        examine(message(b"{}"), provider=acme(**SIGNED), keys=[], now=NOW, largest=LARGEST)


def test_the_first_outcome_wins() -> None:
    """A later outcome changes nothing, and says whether it contradicts."""
    ended = job(state=JobState.FAILED, ended_at=NOW, settled_by=Source.POLL)
    got = taken(acme(**SIGNED), {"status": "done", "result": 1}, ended)
    assert (got.verdict, got.code, got.content) == (Verdict.DUPLICATE, "conflicting_outcome", None)
    assert got.move is not None
    assert got.move.job == ended
    same = taken(acme(**SIGNED), {"status": "error"}, ended)
    assert (same.verdict, same.code) == (Verdict.DUPLICATE, "already_ended")


def test_progress_moves_a_job_once() -> None:
    """Non-terminal news moves the state forward and completes nothing; repeated, it is a duplicate."""
    first = taken(acme(**SIGNED), {"status": "working"}, job(state=JobState.SUBMITTED))
    assert first.move is not None
    assert (first.verdict, first.move.job.state, first.move.completed) == (
        Verdict.ACCEPTED,
        JobState.RUNNING,
        False,
    )
    assert taken(acme(**SIGNED), {"status": "working"}, first.move.job).verdict is Verdict.DUPLICATE


def test_repeated_success_with_an_address_asks_again_only_so_often() -> None:
    """A provider that repeats itself refreshes the address; past the bound it is only counted."""
    document = {"status": "done", "result_url": "https://api.acme.example/r"}
    fetching = job(state=JobState.FETCHING, succeeded_at=NOW, callbacks=1)
    got = taken(acme(**SIGNED), document, fetching)
    assert got.move is not None
    assert (got.verdict, got.move.look_now) == (Verdict.DUPLICATE, True)
    often = taken(
        acme(**SIGNED), document, job(state=JobState.FETCHING, succeeded_at=NOW, callbacks=MOST_KEPT)
    )
    assert often.move is not None
    assert (often.verdict, often.move.look_now) == (Verdict.DUPLICATE, False)


def test_terms_for_a_job_that_was_not_submitted_here() -> None:
    """They come from the description."""
    terms = terms_for(packaged("pulse"), key_id="k")
    assert (terms.delivery, terms.deadline_ms, terms.keep_ms) == (Delivery.NOTIFICATION, 6 * HOUR, None)
    terms = terms_for(packaged("perplexity-webhook"), key_id="k")
    assert (terms.delivery, terms.keep_ms, terms.keep_from) == (Delivery.RESULT, 7 * DAY, "completion")
