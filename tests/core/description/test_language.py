"""What a description can say: words and ranges, results of jobs that did not succeed, conditions, lists, accounts."""

import json
from typing import Any

import msgspec
import pytest

from receiver.core.asking.exchange import HttpResponse, status, submission_request
from receiver.core.asking.fetching import result
from receiver.core.description.provider import Provider, describe
from receiver.core.description.shape import Shape, split_path
from receiver.core.errors import RequestError, UnreadableError
from receiver.core.message import Message
from receiver.core.model import Held, JobState, Observation
from receiver.core.reading.observation import read
from tests.core.making import LARGEST, NOW, job

API = "https://api.acme.example"


def acme(**changes: Any) -> Provider:  # noqa: ANN401
    """A small description with *changes*."""
    return describe(
        {
            "name": "acme",
            "title": "Acme",
            "origins": [API],
            "sources": [{"url": "https://acme.example/docs", "read": "2026-11-29"}],
            "submit": {"url": f"{API}/jobs"},
            "poll": {"url": [API + "/jobs/{id}"]},
            "shapes": {"answer": {"id": ["id"]}},
            **changes,
        }
    )


def seen(document: object, **shape: Any) -> Observation:  # noqa: ANN401
    """What a document says by a shape."""
    made = msgspec.convert({"status": "state", **shape}, Shape)
    return read(Message(body=json.dumps(document).encode()), made, largest=LARGEST)


CODES = {"20000": "succeeded", "40601": "running", "40000..59999": "failed"}


@pytest.mark.parametrize(
    ("code", "state", "attention"),
    [
        (20000, "succeeded", None),
        (40601, "running", None),
        (40000, "failed", None),
        ("59999", "failed", None),
        (60000, "running", "word_unlisted"),
        ("fifty", "running", "word_unlisted"),
        (-40000, "running", "word_unlisted"),
    ],
)
def test_a_range_stands_for_every_number_in_it(code: object, state: str, attention: str | None) -> None:
    """A word of its own comes first, then the ranges; what is in neither deserves attention."""
    found = seen({"state": code}, states=CODES)
    assert (found.state, found.attention) == (state, attention)


@pytest.mark.parametrize("unknown", ["running", "failed"])
def test_a_description_says_what_an_unlisted_word_means(unknown: str) -> None:
    """It is running unless the description says that it failed; either way it deserves attention."""
    found = seen({"state": "aborted"}, states={"done": "succeeded"}, unknown=unknown)
    assert (found.state, found.word, found.attention) == (unknown, "aborted", "word_unlisted")


def test_a_job_that_waits_for_a_person_runs_and_says_so() -> None:
    """needs_action is a state of the provider's, and running is ours."""
    states = {"requires_action": "needs_action"}
    assert seen({"state": "requires_action"}, states=states).attention == "needs_action"
    assert seen({"state": "requires_action"}, states=states).state is JobState.RUNNING
    rules = [{"path": "action", "exists": True, "state": "needs_action"}]
    assert seen({"action": {}, "state": "a"}, rules=rules).attention == "needs_action"


BATCH = {
    "states": {"ended": "succeeded", "expired": "expired", "incomplete": "failed", "failed": "failed"},
    "result_url": API + "/files/{file}",
    "result": ".",
    "result_for": ["expired", "incomplete"],
}


@pytest.mark.parametrize(
    ("word", "url"),
    [("ended", True), ("expired", True), ("incomplete", True), ("failed", False)],
)
def test_a_job_that_did_not_succeed_may_have_a_result(word: str, url: bool) -> None:  # noqa: FBT001
    """result_for names states, or single words; an answer without an address then has no result but on success."""
    found = seen({"state": word, "file": "f1"}, **BATCH)
    assert (found.result_url is not None) == url
    without = seen({"state": word, "file": None}, **BATCH)
    assert (without.result is not None) == (word == "ended")


def test_a_result_in_the_document_may_belong_to_a_failure() -> None:
    """Where there is no address, the path of the result counts."""
    shape = {"states": {"incomplete": "failed", "failed": "failed"}, "result": "."}
    assert seen({"state": "incomplete"}, **shape, result_for=["incomplete"]).result is not None
    assert seen({"state": "failed"}, **shape, result_for=["incomplete"]).result is None


