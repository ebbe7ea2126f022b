"""Answers that misbehave: trickled, swollen, redirected, or never given."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Receive, Scope, Send

    from receiver.simulator.faults import Plan

#: The scope's key for the function that cuts the connection.
CUT: Final = "simulator.cut"

_TRICKLES = 40
_CHUNK = 65_536


class Dropped(Response):
    """No answer: the connection is cut instead."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's
        """Cut the connection, and return once the server knows: it would send a 500 otherwise."""
        cut: Callable[[], None] = scope[CUT]
        cut()
        while (await receive())["type"] != "http.disconnect":
            pass


def with_body_faults(answer: JSONResponse, plan: Plan) -> Response:
    """Return *answer* as `slow_body` and `huge_body` in *plan* want it sent."""
    slow, huge = plan.get("slow_body"), plan.get("huge_body")
    if slow is None and huge is None:
        return answer
    body = bytes(answer.body)
    # Blanks after a JSON text are still JSON: only its size can be held against it.
    padding = max(0, (huge.size or 0) - len(body)) if huge else 0
    seconds = (slow.seconds or 0.0) if slow else 0.0
    return StreamingResponse(
        _stream(body, padding=padding, seconds=seconds),
        status_code=answer.status_code,
        media_type="application/json",
    )


async def _stream(body: bytes, *, padding: int, seconds: float) -> AsyncIterator[bytes]:
    """Yield *body* and *padding* blanks, in small pieces over *seconds* if that is not zero."""
    total = len(body) + padding
    step = max(1, total // _TRICKLES) if seconds else _CHUNK
    for start in range(0, total, step):
        piece = body[start : start + step]
        yield piece + b" " * (min(step, total - start) - len(piece))
        if seconds:
            await asyncio.sleep(seconds * step / total)
