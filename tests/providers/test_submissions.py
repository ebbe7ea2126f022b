"""The request that each submitting description makes, against what its API documents."""

import base64
import json
from typing import Any
from urllib.parse import parse_qsl

import pytest
from msgspec.structs import replace

from receiver.core.asking import cancelling, exchange
from receiver.core.asking.assembly import assemble
from receiver.core.asking.exchange import Accepted, HttpRequest, HttpResponse, submission_request
from receiver.core.description.callbacks import KeySource
from receiver.core.description.provider import Provider, describe, origin_of
from receiver.core.errors import RequestError
from receiver.core.model import Due, Step
from receiver.keys import Keys
from receiver.settings import Settings

from .documented import CALLBACK, EXPECTED, TEXT
from .making import LARGEST, NOW, PROVIDERS, SECRET, SUBMITTING, job_of


def request_of(name: str, asked: dict[str, Any], *, callback_url: str | None = CALLBACK) -> HttpRequest:
    """The submission that the description makes."""
    return submission_request(PROVIDERS[name], job_of(name), asked, callback_url=callback_url, secret=SECRET)


def sent_in(request: HttpRequest) -> Any:  # noqa: ANN401  (JSON, or the fields of a form)
    """What the body of a submission says."""
    if request.fields or request.body is None:
        return request.fields or None
    if request.headers.get("content-type") == "application/x-www-form-urlencoded":
        return dict(parse_qsl(request.body.decode()))
    return json.loads(request.body)


def environment(provider: Provider) -> dict[str, str]:
    """Every credential, set to x."""
    names = [reference for one in provider.credentials for reference in one.references]
    return {name.removeprefix("env:"): "x" for name in names}


def test_every_submission_is_held_against_its_documentation() -> None:
    """No submitting description is left out below."""
    assert sorted(EXPECTED) == SUBMITTING


@pytest.mark.parametrize("name", SUBMITTING)
def test_a_submission_is_as_documented(name: str) -> None:
    """Method, address, body with the callback URL at its place, and the header that authenticates."""
    asked, url, body, header = EXPECTED[name]
    request = request_of(name, asked)
    assert request.method == ("GET" if name in {"netnut-serp", "serpapi"} else "POST")
    if "BASE64" in url:
        url, found = url.removesuffix("BASE64"), request.url
        assert found.startswith(url)
        request = HttpRequest(purpose="submit", method=request.method, url=url, body=request.body)
        hooks = json.loads(base64.b64decode(dict(parse_qsl(found.partition("?")[2]))["webhooks"]))
        assert hooks[0]["requestUrl"] == CALLBACK
        assert "ACTOR.RUN.SUCCEEDED" in hooks[0]["eventTypes"]
    assert request.url == url
    assert sent_in(request) == body
    field, _, value = header.partition(": ")
    keys = Keys(Settings.load(environment(PROVIDERS[name])))
    if header.startswith("?"):
        assert keys.in_address(PROVIDERS[name]) == dict(parse_qsl(header[1:]))
        return
    if not header:
        assert keys.minted(PROVIDERS[name]) is not None
        return
    assert keys.credentials(PROVIDERS[name])[field] == value


@pytest.mark.parametrize("name", SUBMITTING)
def test_without_a_public_address_no_callback_is_asked_for(name: str) -> None:
    """A receiver that cannot be reached asks for none, and gives no secret away."""
    provider, asked = PROVIDERS[name], EXPECTED[name][0]
    request = request_of(name, asked, callback_url=None)
    assert "hooks.example" not in f"{request}"
    assert TEXT not in f"{request.url}{request.body!r}{request.fields}"
    assert provider.poll is not None or provider.callback is not None


@pytest.mark.parametrize("name", SUBMITTING)
def test_every_address_lies_in_the_origins(name: str) -> None:
    """Credentials go to the origins of the description and nowhere else, whatever id the provider gives."""
    provider, asked = PROVIDERS[name], EXPECTED[name][0]
    urls = [request_of(name, asked).url]
    for operation in list(provider.operations) or [""]:
        job = job_of(name)
        accepted = HttpResponse(
            status=200, headers=((b"x-response-id", b"a/../b?c"),), body=b'{"id": "a/../b?c"}'
        )
        conversation = exchange.submit(
            provider,
            job,
            asked,
            callback_url=None,
            secret=None,
            files={},
            largest=LARGEST,
            now=NOW,
        )
        urls.append(next(conversation).url)
        with pytest.raises(StopIteration) as end:
            conversation.send(accepted)
        seen = end.value.value.seen if isinstance(end.value.value, Accepted) else None
        known = replace(
            job,
            operation=operation,
            remote_id="a/../b?c",
            response_url=seen.response_url if seen else None,
            cancel_url=seen.cancel_url if seen else None,
        )
        if exchange.can_look(provider, known, Due(job_id=job.id, step=Step.LOOK, provider=name, run_at=NOW)):
            looking = exchange.status(provider, known, candidate_id=None, largest=LARGEST, now=NOW)
            urls.append(next(looking).url)
        if provider.cancel is not None and (known.cancel_url or "{cancel_url}" not in provider.cancel.url):
            urls.append(next(cancelling.cancel(provider, known, now=NOW)).url)
    for url in urls:
        assert origin_of(url) in provider.origins
        assert "/../" not in url