def test_an_address_is_one_only_where_the_condition_holds() -> None:
    """What else happens to stand there is part of the result."""
    shape = {
        "states": {"done": "succeeded"},
        "result": "result",
        "result_url": "result.url",
        "result_url_when": {"path": "result.is_url", "is": True},
    }
    link = {"is_url": True, "url": "https://files.example/1"}
    assert seen({"state": "done", "result": link}, **shape).result_url == "https://files.example/1"
    inline = seen({"state": "done", "result": {"url": "https://evil.example/", "text": "a"}}, **shape)
    assert inline.result_url is None
    assert inline.result is not None


ITEMS = {
    "items": [{"state": "open", "url": "a"}, {"n": 7, "ok": True, "url": "b"}, {"state": "done", "url": "c"}]
}


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("items[state=done].url", "c"),
        ("items[n=7].url", "b"),
        ("items[ok=true].url", "b"),
    ],
)
def test_a_path_finds_the_first_member_of_a_list(path: str, word: str) -> None:
    """A member counts whose key has that text, number, or truth."""
    assert seen(ITEMS, status=path).word == word


def test_nothing_is_found_where_no_member_fits() -> None:
    """It is as if the path led nowhere."""
    with pytest.raises(UnreadableError):
        seen(ITEMS, status="items[state=gone].url")
    assert seen({"state": "a", "items": {}}, id=["items[state=done].url"]).remote_id is None


def test_what_a_search_compares_is_read_strictly() -> None:
    """A key that is there twice decides nothing."""
    shape = Shape(id=("items[state=done].id",))
    body = b'{"items": [{"state": "done", "state": "open", "id": "a"}]}'
    with pytest.raises(UnreadableError):
        read(Message(body=body), shape, largest=LARGEST)


def test_a_path_is_taken_apart_at_its_dots_and_brackets() -> None:
    """A value may have dots of its own."""
    assert split_path("a.b[type=x.y].c.0") == ("a", "b", "[type=x.y]", "c", "0")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"states": {"9..1": "failed"}}, "ends before it begins"),
        ({"states": {"a": "waiting"}}, "'waiting' is no state"),
        ({"states": {"a": "fetching"}}, "the receiver's own"),
        ({"unknown": "succeeded"}, "unknown = 'succeeded'"),
        ({"result": ".", "result_for": ["succeeded"]}, "neither failed, canceled nor expired"),
        ({"result_for": ["failed"]}, "needs result or result_url"),
        ({"result_url_when": {"path": "a", "is": True}}, "needs result_url"),
        ({"id": ["items[done].id"]}, "searches a list"),
        ({"result_url": API + "/{items[x]}"}, "searches a list"),
    ],
)
def test_what_a_shape_cannot_mean_is_refused(changes: dict[str, Any], reason: str) -> None:
    """The reason says which key, and what it may be."""
    with pytest.raises(msgspec.ValidationError, match=reason):
        acme(shapes={"answer": {"id": ["id"], "status": "state", **changes}})


def submitted(
    provider: Provider, request: dict[str, Any], *, callback_url: str | None = None
) -> tuple[str, Any]:
    """The address and the body of a submission."""
    sent = submission_request(provider, job(), request, callback_url=callback_url, secret=b"s")
    return sent.url, json.loads(sent.body or b"null")


def test_all_that_is_no_body_travels_in_the_address() -> None:
    """An option that no description lists reaches the provider all the same."""
    provider = acme(submit={"url": f"{API}/jobs", "query": "*", "body": ["url"]})
    url, body = submitted(provider, {"url": "https://a.example/1", "mip_opt_out": True, "tag": ["a", "b"]})
    assert url == f"{API}/jobs?mip_opt_out=true&tag=a&tag=b"
    assert body == {"url": "https://a.example/1"}


def test_a_field_that_would_go_nowhere_is_refused() -> None:
    """Nothing is dropped in silence; what the body is must be there."""
    provider = acme(submit={"url": f"{API}/jobs", "query": ["id"], "unwrap": "input"})
    with pytest.raises(RequestError) as refused:
        submitted(provider, {"id": "a", "input": [1], "uncompressed": True})
    assert (refused.value.code, refused.value.field) == ("request_field_unknown", "request.uncompressed")
    with pytest.raises(RequestError) as lacking:
        submitted(provider, {"id": "a"})
    assert (lacking.value.code, lacking.value.field) == ("request_field_missing", "request.input")
    everywhere = acme(submit={"url": f"{API}/jobs", "query": "*", "unwrap": "input"})
    url, body = submitted(everywhere, {"id": "a", "input": [1], "uncompressed": True})
    assert (url, body) == (f"{API}/jobs?id=a&uncompressed=true", [1])


