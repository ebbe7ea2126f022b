"""What every HTTP face needs: bounded bodies, problem details, the API token."""

import asyncio
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive

from receiver.core.errors import ReceiverError, RequestError, StoreUnavailableError

#: Headers of every answer about a capability URL: nothing keeps it, nothing passes it on.
PRIVATE: Final = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
_BUSY: Final = 503
#: What everybody hears who is to try again.
RETRY: Final = {"retry-after": "5"}
_CLOSE: Final = {"connection": "close"}


class BodyRefused(Exception):  # noqa: N818  (it is an answer, raised)
    """A body that is not read any further; ``response`` says why and closes the connection."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        retry = RETRY if status == _BUSY else {}
        self.response = Response(status_code=status, headers=PRIVATE | _CLOSE | retry)


class Budget:
    """Bytes that all requests under way may hold together: nobody fills the memory with halves of bodies."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, size: int) -> bool:
        """Take *size* bytes if that many are left."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        """Give bytes back."""
        self._left += size


async def read_body(
    receive: Receive,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    largest: int,
    patience: float,
    budget: Budget | None = None,
) -> bytes:
    """Read a request's body, at most *largest* bytes within *patience* seconds.

    What is taken from *budget* for the body that is returned is the caller's to give back.

    Raises:
        BodyRefused: 413 if it is larger, 408 if it takes longer, 400 if the sender left, 503 if the budget
            is spent.
    """
    declared = dict(headers).get(b"content-length", b"")
    if declared.isdigit() and int(declared[:20]) > largest:
        raise BodyRefused(413)
    loop = asyncio.get_running_loop()
    late = _Late(asyncio.current_task(loop))
    # asyncio.timeout does this too, for five times the price: a third of what a small callback costs in all.
    timer = loop.call_later(patience, late.interrupt)
    pieces: list[bytes] = []
    size = taken = 0
    more = True
    try:
        while more:
            message = await receive()
            more = message.get("more_body", False)
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if message["type"] == "http.disconnect":
                status = 400
            elif size > largest:
                status = 413
            elif budget is not None and not budget.take(len(piece)):
                status = _BUSY
            else:
                taken = size
                pieces.append(piece)
                continue
            raise BodyRefused(status)  # noqa: TRY301  (what was taken is given back below)
    except BaseException as error:
        if budget is not None:
            budget.give(taken)
        if isinstance(error, asyncio.CancelledError) and late.is_why():
            raise BodyRefused(408) from None
        raise
    finally:
        timer.cancel()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Late:
    """Interrupts a task whose time is up."""

    __slots__ = ("_interrupted", "_task")

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        assert task is not None  # noqa: S101  (a server runs each request in a task)
        self._task = task
        self._interrupted = False

    def interrupt(self) -> None:
        self._interrupted = True
        self._task.cancel()

    def is_why(self) -> bool:
        """Whether the task was cancelled by this, and by nobody else."""
        return self._interrupted and self._task.uncancel() == 0


def problem(error: ReceiverError, *, headers: Mapping[str, str] | None = None) -> Response:
    """An error as RFC 9457 problem details (https://www.rfc-editor.org/rfc/rfc9457, read 2026-11-20)."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": type(error).__name__.removesuffix("Error"),
        "status": error.status,
        "code": error.code,
        "detail": str(error),
    }
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
    """The request does not carry the API token."""

    code = "unauthorized"
    status = 401


class AccessClosedError(RequestError):
    """RECEIVER_API_TOKEN is not set, so this address is closed; set it (receiver keygen makes one)."""

    code = "api_token_missing"
    status = 403


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
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), api_token.encode()):
        raise AccessError("Send the API token: Authorization: Bearer …")
