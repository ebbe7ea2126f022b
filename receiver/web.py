"""What every HTTP face needs: bounded bodies, problem details, the API token."""

import asyncio
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import Message, Receive

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
    task = asyncio.current_task(loop)
    assert task is not None  # noqa: S101  (a server runs each request in a task)
    reading = _Reading(task, largest, budget)
    # asyncio.timeout does this too, for five times the price: a third of what a small callback costs in all.
    late = loop.call_later(patience, reading.interrupt)
    try:
        while reading.more:
            reading.take(await receive())
    except asyncio.CancelledError:
        reading.give_back()
        if reading.interrupted and reading.task.uncancel() == 0:
            raise BodyRefused(408) from None
        raise
    except BaseException:
        reading.give_back()
        raise
    finally:
        late.cancel()
    return reading.body()


class _Reading:
    """A body that is arriving."""

    __slots__ = ("_budget", "_largest", "_pieces", "_size", "_taken", "interrupted", "more", "task")

    def __init__(self, task: asyncio.Task[Any], largest: int, budget: Budget | None) -> None:
        self.task = task
        self._largest = largest
        self._budget = budget
        self._pieces: list[bytes] = []
        self._size = self._taken = 0
        self.more = True
        self.interrupted = False

    def take(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            raise BodyRefused(400)
        self.more = message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        self._size += len(piece)
        if self._size > self._largest:
            raise BodyRefused(413)
        if self._budget is not None:
            if not self._budget.take(len(piece)):
                raise BodyRefused(_BUSY)
            self._taken += len(piece)
        self._pieces.append(piece)

    def interrupt(self) -> None:
        self.interrupted = True
        self.task.cancel()

    def give_back(self) -> None:
        if self._budget is not None:
            self._budget.give(self._taken)

    def body(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


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
