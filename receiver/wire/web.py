"""What every HTTP face needs: bounded bodies, problem details, the API token."""

import asyncio
import hmac
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope

from receiver.core.errors import ReceiverError, RequestError, StoreUnavailableError
from receiver.timers import Deadlines, Span
from receiver.wire.cycle import AT_ONCE

#: Headers of every answer about a capability URL: nothing keeps it, nothing passes it on.
PRIVATE: Final = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
_BUSY: Final = 503
#: The header for everybody who is to try again.
RETRY: Final = {"retry-after": "5"}
_CLOSE: Final = {"connection": "close"}
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


def path_of(scope: Scope) -> str:
    """The path that a request is for, from where we are mounted."""
    # Newer frameworks that mount us leave the mount point in the path, older ones take it off.
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path") or "")


_CODES: Final = {
    413: "body_too_large",
    408: "body_late",
    400: "body_incomplete",
    _BUSY: "too_many_bodies",
}


class BodyRefused(Exception):  # noqa: N818  (it is an answer, raised)
    """A body that is not read any further; ``response`` says why and closes the connection."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
        #: Why, as a stable code.
        self.code = _CODES[status]
        retry = RETRY if status == _BUSY else {}
        self.response = Response(status_code=status, headers=PRIVATE | _CLOSE | retry)


class Bodies:
    """Reads the bodies of requests, within bounds for each and for all that are under way together.

    Args:
        largest: Bytes of one body.
        patience: Seconds that one may take.
        room: Bytes that all may hold together, so that nobody fills the memory with halves of bodies.
    """

    def __init__(self, *, largest: int, patience: float, room: float = math.inf) -> None:
        self._largest = largest
        self._patience = patience
        self._room = room
        self._deadlines = Deadlines()

    def at_once(self, scope: Scope) -> bytes | None:
        """A request's body, where all of it is here; ``None`` where it is to be waited for (``read``).

        The room that it takes is the caller's to give back. Raises BodyRefused as ``read`` does.
        """
        at_once = scope.get("state", _NONE).get(AT_ONCE)
        body: bytes | None = None if at_once is None else at_once()
        if body is None:
            return None
        size = len(body)
        if size > self._largest or size > self._room:
            raise BodyRefused(413 if size > self._largest else _BUSY)
        self._room -= size
        return body

    async def read(self, receive: Receive, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Read a request's body; the room that it takes is the caller's to give back.

        Args:
            receive: Where it comes from.
            headers: The request's.

        Raises:
            BodyRefused: 413 if it is larger, 408 if it takes longer, 400 if the sender left, 503 if there is no
                room.
        """
        declared = dict(headers).get(b"content-length", b"")
        if declared == b"0":
            return b""
        if declared.isdigit() and int(declared[:20]) > self._largest:
            raise BodyRefused(413)
        return await self._awaited(receive)

    async def _awaited(self, receive: Receive) -> bytes:
        """A body as it comes, within the time that it may take; raises as ``read`` does."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101  (a server runs each request in one)
        span = Span(task, loop.time() + self._patience)
        self._deadlines.watch(span, loop)
        pieces: list[bytes] = []
        taken = 0
        try:
            while True:
                message = await receive()
                piece: bytes = message.get("body", b"")
                size = len(piece)
                if message["type"] == "http.disconnect":
                    status = 400
                elif taken + size > self._largest:
                    status = 413
                elif size > self._room:
                    status = _BUSY
                else:
                    self._room -= size
                    taken += size
                    if not message.get("more_body"):
                        return b"".join([*pieces, piece]) if pieces else piece
                    pieces.append(piece)
                    continue
                raise BodyRefused(status)  # noqa: TRY301  (what was taken is given back below)
        except BaseException as error:
            self.give(taken)
            # Whether it was cancelled because its time was up, and by nobody else.
            if isinstance(error, asyncio.CancelledError) and span.late and task.uncancel() == 0:
                raise BodyRefused(408) from None
            raise
        finally:
            self._deadlines.forget(span)

    def give(self, size: int) -> None:
        """Give room back."""
        self._room += size


def problem(error: ReceiverError, *, headers: Mapping[str, str] | None = None) -> Response:
    """An error as RFC 9457 problem details (https://www.rfc-editor.org/rfc/rfc9457, read 2026-11-20)."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": type(error).__name__.removesuffix("Error"),
        "status": error.status,
        "code": error.code,
        "detail": str(error),
    }
    document |= error.details
    if isinstance(error, RequestError) and error.field is not None:
        document["field"] = error.field
    return Response(
        msgspec.json.encode(document),
        status_code=error.status,
        media_type="application/problem+json",
        headers={"cache-control": "no-store", **(headers or {})},
    )


def broken() -> Response:
    """The answer to what went wrong in here: never a 4xx, which a sender takes for its own fault and gives up."""
    error = StoreUnavailableError(
        "Something broke in the receiver; it is logged. Try again.", code="internal_error"
    )
    return problem(error, headers=RETRY)


class AccessError(RequestError):
    """The request does not carry the API token, or carries another."""

    code = "unauthorized"
    status = 401


class AccessClosedError(RequestError):
    """RECEIVER_API_TOKEN is not set, so this address is closed; set it (receiver keygen makes one)."""

    code = "api_token_missing"
    status = 403


def is_same(sent: str, token: str) -> bool:
    """Whether *sent*, out of a header, is *token*, out of the environment; to find out takes as long for any.

    A header's bytes come as Latin-1; the environment's are UTF-8, or whatever else they are.
    """
    return hmac.compare_digest(sent.encode("latin-1", "replace"), token.encode("utf-8", "surrogateescape"))


def authorize(headers: Mapping[str, str], *, api_token: str, own_header: bool = False) -> None:
    """Raise unless the request carries the API token.

    With *own_header*, ``X-Receiver-Authorization`` goes first: where a callback's original headers are passed
    on, ``Authorization`` may be the provider's.
    """
    if not api_token:
        raise AccessClosedError
    given = headers.get("authorization", "")
    if own_header:
        given = headers.get("x-receiver-authorization", given)
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise AccessError("Send the API token: Authorization: Bearer …")
    if not is_same(token.strip(), api_token):
        raise AccessError(
            "The token that was sent is not this receiver's API token (its RECEIVER_API_TOKEN)."
        )
