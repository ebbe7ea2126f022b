"""Callbacks on their way out: sent, retried for a while, and every attempt recorded."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import httpx

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from receiver.simulator.settings import SimulatorSettings


@functools.cache
def trust() -> ssl.SSLContext:
    """Return the usual trust in certificates, read once: it takes longer than to start a simulator."""
    return httpx.create_ssl_context(trust_env=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One callback, ready to be sent: its copies and retries are the same bytes."""

    provider: str
    job_id: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One attempt to send a message, with what came of it.

    Attributes:
        attempt: 1 for the first.
        status: The answer's status; None if there was no answer.
        error: Why there was none.
        seconds: How long it took.
    """

    message: Message
    attempt: int
    sent_at: datetime
    status: int | None
    error: str | None
    seconds: float

    @property
    def taken(self) -> bool:
        """Whether the answer was 2xx: no other counts, a redirect least of all."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004  the meaning of 2xx

    def view(self) -> dict[str, Any]:
        """Return what the control API shows of it."""
        return {
            "provider": self.message.provider,
            "job_id": self.message.job_id,
            "url": self.message.url,
            "headers": [list(pair) for pair in self.message.headers],
            "body": self.message.body.decode(errors="replace"),
            "faults": list(self.message.faults),
            "attempt": self.attempt,
            "sent_at": self.sent_at.isoformat(),
            "status": self.status,
            "error": self.error,
            "seconds": self.seconds,
        }


class Sender:
    """Sends messages; a context manager, because it holds connections."""

    def __init__(self, *, settings: SimulatorSettings) -> None:
        self._attempts = settings.callback_attempts
        self._backoff = settings.callback_backoff
        self._sent: deque[Callback] = deque(maxlen=settings.keep)
        # A burst must reach the receiver at once, so nothing may queue for a connection here; and the
        # environment's proxies are none of a simulator's business.
        self._client = httpx.AsyncClient(
            timeout=settings.callback_timeout,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            follow_redirects=False,
            trust_env=False,
            verify=trust(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    def sent(self) -> list[Callback]:
        """Return every attempt that has ended, oldest first."""
        return list(self._sent)

    async def send(self, message: Message, *, attempt: int = 1) -> Callback:
        """Send *message* once; errors are part of what is returned."""
        sent_at, started = datetime.now(UTC), time.monotonic()
        status, error = None, None
        try:
            answer = await self._client.post(message.url, content=message.body, headers=message.headers)
            status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as caught:
            error = f"{type(caught).__name__}: {caught}"
        callback = Callback(
            message=message,
            attempt=attempt,
            sent_at=sent_at,
            status=status,
            error=error,
            seconds=time.monotonic() - started,
        )
        self._sent.append(callback)
        return callback

    async def retry(self, failed: Callback) -> Callback:
        """Go on after *failed* until it is taken or the attempts are used up; return the last one."""
        while not failed.taken and failed.attempt < self._attempts:
            await asyncio.sleep(self._backoff * 2 ** (failed.attempt - 1))
            failed = await self.send(failed.message, attempt=failed.attempt + 1)
        return failed
