"""The request of a submission, against what each API documents."""

import base64
import json
from typing import Any

import pytest

from receiver.core.asking.exchange import (
    FilePart,
    HttpRequest,
    submission_request,
)
from receiver.core.asking.wanted import delivery_for
from receiver.core.errors import RequestError
from receiver.core.model import Delivery
from tests.core.making import JOB_ID, SYSTEMS, acme, job, packaged

URL = "https://hooks.example/callbacks/acme/token"


def asked_for(name: str, request: dict[str, Any], *, url: str | None = URL, **changes: Any) -> HttpRequest:  # noqa: ANN401
    """The submission of *request* to a packaged provider."""
    provider = packaged(name)
    one = job(provider=name, operation=changes.pop("operation", next(iter(provider.operations), "")))
    return submission_request(provider, one, request, callback_url=url, secret=b"ab12", **changes)


def test_netnut_is_asked_as_documented() -> None:
    """POST /search with async and the callback URL beside the caller's own fields."""
    sent = asked_for("netnut", {"engine": "google", "q": "tea"})
    assert (sent.method, sent.url) == ("POST", "https://llm-scraper.netnut.io/search")
    assert json.loads(sent.body or b"") == {
        "engine": "google",
        "q": "tea",
        "async": True,
        "callback_url": URL,
    }
    assert sent.headers == {"content-type": "application/json"}


def test_netnut_without_async_posts_the_result() -> None:
    """The caller's own async is left alone, unless nothing could call back: then the job must be polled."""
    assert json.loads(asked_for("netnut", {"async": False}).body or b"") == {
        "async": False,
        "callback_url": URL,
    }
    assert json.loads(asked_for("netnut", {"async": False}, url=None).body or b"") == {"async": True}
    netnut = packaged("netnut")
    assert delivery_for(netnut, {}, reachable=True) is Delivery.NOTIFICATION
    assert delivery_for(netnut, {"async": True}, reachable=True) is Delivery.NOTIFICATION
    assert delivery_for(netnut, {"async": False}, reachable=True) is Delivery.RESULT
    assert delivery_for(netnut, {"async": 0}, reachable=True) is Delivery.NOTIFICATION
    assert delivery_for(netnut, {"async": False}, reachable=False) is Delivery.NONE


@pytest.mark.parametrize("operation", ["extract", "split", "schema"])
def test_pulse_is_asked_as_documented(operation: str) -> None:
    """POST to the operation's path with async: extract as multipart, the others as JSON; no callback URL goes along."""
    files = {"file": FilePart(name="a.pdf", content=b"%PDF")} if operation == "extract" else {}
    request = {"file": "/tmp/a.pdf", "pages": [1, 2], "fast": True} if files else {"extraction_id": "e"}  # noqa: S108
    sent = asked_for("pulse", request, operation=operation, url=None, files=files)
    assert (sent.method, sent.url) == ("POST", f"https://api.runpulse.com/{operation}")
    if files:
        assert sent.body is None
        assert sent.fields == {"pages": "[1, 2]", "fast": "true", "async": "true"}
        assert sent.files == files
    else:
        assert json.loads(sent.body or b"") == {"extraction_id": "e", "async": True}
    assert delivery_for(packaged("pulse"), request, reachable=False) is Delivery.NOTIFICATION


def test_pulse_takes_a_file_url_as_a_field() -> None:
    """Without a file the form carries its address."""
    sent = asked_for("pulse", {"file_url": "https://a.example/x.pdf", "schema": None}, url=None)
    assert sent.fields == {"file_url": "https://a.example/x.pdf", "async": "true"}


def test_yandex_is_asked_as_documented() -> None:
    """POST completionAsync with the caller's body and our job id as idempotency key; there is no callback."""
    sent = asked_for("yandex", {"modelUri": "gpt://f/yandexgpt", "messages": []}, url=None)
    assert sent.url == "https://llm.api.cloud.yandex.net/foundationModels/v1/completionAsync"
    assert json.loads(sent.body or b"") == {"modelUri": "gpt://f/yandexgpt", "messages": []}
    assert sent.headers == {"idempotency-key": JOB_ID, "content-type": "application/json"}
    assert delivery_for(packaged("yandex"), {}, reachable=True) is Delivery.NONE


def test_perplexity_is_asked_as_documented() -> None:
    """POST /async/chat/completions with the request wrapped and an idempotency key."""
    sent = asked_for("perplexity", {"model": "sonar-deep-research"}, url=None)
    assert sent.url == "https://api.perplexity.ai/async/chat/completions"
    assert json.loads(sent.body or b"") == {
        "request": {"model": "sonar-deep-research"},
        "idempotency_key": JOB_ID,
    }


def test_perplexity_with_webhook_is_asked_as_documented() -> None:
    """The same with the webhook's address and the job's own secret; without an address, without a webhook."""
    sent = asked_for("perplexity-webhook", {"model": "m"})
    body = {"request": {"model": "m"}, "idempotency_key": JOB_ID}
    assert json.loads(sent.body or b"") == body | {"webhook": {"url": URL, "secret": "ab12"}}
    assert json.loads(asked_for("perplexity-webhook", {"model": "m"}, url=None).body or b"") == body
    # Inside the wrapped request a field of that name is the caller's own.
    assert "mine" in (asked_for("perplexity-webhook", {"webhook": "mine"}).body or b"").decode()


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_callers_request_is_not_changed(name: str) -> None:
    """The request that was recorded is the one that the caller gave."""
    request: dict[str, Any] = {"a": {"b": [1]}}
    asked_for(name, request, url=URL if packaged(name).callback else None)
    assert request == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("callback_url", {"callback_url": "https://elsewhere.example/"}),
        ("callback_url", {"callback_url": ""}),
        ("hook.url", {"hook": {"url": "https://elsewhere.example/"}}),
        ("hook.url", {"hook": "https://elsewhere.example/"}),
        ("hook.url", {"hook": [1]}),
    ],
)
def test_a_reserved_field_is_refused(path: str, request_: dict[str, Any]) -> None:
    """Where the callback goes is ours to say; the refusal names the field."""
    provider = acme(callback={"where": "body", "path": path})
    with pytest.raises(RequestError) as refused:
        submission_request(provider, job(), request_, callback_url=URL)
    assert refused.value.code == "request_field_reserved"
    assert refused.value.field is not None
    assert refused.value.field.startswith(f"request.{path.partition('.')[0]}")


def test_the_callback_url_may_travel_in_the_query_or_encoded() -> None:
    """A description may put it into the query string or into base64 JSON."""
    query = acme(callback={"where": "query", "path": "webhook"})
    assert submission_request(query, job(), {}, callback_url=URL).url.endswith(
        "/jobs?webhook=https%3A%2F%2Fhooks.example%2Fcallbacks%2Facme%2Ftoken"
    )
    coded = acme(
        callback={
            "where": "body",
            "path": "hooks",
            "encode": "base64-json",
            "encoded_path": "0.requestUrl",
            "set": {"on": ["end"]},
        }
    )
    body = json.loads(submission_request(coded, job(), {}, callback_url=URL).body or b"")
    assert json.loads(base64.b64decode(body["hooks"])) == [{"requestUrl": URL, "on": ["end"]}]


def test_what_only_calls_back_cannot_be_submitted_to() -> None:
    """A description without submit refuses the order."""
    with pytest.raises(RequestError) as refused:
        submission_request(acme(submit=None), job(), {}, callback_url=None)
    assert refused.value.code == "submit_unsupported"
