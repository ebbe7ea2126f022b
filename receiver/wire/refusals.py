"""Refusals: what was answered 4xx before anything was recorded is counted, and told in few lines.

A line names the route, the status and, where they are known to be ours, provider and job; never the path, which may
hold a token.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import structlog
from starlette.types import Message, Send

from receiver.metrics import Metrics

log = structlog.get_logger(__name__)

#: Lines of one kind in so many seconds; the next one says how many were left out.
_LINES: Final = 10
_WINDOW: Final = 60.0
#: Addresses that are looked at for what they nearly are, in a second.
_LOOKS: Final = 50
_REFUSED: Final = frozenset({400, 401, 403, 404, 405, 408, 413})


class _Window:
    """What was told of one kind since ``began``."""

    __slots__ = ("began", "left_out", "told")

    def __init__(self, began: float, left_out: int = 0) -> None:
        self.began = began
        self.told = 0
        self.left_out = left_out


class Refusals:
    """Counts refusals and tells of some."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._windows: dict[tuple[Any, ...], _Window] = {}
        self._second, self._looks = 0, 0

    def note(
        self,
        route: str,
        status: int,
        *,
        code: str | None = None,
        provider: str | None = None,
        job: str | None = None,
        near: str | None = None,
    ) -> None:
        """Count one, and tell of it unless many were told of; *near* is what was wrong with its address."""
        self._metrics.refused(route, status)
        if near is not None and provider is not None:
            self._metrics.missed(provider, near)
        told = self._tell(route, status, provider, near, job is not None)
        if told is None:
            return
        facts = {"code": code, "provider": provider, "job": job, "near": near}
        tell = log.info if job is None and near is None else log.warning
        tell(
            "request_refused",
            route=route,
            status=status,
            **{name: value for name, value in facts.items() if value is not None},
            **({"left_out": told} if told else {}),
        )

    def malformed(self, status: int, reason: str) -> None:
        """Count what is no request, and tell why; *reason* repeats nothing of it."""
        self._metrics.refused("none", status)
        told = self._tell("none", status)
        if told is not None:
            more = {"left_out": told} if told else {}
            log.warning("request_malformed", status=status, reason=reason, **more)

    def look_closer(self) -> bool:
        """Whether another address may be looked at in this second: it costs a digest for each provider."""
        second = int(monotonic())
        if second != self._second:
            self._second, self._looks = second, 0
        self._looks += 1
        return self._looks <= _LOOKS

    def noting(self, route: str, send: Send, *, then: Callable[[int], None] | None = None) -> Send:
        """*send*, noting what is refused; *then* hears the status instead of it being noted here."""

        async def noted(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start" and message["status"] in _REFUSED:
                if then is None:
                    self.note(route, message["status"])
                else:
                    then(message["status"])

        return noted

    def _tell(self, *kind: Any) -> int | None:  # noqa: ANN401
        """How many of a kind were left out before this one; ``None`` where this one is."""
        now = monotonic()
        window = self._windows.get(kind)
        if window is None or now - window.began >= _WINDOW:
            window = self._windows[kind] = _Window(now, 0 if window is None else window.left_out)
        if window.told >= _LINES:
            window.left_out += 1
            return None
        window.told += 1
        left_out, window.left_out = window.left_out, 0
        return left_out