WRAPPED = {
    "submit": {"url": f"{API}/jobs", "wrap": "request", "idempotency": {"where": "body", "name": "key"}},
    "callback": {"where": "body", "path": "webhook.url", "secret_path": "webhook.secret"},
    "verify": {"scheme": "hmac", "header": "X-S"},
    "key": {"source": "per-job"},
    "shapes": {"answer": {"id": ["id"]}, "result": {"id": ["id"]}},
}


@pytest.mark.parametrize("outer", [False, True])
def test_a_request_is_wrapped_once(outer: bool) -> None:  # noqa: FBT001
    """One in the vendor's outer form is that form; the key that keeps it from being billed twice may be its own."""
    request: dict[str, Any] = {"request": {"model": "m"}, "key": "mine"} if outer else {"model": "m"}
    provider = acme(**WRAPPED)
    one = job()
    _, body = submitted(provider, request, callback_url="https://hooks.example/1")
    hook = {"url": "https://hooks.example/1", "secret": "s"}
    assert body == {"request": {"model": "m"}, "key": "mine" if outer else one.id, "webhook": hook}


@pytest.mark.parametrize(
    "request_",
    [
        {"model": "m", "webhook": {"url": "https://mine.example", "secret": "mine"}},
        {"model": "m", "webhook": {"secret": "mine"}},
        {"request": {"model": "m"}, "webhook": {"secret": "mine"}},
    ],
)
@pytest.mark.parametrize("callback_url", [None, "https://hooks.example/1"])
def test_no_secret_of_the_callers_travels_inside(request_: dict[str, Any], callback_url: str | None) -> None:
    """A webhook of the caller's own is refused, wherever it would end up, whether or not a callback is asked for."""
    with pytest.raises(RequestError) as refused:
        submitted(acme(**WRAPPED), request_, callback_url=callback_url)
    assert refused.value.code == "request_field_reserved"


def test_a_poll_may_carry_a_body() -> None:
    """The job's name is put where the description says."""
    body = {"ids": ["{id}"], "detail": {"of": "job {id}", "n": 1}}
    provider = acme(poll={"url": [f"{API}/status"], "method": "POST", "body": body})
    asked = next(status(provider, job(remote_id="r/1"), candidate_id=None, largest=LARGEST, now=NOW))
    assert (asked.method, json.loads(asked.body or b"")) == (
        "POST",
        {"ids": ["r/1"], "detail": {"of": "job r/1", "n": 1}},
    )
    with pytest.raises(msgspec.ValidationError, match=r"poll\.body needs method"):
        acme(poll={"url": [f"{API}/status"], "body": {}})


TWO_STEPS = {
    "fetch": {"answer": "file", "failed": [422]},
    "shapes": {
        "answer": {
            "id": ["id"],
            "status": "state",
            "states": {"ok": "succeeded"},
            "result_url": API + "/f/{file}",
        },
        "file": {"result_url": "file.download_url"},
    },
}


def test_a_result_may_be_two_steps_away() -> None:
    """The first is asked with our credentials and says where the bytes are; elsewhere they are fetched without."""
    talk = result(acme(**TWO_STEPS), f"{API}/f/1", part=3, largest=LARGEST, now=NOW)
    first = next(talk)
    assert (first.purpose, first.url, first.credentials) == ("poll", f"{API}/f/1", True)
    named = HttpResponse(status=200, body=b'{"file": {"download_url": "https://cdn.example/b"}}')
    second = talk.send(named)
    assert (second.purpose, second.url, second.credentials, second.anywhere) == (
        "fetch",
        "https://cdn.example/b",
        False,
        True,
    )
    with pytest.raises(StopIteration) as end:
        talk.send(HttpResponse(status=200, held=Held(size=1, sha256="")))
    assert end.value.value.held.size == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (HttpResponse(status=404), "Gone"),
        (HttpResponse(status=422, body=b"too long"), "Seen"),
        (HttpResponse(status=500), "TryLater"),
        (HttpResponse(status=200, body=b"<html>"), "TryLater"),
        (HttpResponse(status=200, body=b'{"file": null}'), "TryLater"),
    ],
)
def test_what_the_first_step_says_counts_as_that_of_the_result(answer: HttpResponse, kind: str) -> None:
    """It is gone, it failed, or it is asked again."""
    talk = result(acme(**TWO_STEPS), f"{API}/f/1", part=3, largest=LARGEST, now=NOW)
    next(talk)
    with pytest.raises(StopIteration) as end:
        talk.send(answer)
    assert type(end.value.value).__name__ == kind


