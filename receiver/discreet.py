"""A client of HTTP whose requests stand in nobody's log.

httpx logs the address of each request, and an application that we are part of may well write such lines down. Ours hold
what is secret: a callback's token in the query of a submission, a signed link to a result.
"""

import logging
from contextvars import ContextVar
from typing import Any, Final

import httpx

_LOGGERS: Final = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy")
_ours: ContextVar[bool] = ContextVar("receiver_request", default=False)


class _Unheard(logging.Filter):
    """Drops what is logged while a request of ours is made; whatever else the application asks for is logged."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  (what it says makes no difference)
        return not _ours.get()


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_Unheard())


class DiscreetClient(httpx.AsyncClient):
    """httpx's own, but that nothing is logged of what it sends."""

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401  (httpx's own)
        """Send a request, as httpx does."""
        token = _ours.set(True)
        try:
            return await super().send(request, **options)
        finally:
            _ours.reset(token)
