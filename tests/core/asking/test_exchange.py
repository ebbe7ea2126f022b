"""Conversations with a provider, driven by hand."""

import json
from collections.abc import Generator
from email.utils import formatdate
from typing import TypeVar

import pytest
from msgspec.structs import replace

from receiver.core.asking import exchange, fetching
from receiver.core.asking.exchange import (
    Accepted,
    Gone,
    HttpRequest,
    HttpResponse,
    Pending,
    Refused,
    Seen,
    TryLater,
    Unknown,
)
from receiver.core.model import HOUR, Due, Held, Job, JobState, Step
from tests.core.making import LARGEST, NOW, acme, job, packaged

T = TypeVar("T")
RETRY = ((b"retry-after", b"7"),)


def play(
    conversation: Generator[HttpRequest, HttpResponse, T], *answers: HttpResponse
) -> tuple[list[HttpRequest], T]:
    """Answer a conversation; what it asked for and what it learned."""
    asked = []
    try:
        request = next(conversation)
        for answer in answers:
            asked.append(request)
            request = conversation.send(answer)
    except StopIteration as end:
        return asked, end.value
    raise AssertionError(request)


def answer(
    status: int = 200, document: object = None, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> HttpResponse:
    """An answer with a JSON body, or with the bytes given."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return HttpResponse(status=status, headers=headers, body=body)


def submitted(response: HttpResponse, name: str = "perplexity") -> exchange.Submission:
    """What a submission answered with *response* comes to."""
    conversation = exchange.submit(
        packaged(name),
        job(provider=name),
        {},
        callback_url=None,
        secret=None,
        files={},
        largest=LARGEST,
        now=NOW,
    )
    requests, outcome = play(conversation, response)
    assert [one.purpose for one in requests] == ["submit"]
    return outcome


def test_an_accepted_submission_names_the_job() -> None:
    """Id, addresses and state come from the answer."""
    accepted = submitted(answer(200, {"id": "r1", "status": "CREATED"}))
    assert isinstance(accepted, Accepted)
    assert (accepted.seen.remote_id, accepted.seen.state) == ("r1", JobState.SUBMITTED)
    url = "https://llm-scraper.netnut.io/search/response/t"
    netnut = submitted(answer(200, {"message": "m", "traceId": "t", "response_url": url}), "netnut")
    assert isinstance(netnut, Accepted)
    assert (netnut.seen.remote_id, netnut.seen.response_url) == ("t", url)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 422])
def test_a_refusal_keeps_the_providers_words(status: int) -> None:
    """A 4xx is the end of the submission, with the answer's beginning as its text."""
    refused = submitted(answer(status, b"no \xff\0 credit" + b"." * 9000))
    assert isinstance(refused, Refused)
    assert refused.error.code == f"submission_refused_{status}"
    assert refused.error.text.startswith("no \N{REPLACEMENT CHARACTER}  credit.")
    assert len(refused.error.text) <= 2000


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        (RETRY, 7_000),
        ((), None),
        (((b"retry-after", formatdate(NOW / 1000 + 30, usegmt=True).encode()),), 30_000),
        (((b"retry-after", b"999999"),), HOUR),
    ],
)
def test_too_many_requests_is_tried_later(headers: tuple[tuple[bytes, bytes], ...], wait: int | None) -> None:
    """429 says that nothing was done; its Retry-After is obeyed in both forms, up to an hour."""
    outcome = submitted(answer(429, b"", headers))
    assert isinstance(outcome, TryLater)
    assert (outcome.code, outcome.wait) == ("too_many_requests", wait)


@pytest.mark.parametrize("status", [301, 303, 500, 502, 503, 504])
def test_a_server_error_or_a_redirect_leaves_the_outcome_unknown(status: int) -> None:
    """The provider may have taken the job before it failed, so nothing is concluded."""
    outcome = submitted(answer(status, b"oops"))
    assert isinstance(outcome, Unknown)
    assert outcome.code == f"status_{status}"


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"<html>", "body_not_json"), (b"{}", "status_missing"), (b'{"status":NaN}', "json_number_range")],
)
def test_an_unreadable_acceptance_is_not_sent_again(body: bytes, code: str) -> None:
    """A 2xx means that the job runs and is paid for, readable or not."""
    outcome = submitted(answer(200, body))
    assert isinstance(outcome, Unknown)
    assert outcome.code == code


def looked(
    name: str, one: Job, response: HttpResponse, candidate: str | None = None
) -> tuple[str, exchange.Look]:
    """Where a poll asks and what it learns."""
    conversation = exchange.status(packaged(name), one, candidate_id=candidate, largest=LARGEST, now=NOW)
    requests, outcome = play(conversation, response)
    assert [(r.purpose, r.method, r.body, r.anywhere) for r in requests] == [("poll", "GET", None, False)]
    return requests[0].url, outcome