def test_a_second_step_needs_an_address() -> None:
    """A shape that names none leads nowhere."""
    with pytest.raises(msgspec.ValidationError, match=r"fetch\.answer: shapes\.answer needs result_url"):
        acme(fetch={"answer": "answer"})


ACCOUNT = {
    "origins": ["https://*.cognitive.example", "https://api.*.acme.example"],
    "submit": {"url": "{setting:ACME_ENDPOINT}/jobs"},
    "poll": {"url": ["https://api.{setting:ACME_REGION=eu}.acme.example/{setting:ACME_PROJECT}/{id}"]},
}


def test_an_address_may_be_an_accounts_own() -> None:
    """Settings complete it; only what they lead to is an origin then."""
    provider = acme(**ACCOUNT)
    assert provider.settings == {"ACME_ENDPOINT": None, "ACME_REGION": "eu", "ACME_PROJECT": None}
    known = provider.completed({"ACME_ENDPOINT": "https://mine.cognitive.example/", "ACME_PROJECT": "a/b"})
    assert known.origins == ("https://mine.cognitive.example", "https://api.eu.acme.example")
    assert known.submit is not None
    assert known.submit.url == "https://mine.cognitive.example/jobs"
    assert known.poll is not None
    assert known.poll.url == ("https://api.eu.acme.example/a%2Fb/{id}",)
    assert not known.lists("https://other.cognitive.example/jobs")
    assert provider.completed({}).missing == ("ACME_ENDPOINT", "ACME_PROJECT")
    assert not provider.completed({}).lists("https://mine.cognitive.example/jobs")


@pytest.mark.parametrize(
    "value",
    [
        "https://evil.example",
        "https://a.b.cognitive.example",
        "https://mine.cognitive.example.evil.example",
        "https://evil.example/.cognitive.example",
        "https://user@mine.cognitive.example",
        "http://mine.cognitive.example",
        "https://mine.cognitive.example:8443",
        "mine.cognitive.example",
    ],
)
def test_a_setting_leads_nowhere_else(value: str) -> None:
    """It is held against the patterns of the origins; the sentence names it."""
    with pytest.raises(ValueError, match="ACME_ENDPOINT must lead to"):
        acme(**ACCOUNT).completed({"ACME_ENDPOINT": value, "ACME_PROJECT": "p"})


@pytest.mark.parametrize("value", ["eu.evil.example/x", "eu/", "EU", "-eu", "eu.west", "@evil"])
def test_a_part_of_a_host_name_is_one_label(value: str) -> None:
    """A setting cannot turn the name of a host into another's."""
    settings = {"ACME_ENDPOINT": "https://mine.cognitive.example", "ACME_PROJECT": "p", "ACME_REGION": value}
    with pytest.raises(ValueError, match="ACME_REGION is part of a host name"):
        acme(**ACCOUNT).completed(settings)


@pytest.mark.parametrize(
    "changes",
    [
        {"origins": [API]},
        {"origins": ["https://*.cognitive.example"]},
        {"origins": ["https://*"]},
    ],
)
def test_an_accounts_address_needs_a_pattern(changes: dict[str, Any]) -> None:
    """A description that lets a setting lead anywhere is refused."""
    with pytest.raises(msgspec.ValidationError, match="origins"):
        acme(**ACCOUNT | changes)


def test_a_proxy_takes_the_place_of_an_accounts_address() -> None:
    """What points a provider elsewhere needs no other setting for where it is."""
    moved = acme(**ACCOUNT).at("http://127.0.0.1:9").completed({"ACME_PROJECT": "p"})
    assert moved.submit is not None
    assert moved.submit.url == "http://127.0.0.1:9/jobs"
    assert moved.poll is not None
    assert moved.poll.url == ("http://127.0.0.1:9/p/{id}",)
    assert moved.origins == ("http://127.0.0.1:9",)
