"""A WSGI application that hears of completions: for Flask, Django and whatever else is synchronous.

It is what an HTTP sink (``RECEIVER_SINK_<NAME>=https://…``) or ``receiver tail --forward-to`` sends to.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from receiver.client.events import CompletionEvent, EventUnreadableError, read_event
from receiver.core.errors import ReceiverError, RejectionError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

_LARGEST: Final = 64 * 1024 * 1024


class CompletionHook:
    """Calls a function for each completion, once it is proved; a 2xx says that the function has returned.

    Args:
        handle: Gets a ``CompletionEvent``. If it raises, the answer is 500 and the receiver sends the event again.
            The same event may come more than once, so it goes by ``event.id``.
        secret: The sink's secret (``whsec_…``); several, comma-separated, while it is being changed.
        largest: Bytes of the largest request that is read.
    """

    def __init__(
        self, handle: Callable[[CompletionEvent], object], *, secret: str, largest: int = _LARGEST
    ) -> None:
        self._handle = handle
        self._secret = secret
        self._largest = largest

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request: 204 taken, 401 not genuine, 405, 411, 413, 422 no completion, 500 to be sent again."""
        status, code = self._answer(environ)
        body = json.dumps({"status": status.value, "code": code}).encode() if code else b""
        headers = [("Content-Type", "application/problem+json"), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers if body else [])
        return [body] if body else []

    def _answer(self, environ: "WSGIEnvironment") -> tuple[HTTPStatus, str]:
        if environ["REQUEST_METHOD"] != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed"
        length = str(environ.get("CONTENT_LENGTH") or "")
        if not (length.isascii() and length.isdigit()):
            return HTTPStatus.LENGTH_REQUIRED, "body_incomplete"
        if int(length) > self._largest:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large"
        body = environ["wsgi.input"].read(int(length))
        try:
            event = read_event(body, list(headers_of(environ)), secret=self._secret)
        except RejectionError as error:
            return HTTPStatus.UNAUTHORIZED, error.code
        except EventUnreadableError as error:
            return HTTPStatus.UNPROCESSABLE_ENTITY, error.code
        except ReceiverError as error:
            log.exception("the secret of a completion hook cannot be used")
            return HTTPStatus.INTERNAL_SERVER_ERROR, error.code
        try:
            self._handle(event)
        except Exception:
            log.exception("a completion was not handled: %s", event.id)
            return HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error"
        return HTTPStatus.NO_CONTENT, ""


def headers_of(environ: "dict[str, Any]") -> Iterator[tuple[str, str]]:
    """The headers of a WSGI request."""
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name.removeprefix("HTTP_").replace("_", "-").lower(), str(value)
        elif name == "CONTENT_TYPE":
            yield "content-type", str(value)