@pytest.mark.parametrize(
    ("name", "field"), [("fal", "model"), ("runpod", "endpoint_id"), ("apify", "actor"), ("bfl", "model")]
)
@pytest.mark.parametrize("value", [None, "", "../admin", "a/./b", "a//b", "/a", "a\n", 1.5, "x" * 600, {}])
def test_an_address_takes_only_a_plain_name(name: str, field: str, value: object) -> None:
    """What the address needs must be in the request, and cannot lead to another place of the API."""
    asked = EXPECTED[name][0] | {field: value}
    with pytest.raises(RequestError) as refused:
        request_of(name, asked)
    assert (refused.value.code, refused.value.field) == ("request_field_missing", f"request.{field}")


def test_a_name_in_an_address_is_quoted() -> None:
    """A query or a fragment in a name stays part of the name."""
    asked = {"model": "flux?x=1#y@z:9", "prompt": "A cat"}
    assert request_of("bfl", asked).url == "https://api.bfl.ai/v1/flux%3Fx%3D1%23y%40z%3A9"


@pytest.mark.parametrize(
    ("name", "field", "asked"),
    [
        ("replicate", "webhook", {"webhook": "https://mine.example"}),
        ("firecrawl", "webhook.url", {"webhook": {"url": "https://mine.example"}}),
        ("netnut-serp", "callbackUrl", {"q": "pizza", "callbackUrl": "https://mine.example"}),
        (
            "llamaparse",
            "webhook_configurations.0.webhook_url",
            {"webhook_configurations": [{"webhook_url": "https://mine.example"}]},
        ),
        ("dataforseo", "0.pingback_url", {"keyword": "x", "pingback_url": "https://mine.example"}),
    ],
)
def test_the_callback_is_the_receivers_to_set(name: str, field: str, asked: dict[str, Any]) -> None:
    """A request that sets the place of the callback itself is refused, naming the field."""
    with pytest.raises(RequestError) as refused:
        request_of(name, asked)
    assert (refused.value.code, refused.value.field) == ("request_field_reserved", f"request.{field}")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("firecrawl", {"url": "https://a.example", "webhook": "https://mine.example"}),
        ("llamaparse", {"file_id": "f", "webhook_configurations": {"a": 1}}),
    ],
)
def test_a_list_and_an_object_are_not_mixed_up(name: str, asked: dict[str, Any]) -> None:
    """Where the description needs a list or an object, the request cannot hold another thing."""
    with pytest.raises(RequestError) as refused:
        request_of(name, asked)
    assert refused.value.code == "request_field_reserved"


def test_addresses_follow_from_the_request_and_the_id() -> None:
    """RunPod's answer names no address: they are made from the endpoint in the request and the job's id."""
    conversation = exchange.submit(
        PROVIDERS["runpod"],
        job_of("runpod"),
        EXPECTED["runpod"][0],
        callback_url=None,
        secret=None,
        files={},
        largest=LARGEST,
        now=NOW,
    )
    next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(HttpResponse(status=200, body=b'{"id": "j/1", "status": "IN_QUEUE"}'))
    seen = end.value.value.seen
    assert seen.response_url == "https://api.runpod.ai/v2/abc123/status/j%2F1"
    assert seen.cancel_url == "https://api.runpod.ai/v2/abc123/cancel/j%2F1"


def test_a_key_may_come_with_the_submit_answer() -> None:
    """Where a provider returns the key for its callbacks with the answer, the description names its path."""
    provider = describe(
        {
            "name": "acme",
            "title": "Acme",
            "origins": ["https://api.acme.example"],
            "sources": [{"url": "https://acme.example/docs", "read": "2026-11-20"}],
            "submit": {"url": "https://api.acme.example/monitors"},
            "callback": {"where": "body", "path": "webhook", "result": "answer"},
            "verify": {"scheme": "hmac", "header": "X-Signature"},
            "key": {"source": "submit-answer", "path": "webhookSecret"},
            "shapes": {"answer": {"id": ["id"]}},
        }
    )
    assert provider.key == KeySource(source="submit-answer", path="webhookSecret")
    conversation = exchange.submit(
        provider,
        job_of("exa"),
        {},
        callback_url=CALLBACK,
        secret=None,
        files={},
        largest=LARGEST,
        now=NOW,
    )
    next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(HttpResponse(status=201, body=b'{"id": "m_1", "webhookSecret": "s3cret"}'))
    assert end.value.value.key == "s3cret"
    assert "s3cret" not in repr(end.value.value)


def test_fields_that_are_null_are_left_out_of_forms_and_addresses() -> None:
    """A null is nothing in a form or an address."""
    made = assemble(
        PROVIDERS["netnut-serp"],
        job_of("netnut-serp"),
        {"q": "x", "num": None},
        callback_url=None,
        secret=None,
    )
    assert made.url == "https://serp-api.netnut.io/search?q=x"
