"""Circuits as this process knows them: which handlers get nothing for now, and how an attempt changes that."""

import random
from collections.abc import Iterable, Mapping
from typing import Final

import structlog

from receiver.core.circuit import Circuit, Sign
from receiver.core.model import SECOND, Dispatch
from receiver.handlers import Handler
from receiver.raising import Away, Dead, Discard, Retry

log = structlog.get_logger(__name__)

#: The outcome of a completion that waited too long, so that its handler is not called.
TOO_OLD: Final = "too_old"
#: Outcomes that say nothing about the handler: it was not called, or did not end.
_UNCLEAR: Final = {"interrupted", "attempts_exhausted", TOO_OLD}


class Circuits:
    """Knows of the circuits in the store that are not closed, or count failures; safe to use from any thread."""

    def __init__(self) -> None:
        self._known: Mapping[str, Circuit | None] = {}

    def are(self, found: Iterable[Circuit]) -> None:
        """Learn how they stand in the store, and log what has changed: also what other nodes and people did."""
        before, self._known = self._known, {one.handler: one for one in found}
        for name in sorted({*before, *self._known}):
            was, now = before.get(name), self._known.get(name)
            old = "closed" if was is None else was.state
            if now is not None and now.state != old and now.holds:
                log.error(
                    "circuit_opened" if now.state == "open" else "handler_paused",
                    handler=name,
                    failures=now.failures,
                    code=None if now.error is None else now.error.code,
                    by=now.who,
                )
            elif old != "closed" and (now is None or not now.holds):
                log.warning("circuit_closed", handler=name)

    def note(self, handler: str) -> None:
        """Note that there is something about *handler* in the store that is not known here yet."""
        if handler not in self._known:
            self._known = {**self._known, handler: None}

    def __contains__(self, handler: str) -> bool:
        return handler in self._known

    def holding(self) -> list[Circuit]:
        """The circuits that hold dispatches up."""
        return [one for one in self._known.values() if one is not None and one.holds]

    def trials(self, handlers: Iterable[Handler], *, lease_ms: int) -> dict[str, int]:
        """The *handlers* that may be due for a trial, each with the milliseconds that the trial may take."""
        if not self._known:
            return {}
        return {
            one.spec.name: int(one.timeout * SECOND) + lease_ms
            for one in handlers
            if one.spec.name in self._known
        }

    def sign(
        self, dispatch: Dispatch, handler: Handler, outcome: str, raised: BaseException | None = None
    ) -> Sign | None:
        """What the end of an attempt says about *handler*; ``None`` where that is no news for its circuit.

        Args:
            dispatch: As it was claimed.
            handler: Whose attempt it was.
            outcome: How it ended.
            raised: What the handler raised.
        """
        if not handler.circuit:
            return None
        if outcome in _UNCLEAR:
            return Sign(word="unclear") if dispatch.trial else None
        if isinstance(raised, Away) and raised.pauses:
            return self._said(dispatch, Sign(word="pauses"))
        if _works(outcome, raised):
            # What nobody counts need not be set back.
            return Sign(word="works") if dispatch.trial or dispatch.handler in self else None
        # One completion that no attempt can help must not stop the others, so each that fails counts once.
        if dispatch.trial or isinstance(raised, Away) or dispatch.error is None:
            wait = handler.backoff.wait(dispatch.trial + 1, jitter=random.random())
            return self._said(dispatch, Sign(word="fails", most=handler.circuit, wait=wait))
        return None

    def _said(self, dispatch: Dispatch, sign: Sign) -> Sign:
        self.note(dispatch.handler)
        return sign


def _works(outcome: str, raised: BaseException | None) -> bool:
    """Whether the handler did its work, be it by saying that it wants to be called later or not at all."""
    return outcome == "succeeded" or isinstance(raised, Discard | Dead) or _asks(raised)


def _asks(raised: BaseException | None) -> bool:
    return isinstance(raised, Retry) and not raised.fails