@pytest.mark.parametrize(
    ("name", "document", "url", "state"),
    [
        (
            "yandex",
            {"id": "r/1", "done": False},
            "https://operation.api.cloud.yandex.net/operations/r%2F1",
            "running",
        ),
        ("yandex", {"id": "r/1", "error": {"code": 3}}, None, "running"),
        ("yandex", {"id": "r/1", "done": True, "error": {"code": 3, "message": "m"}}, None, "failed"),
        ("yandex", {"id": "r/1", "done": True, "error": {"code": 1}}, None, "canceled"),
        ("yandex", {"id": "r/1", "done": True, "response": {}}, None, "succeeded"),
        (
            "perplexity",
            {"id": "r/1", "status": "CREATED"},
            "https://api.perplexity.ai/async/chat/completions/r%2F1",
            "submitted",
        ),
        (
            "perplexity",
            {"id": "r/1", "status": "COMPLETED", "response": {"status": "PENDING"}},
            None,
            "succeeded",
        ),
        ("perplexity", {"id": "r/1", "status": "FAILED", "error_message": "m"}, None, "failed"),
        ("perplexity-webhook", {"id": "r/1", "status": "QUEUED"}, None, "submitted"),
        ("pulse", {"job_id": "r/1", "status": "pending"}, "https://api.runpulse.com/job/r%2F1", "submitted"),
        ("pulse", {"job_id": "r/1", "status": "cancelled"}, None, "canceled"),
        ("pulse", {"job_id": "r/1", "status": "canceled"}, None, "canceled"),
        ("pulse", {"job_id": "r/1", "status": "expired"}, None, "expired"),
        (
            "pulse",
            {"job_id": "r/1", "status": "completed", "result": {"url": "https://s3.example/x"}},
            None,
            "succeeded",
        ),
        ("pulse", {"job_id": "r/1", "status": "reticulating"}, None, "running"),
        (
            "netnut",
            {"status": "processing", "traceId": "r/1"},
            "https://llm-scraper.netnut.io/search/response/r%2F1",
            "running",
        ),
        ("netnut", {"traceID": "r/1", "response": {}}, None, "succeeded"),
    ],
)
def test_status_answers_are_read_as_documented(
    name: str, document: object, url: str | None, state: str
) -> None:
    """Each system's answers at each system's address; the nested and premature words are not the job's."""
    asked, outcome = looked(name, job(provider=name, remote_id="r/1"), answer(200, document))
    assert url is None or asked == url
    assert isinstance(outcome, Seen)
    assert outcome.seen.state == state


