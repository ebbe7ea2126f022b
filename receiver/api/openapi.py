"""The OpenAPI 3.1 description of ``/v1``, made from the operations and their types."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec

from receiver.api.examples import BODIES, OF_OPERATIONS, PARAMETERS
from receiver.api.resource import Operation

_REF: Final = "#/components/schemas/{name}"
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")
#: Every operation can be answered with these.
_ALWAYS: Final = (401, 403, 422, 503)
_MEANING: Final = {
    200: "Done.",
    202: "Recorded; it is being carried out.",
    204: "Done.",
    206: "The part that Range asks for.",
    304: "What the caller has is current.",
    400: "The body is not JSON.",
    401: "The API token is missing or wrong.",
    403: "RECEIVER_API_TOKEN is not set.",
    404: "Nothing of this name is stored.",
    408: "The body took too long to arrive.",
    409: "The request contradicts what is recorded.",
    410: "Some of what was asked for was pruned; oldest is the cursor that still works.",
    413: "The body is too large.",
    416: "There is no such part.",
    422: "The request cannot be carried out as it stands; field names the part to change.",
    500: "The job is recorded and its outcome is not known yet: do not send it again, ask for it by the id given.",
    503: "The store or a key is not available; try again.",
}
_HINTS: Final = {
    "state": "A state; for jobs also open.",
    "since": "RFC 3339, or seconds since the epoch.",
    "limit": "The most to answer with, at most 200.",
    "cursor": "The cursor of the page before.",
    "after": "Only what comes after this cursor of the feed: 0 is the beginning, latest the end.",
    "wait": "Seconds that the answer may wait for news.",
    "traceparent": "The place in a distributed trace (W3C) that the job belongs to; kept with it.",
    "Range": "bytes=0-1023: only this part.",
    "If-Range": "The ETag of which the part is to be; else all of it is answered.",
    "X-Receiver-Url": "The address as its sender called it; with a key for each job, its callback URL.",
    "X-Receiver-At": "Verify as of this time: RFC 3339, or seconds since the epoch.",
    "X-Receiver-Authorization": "Bearer and the API token, where Authorization is the message's own.",
}


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True, rename={"kind": "type"}):
    """RFC 9457 problem details."""

    kind: str
    title: str
    status: int
    #: Stable; receiver explain CODE says what it means.
    code: str
    #: For a person: what is wrong and what to do next.
    detail: str
    #: The part of the request to change.
    field: str | msgspec.UnsetType = msgspec.UNSET
    #: The oldest cursor that still works, where the one given does not.
    oldest: str | msgspec.UnsetType = msgspec.UNSET


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """Describe *operations*."""
    kinds: list[Any] = [ProblemDocument]
    for operation in operations:
        for kind in (operation.takes, *operation.answers.values()):
            if isinstance(kind, type) and kind not in kinds:
                kinds.append(kind)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    names = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, names)
    return {
        "openapi": "3.1.0",
        "info": {"title": "receiver", "version": version("receiver")},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(operation: Operation, names: dict[Any, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status in sorted({*_ALWAYS, *operation.problems}):
        responses[str(status)] = _response(
            status, {"application/problem+json": {"schema": names[ProblemDocument]}}
        )
    for status, kind in operation.answers.items():
        known = responses.get(str(status), {}).get("content", {})
        responses[str(status)] = _response(status, {**known, **_content(kind, names)})
    described: dict[str, Any] = {
        "operationId": getattr(operation.endpoint, "__qualname__", operation.path).lower(),
        "summary": operation.summary,
        "parameters": [
            *(_parameter(name, "path", operation) for name in _PATH_PARAMETER.findall(operation.path)),
            *(_parameter(name, "query", operation) for name in operation.query),
            *(_parameter(name, "header", operation) for name in operation.headers),
        ],
        "responses": responses,
    }
    if operation.takes is not None:
        described["requestBody"] = {
            "required": not operation.may_be_empty,
            "content": _with_examples(_content(operation.takes, names), operation),
        }
    return described


def _with_examples(content: dict[str, Any], operation: Operation) -> dict[str, Any]:
    known = BODIES.get(f"{operation.method} {operation.path}")
    if known is None:
        return content
    examples = {name: {"value": value} for name, value in known.items()}
    return {kind: {**described, "examples": examples} for kind, described in content.items()}


def _parameter(name: str, place: str, operation: Operation) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1} if name == "limit" else {"type": "string"}
    parameter = {"name": name, "in": place, "required": place == "path", "schema": schema}
    own = OF_OPERATIONS.get(f"{operation.method} {operation.path}", {})
    example = own.get(name, PARAMETERS.get(name))
    return (
        parameter
        | ({"description": _HINTS[name]} if name in _HINTS else {})
        | ({} if example is None else {"example": example})
    )


def _content(kind: object, names: dict[Any, Any]) -> dict[str, Any]:
    if kind is None:
        return {}
    if isinstance(kind, str):
        return {kind: {}}
    return {"application/json": {"schema": names[kind]}}


def _response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _MEANING[status]}
    return response | ({"content": content} if content else {})
