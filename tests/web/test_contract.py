"""The OpenAPI document is the contract: valid, and true of the service, example by example and by chance."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from .conftest import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hypothesis.strategies import SearchStrategy
    from schemathesis import Case
    from schemathesis.schemas import APIOperation, BaseSchema

    from .conftest import Site

# schemathesis draws by the module random in a strategy (4.32).
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")

#: Each of these made by chance; the more, the longer the test.
CHANCES = 5


def operations(schema: BaseSchema) -> Iterator[APIOperation[Any, Any, Any, Any]]:
    """Every operation; fails where one is described wrongly."""
    from schemathesis.core.result import Ok

    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        yield result.ok()


async def described(site: Site) -> BaseSchema:
    """The document that the service serves, validated."""
    document = (await site.get("/v1/openapi.json")).json()
    import schemathesis

    schema = schemathesis.openapi.from_dict(document)
    schema.validate()
    return schema


def checks() -> list[Any]:
    """What an answer is held against."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    return [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]


def ask(case: Case[Any], site: Site, ids: dict[str, str]) -> int:
    """Send one request and hold its answer against the document."""
    for name in case.path_parameters or {}:
        real = ids.get(f"{case.operation.label} {name}")
        if real is not None and case.path_parameters is not None:
            case.path_parameters[name] = real
    answer = case.call(base_url=site.url, headers={"authorization": f"Bearer {TOKEN}"})
    case.validate_response(answer, checks=checks())
    return answer.status_code


async def test_every_example_is_answered_as_described(site: Site) -> None:
    """With ids of what is stored: each example is taken, and each answer is of the form that is promised."""
    job = await site.ended("netnut", metadata={"handler": "fails"})
    other = await site.ended("netnut", metadata={"handler": "fails"})
    running = await site.submit("perplexity-webhook")
    callback = (await site.get("/v1/callbacks")).json()["callbacks"][0]["id"]
    await site.until("/v1/dispatches?state=dead", lambda found: len(found["dispatches"]) == 2)
    (await site.http.put("/v1/readers/laptop", json={"cursor": "0"})).raise_for_status()
    schema = await described(site)
    names = {"/v1/jobs/": job["id"], "/v1/callbacks/": callback, "/v1/dispatches/": f"{job['id']}:keep"}
    ids = {
        f"{one.label} id": value
        for one in operations(schema)
        for prefix, value in names.items()
        if one.path.startswith(prefix)
    }
    ids |= {f"POST /v1/handlers/{{name}}/{verb} name": "keep" for verb in ("pause", "resume")}
    ids |= {
        "DELETE /v1/jobs/{id} id": running["id"],
        "DELETE /v1/dispatches/{id} id": f"{other['id']}:keep",
    }
    answered: dict[str, set[int]] = {}
    for operation in operations(schema):
        examples = operation.get_strategies_from_examples()
        assert examples or not operation.definition.raw.get("parameters"), operation.label
        for example in examples or [operation.as_strategy()]:

            def send(case: Case[Any], label: str = operation.label) -> None:
                answered.setdefault(label, set()).add(ask(case, site, ids))

            await tried(send, example, many=1)
    assert len(answered) == sum(1 for _ in operations(schema))
    refused = {label: got for label, got in answered.items() if not all(200 <= one < 300 for one in got)}
    # A message without a signature is not genuine, and the results of these providers have neither files nor pages:
    # what is answered to whoever asks for one is in the tests of those.
    numbered = {label: {404} for label in answered if label.endswith("/{number}")}
    assert refused == {"POST /v1/verify/{provider}": {401}} | numbered


async def test_whatever_is_asked_is_answered_as_described(site: Site) -> None:
    """Requests made by chance from the document, right and wrong ones, get answers that it describes."""
    await site.ended("perplexity-webhook")
    schema = await described(site)
    for operation in operations(schema):
        await tried(lambda case: ask(case, site, {}), operation.as_strategy(), many=CHANCES)


async def tried(
    send: Callable[[Case[Any]], object], strategy: SearchStrategy[Case[Any]], *, many: int
) -> None:
    """Send *many* cases of a strategy, away from the event loop that answers them."""

    def body(case: Case[Any]) -> None:
        send(case)

    health = list(HealthCheck)
    chosen = settings(
        max_examples=many,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=health,
    )
    await asyncio.to_thread(chosen(given(case=strategy)(body)))
