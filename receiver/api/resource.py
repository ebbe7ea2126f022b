"""One address of ``/v1``: the API token, the methods it has, and problem details for whatever goes wrong."""

import codecs
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from receiver.core.body.jsontext import parse_json
from receiver.core.errors import (
    NotFoundError,
    ReceiverError,
    RequestError,
    StoreUnavailableError,
    UnreadableError,
)
from receiver.wire.strangers import prove
from receiver.wire.web import PRIVATE, RETRY, AccessError, Bodies, BodyRefused, authorize, broken, problem

log = structlog.get_logger(__name__)

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")

_CLOSE: Final = {"connection": "close"}
#: The headers of every document.
_DOCUMENT: Final = [
    (b"content-type", b"application/json"),
    *((name.encode(), value.encode()) for name, value in PRIVATE.items()),
]
_LONGEST_NAME: Final = 100


class RouteUnknownError(NotFoundError):
    """There is nothing at this address; GET /v1/openapi.json lists what there is."""

    code = "route_unknown"


class MethodUnknownError(RequestError):
    """This address has other methods; the header Allow names them."""

    code = "method_not_allowed"
    status = 405


class MalformedError(RequestError):
    """The body is not JSON in the form that RFC 8259 and good sense agree on; ``code`` says what is wrong."""

    code = "body_not_json"
    status = 400


class BodyIncompleteError(RequestError):
    """The body ended before it was complete; send it again."""

    code = "body_incomplete"
    status = 400


class BodyLateError(RequestError):
    """The body took longer to arrive than RECEIVER_RECEIVE_TIMEOUT."""

    code = "body_late"
    status = 408


class BodyTooLargeError(RequestError):
    """The body is larger than RECEIVER_MAX_BODY."""

    code = "body_too_large"
    status = 413


_REFUSED: Final[Mapping[int, type[RequestError]]] = {
    error.status: error for error in (BodyIncompleteError, BodyLateError, BodyTooLargeError)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one address, with what OpenAPI says about it."""

    method: str
    path: str
    summary: str
    endpoint: Endpoint
    #: The document or media type of each successful status; ``None`` for an answer without a body.
    answers: Mapping[int, Any]
    #: The document or media type of the request's body.
    takes: Any = None
    may_be_empty: bool = False
    query: Sequence[str] = ()
    headers: Sequence[str] = ()
    #: The statuses of problem details beyond those that every operation has.
    problems: Sequence[int] = ()
    #: Whether ``Authorization`` may be the original message's, and ours is ``X-Receiver-Authorization``.
    own_header: bool = False


class Resource:
    """An ASGI endpoint: the operations of one address by method; without any, it is unknown."""

    def __init__(self, operations: Mapping[str, Operation], *, api_token: str) -> None:
        self._operations = operations
        self._api_token = api_token
        self._own_header = any(one.own_header for one in operations.values())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive, send)
        try:
            operation = self._operation(request)
        except RequestError as error:
            # The body was not read and will not be, so the connection ends.
            response = refusal(error, self._allow() | _CLOSE)
        else:
            response = await _run(operation, request)
        await response(scope, receive, send)

    def _operation(self, request: Request) -> Operation:
        """The operation asked for. The token is checked first: without it nobody learns which addresses exist."""
        method = "GET" if request.method == "HEAD" else request.method
        operation = self._operations.get(method)
        authorize(request.headers, api_token=self._api_token, own_header=self._own_header)
        prove(request.scope)
        if not self._operations:
            raise RouteUnknownError
        if operation is None:
            raise MethodUnknownError
        asked = request.query_params.multi_items() if request.scope["query_string"] else ()
        for name, _ in asked:
            if name not in operation.query:
                known = ", ".join(operation.query) or "none"
                raise RequestError(
                    f"There is no query parameter {_named(name)!r} here; there are: {known}.",
                    code="query_unknown",
                    field=_named(name),
                )
            if len(request.query_params.getlist(name)) > 1:
                raise RequestError(f"{name} is given twice.", code="query_repeated", field=name)
        return operation

    def _allow(self) -> dict[str, str]:
        if not self._operations:
            return {}
        methods = {*self._operations, *({"HEAD"} if "GET" in self._operations else ())}
        return {"allow": ", ".join(sorted(methods))}


async def _run(operation: Operation, request: Request) -> Response:
    try:
        return await operation.endpoint(request)
    except BodyRefused as refused:
        return refusal(_REFUSED[refused.response.status_code](), _CLOSE)
    except ReceiverError as error:
        return refusal(error)
    except Exception:
        log.exception("request_failed", route="v1")
        return broken()


def refusal(error: ReceiverError, headers: Mapping[str, str] | None = None) -> Response:
    """An error as problem details, with the headers that belong to its status."""
    more = dict(headers or {})
    if not isinstance(error, MethodUnknownError):
        more.pop("allow", None)
    if isinstance(error, AccessError):
        more["www-authenticate"] = "Bearer"
    if error.status == StoreUnavailableError.status:
        more |= RETRY
    return problem(error, headers=more)


def answer(document: object, *, status: int = 200) -> Response:
    """A document as JSON, which no cache keeps."""
    response = Response(msgspec.json.encode(document), status_code=status)
    response.raw_headers += _DOCUMENT
    return response


async def read_document(request: Request, kind: type[T], *, bodies: Bodies, empty: T | None = None) -> T:
    """Read the body as a document of *kind*, or take *empty* for an empty one.

    Raises:
        BodyRefused: it is too large, too slow or cut off.
        MalformedError: it is not JSON.
        RequestError: it is not of *kind*; ``field`` names the part that is not.
    """
    body = await bodies.read(request.receive, request.scope["headers"])
    if not body and empty is not None:
        return empty
    try:
        # A mark in front may be passed over (RFC 8259, 8.1), and some clients write one.
        value = parse_json(body.removeprefix(codecs.BOM_UTF8))
    except UnreadableError as error:
        raise MalformedError(str(error), code=error.code) from error
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(error) from error
    except UnicodeEncodeError as error:
        raise MalformedError("The JSON names half of a character.", code="body_not_utf8") from error


def _invalid(error: msgspec.ValidationError) -> RequestError:
    reason, _, place = str(error).partition(" - at ")
    path = place.strip("`").removeprefix("$").lstrip(".")
    _, quoted, name = reason.partition("field `")
    # msgspec says where the object is; the caller wants to know which of its fields.
    parts = [path, name.rstrip("`")] if quoted else [path]
    named = _named(".".join(filter(None, parts)))
    sentence = reason if named and quoted else f"{named or 'The body'}: {reason}"
    return RequestError(f"{sentence[: 2 * _LONGEST_NAME]}.", code="request_invalid", field=named or None)


def _named(name: str) -> str:
    return name[:_LONGEST_NAME]