def test_the_address_that_the_provider_named_is_asked_first_if_it_is_the_providers() -> None:
    """A stored response_url at a foreign origin is not asked; the description's own address is."""
    done = answer(200, {"traceID": "t", "response": {}})
    ours = "https://llm-scraper.netnut.io/search/response/elsewhere"
    assert looked("netnut", job(remote_id="t", response_url=ours), done)[0] == ours
    foreign = job(remote_id="t", response_url="https://evil.example/")
    assert looked("netnut", foreign, done)[0] == "https://llm-scraper.netnut.io/search/response/t"


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (answer(202, b"soon", RETRY), Pending(wait=7_000)),
        (answer(202, b""), Pending()),
        (answer(404, b""), Gone(status=404)),
        (answer(410, b""), Gone(status=410)),
        (answer(429, b"", RETRY), TryLater(code="status_429", wait=7_000)),
        (answer(401, b""), TryLater(code="status_401")),
        (answer(500, b""), TryLater(code="status_500")),
        (answer(302, b""), TryLater(code="status_302")),
        (answer(200, b"<html>"), TryLater(code="body_not_json")),
        (
            answer(200, {"id": "other", "status": "COMPLETED", "response": 1}),
            TryLater(code="answer_for_another_job"),
        ),
        (answer(200, {"id": "r1", "status": "COMPLETED"}), TryLater(code="result_missing")),
        (answer(200, {"id": "r1", "status": "IN_PROGRESS"}, RETRY), Pending(wait=7_000)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_answer_that_settles_nothing(response: HttpResponse, outcome: exchange.Look) -> None:
    """Not yet, not there, not now, or about another job: none of these is an outcome."""
    found = looked("perplexity", job(remote_id="r1"), response)[1]
    assert (replace(found, answer=None) if isinstance(found, TryLater) else found) == outcome


def test_a_status_whose_body_may_tell_the_end_is_read() -> None:
    """SerpApi answers 503 with the document of a search that failed; any other 503 is a provider in trouble."""

    def told(response: HttpResponse) -> exchange.Look:
        one = job(provider="serpapi", remote_id="r1")
        conversation = exchange.status(packaged("serpapi"), one, candidate_id=None, largest=LARGEST, now=NOW)
        return play(conversation, response)[1]

    failed = told(answer(503, {"search_metadata": {"id": "r1", "status": "Error"}, "error": "No results."}))
    assert isinstance(failed, Seen)
    assert (failed.seen.state, failed.seen.error and failed.seen.error.text) == ("failed", "No results.")
    running = {"search_metadata": {"id": "r1", "status": "Processing"}}
    for document, code in ((running, "status_503"), (b"<html>busy", "body_not_json"), (b"", "body_not_json")):
        tried = told(answer(503, document))
        assert isinstance(tried, TryLater)
        assert tried.code == code


def test_a_status_that_the_answer_does_not_carry_is_missing() -> None:
    """Neither processing nor a response: NetNut's answer says nothing."""
    silent = answer(200, {"traceId": "t"})
    assert looked("netnut", job(remote_id="t"), silent)[1] == TryLater(code="status_missing", answer=silent)


def test_a_candidate_id_is_tried_and_must_be_confirmed() -> None:
    """An id that only a wake-up named is asked about where none is known, and the answer must bear it."""
    one = job(remote_id=None)
    url, outcome = looked("perplexity", one, answer(200, {"id": "c1", "status": "CREATED"}), candidate="c1")
    assert url.endswith("/c1")
    assert isinstance(outcome, Seen)
    assert outcome.seen.remote_id == "c1"
    for other in ({"id": "c2", "status": "CREATED"}, {"status": "CREATED"}):
        assert looked("perplexity", one, answer(200, other), candidate="c1")[1] == TryLater(
            code="answer_for_another_job"
        )
    known = job(remote_id="r1")
    assert looked("perplexity", known, answer(404, b""), candidate="c1")[0].endswith("/r1")
    hostile = looked("perplexity", one, answer(404, b""), candidate="../../v1/keys?x=#")[0]
    assert hostile == "https://api.perplexity.ai/async/chat/completions/..%2F..%2Fv1%2Fkeys%3Fx%3D%23"


def test_without_an_address_nothing_is_asked() -> None:
    """A job whose id nobody knows, or whose provider has no poll, waits."""
    one = job(remote_id=None)
    conversation = exchange.status(packaged("perplexity"), one, candidate_id=None, largest=LARGEST, now=NOW)
    assert play(conversation) == ([], Pending())
    due = Due(job_id=one.id, step=Step.LOOK, provider=one.provider, run_at=NOW)
    assert not exchange.can_look(packaged("perplexity"), one, due)
    named = Due(job_id=one.id, step=Step.LOOK, provider=one.provider, run_at=NOW, candidate_id="c")
    assert exchange.can_look(packaged("perplexity"), one, named)
    assert not exchange.can_look(acme(poll=None), job(remote_id="r1"), due)


@pytest.mark.parametrize(
    ("url", "credentials", "anywhere"),
    [
        ("https://api.runpulse.com/results/1", True, False),
        ("https://s3.example/signed?x=1", False, True),
        ("https://api.runpulse.com.evil.example/1", False, True),
        ("https://api.runpulse.com@evil.example/1", False, True),
        ("http://api.runpulse.com/1", False, True),
    ],
)
def test_credentials_go_to_listed_origins_only(url: str, credentials: bool, anywhere: bool) -> None:  # noqa: FBT001
    """A signed storage link is fetched without them."""
    held = Held(offset=1, size=2, sha256="0" * 64)
    requests, outcome = play(
        fetching.result(packaged("pulse"), url, part=1, largest=LARGEST, now=NOW),
        HttpResponse(status=200, held=held),
    )
    assert [(r.url, r.credentials, r.anywhere, r.method) for r in requests] == [
        (url, credentials, anywhere, "GET")
    ]
    assert outcome == exchange.Fetched(held=held)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (404, Gone(status=404)),
        (410, Gone(status=410)),
        (500, TryLater(code="status_500", wait=7_000)),
        (403, TryLater(code="status_403", wait=7_000)),
    ],
)
def test_a_fetch_without_a_result(status: int, outcome: object) -> None:
    """404 and 410 say that it is gone; anything else is tried again."""
    conversation = fetching.result(
        packaged("pulse"), "https://s3.example/x", part=1, largest=LARGEST, now=NOW
    )
    assert play(conversation, answer(status, b"", RETRY))[1] == outcome
