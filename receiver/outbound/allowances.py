"""Allowances: what each provider may be sent, so many requests at once and so many a second, whoever sends them.

Submissions, polls, fetches and cancellations of one provider pass through one allowance, and the nodes that are alive
share it. A provider that hangs or asks for patience thereby holds up nobody but itself.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final, NoReturn

import structlog

from receiver.core.description.provider import Limits, Provider
from receiver.core.errors import NeverConnectedError
from receiver.core.model import MINUTE, SECOND

log = structlog.get_logger(__name__)

#: Milliseconds that a provider is left alone at most, whatever it asks for; and if it does not say for how long.
_LONGEST_PAUSE: Final = 15 * MINUTE
_FIRST_PAUSE: Final = SECOND
_LONGEST_UNNAMED: Final = MINUTE
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
#: Seconds between two looks whether it is one's turn.
_LOOK_EVERY: Final = 0.05


class ProviderBusyError(NeverConnectedError):
    """The provider may not be sent any more now, so nothing was sent; it is tried again later.

    Args:
        message: Why.
        wait: Milliseconds after which it may be.
    """

    code = "provider_busy"

    def __init__(self, message: str = "", *, wait: int = SECOND) -> None:
        super().__init__(message)
        self.wait = wait


class Allowance:
    """What one provider may be sent from here."""

    def __init__(self, name: str, limits: Limits, *, clock: Callable[[], int]) -> None:
        self._name = name
        self._limits = limits
        self._clock = clock
        #: Our place among the nodes that share it, and how many they are.
        self.share = (0, 1)
        self._tokens = max(limits.rate, 1.0)
        self._at = clock()
        self._inside = self._waiting = 0
        self._paused_until = 0
        self._refusals = 0
        self._turn = asyncio.Lock()

    @property
    def concurrency(self) -> int:
        """How many requests may be under way from here at once; one at least."""
        place, nodes = self.share
        each, left = divmod(self._limits.concurrency, nodes)
        return max(each + (place < left), 1)

    def free(self) -> int:
        """How many more requests may be begun at this moment."""
        now = self._clock()
        self._refill(now)
        if self._pause(now):
            return 0
        return max(min(self.concurrency - self._inside - self._waiting, int(self._tokens)), 0)

    @asynccontextmanager
    async def request(self, *, patience: float) -> AsyncIterator[None]:
        """Send one request within the block, in the order of those who ask.

        Raises:
            ProviderBusyError: it was nobody's turn for *patience* seconds; nothing was sent.
        """
        await self._enter(patience)
        try:
            yield
        finally:
            self._inside -= 1

    def answered(self, status: int, wait: int | None) -> int | None:
        """Take an answer's word for how long to leave the provider alone; until when, if it asks for that.

        Args:
            status: Of the answer.
            wait: Milliseconds that it names (Retry-After).
        """
        if status != _TOO_MANY and not (status >= _SERVER_ERROR and wait is not None):
            self._refusals = 0
            return None
        if wait is None:
            wait = min(_FIRST_PAUSE << min(self._refusals, 16), _LONGEST_UNNAMED)
        self._refusals += 1
        until = self._clock() + min(wait, _LONGEST_PAUSE)
        self.pause(until)
        return until

    def pause(self, until: int) -> None:
        """Begin no request before *until*; safe to call from any thread."""
        if until > self._paused_until:
            self._paused_until = until
            log.warning(
                "provider_paused", provider=self._name, seconds=max(until - self._clock(), 0) / SECOND
            )

    async def _enter(self, patience: float) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(patience), self._turn:
                while not self._may_begin():
                    if self._pause(self._clock()) > patience * SECOND:
                        self._put_off()
                    await asyncio.sleep(_LOOK_EVERY)
                self._inside += 1
                self._tokens -= 1
        except TimeoutError:
            self._put_off()
        finally:
            self._waiting -= 1

    def _put_off(self) -> NoReturn:
        wait = max(self._pause(self._clock()), SECOND)
        raise ProviderBusyError(
            f"{self._name} may not be sent any more requests now; nothing was sent.", wait=wait
        )

    def _may_begin(self) -> bool:
        now = self._clock()
        self._refill(now)
        return not self._pause(now) and self._inside < self.concurrency and self._tokens >= 1

    def _refill(self, now: int) -> None:
        rate = self._limits.rate / self.share[1]
        self._tokens = min(max(rate, 1.0), self._tokens + max(now - self._at, 0) * rate / SECOND)
        self._at = now

    def _pause(self, now: int) -> int:
        """For how many milliseconds nothing is begun."""
        left = self._paused_until - now
        if left > _LONGEST_PAUSE:
            # The clock was set back.
            self._paused_until = left = 0
        return max(left, 0)


class Allowances:
    """The allowance of each provider.

    Args:
        clock: The time in milliseconds.
        paused: Told that a provider asks to be left alone until a time.
    """

    def __init__(
        self,
        providers: Iterable[Provider],
        *,
        clock: Callable[[], int],
        paused: Callable[[str, int], None] = lambda _name, _until: None,
    ) -> None:
        self._clock = clock
        self._paused = paused
        self._all = {one.name: Allowance(one.name, one.limits, clock=clock) for one in providers}
        self._share = (0, 1)

    def of(self, provider: Provider) -> Allowance:
        """The allowance of *provider*."""
        found = self._all.get(provider.name)
        if found is None:
            found = self._all[provider.name] = Allowance(provider.name, provider.limits, clock=self._clock)
            found.share = self._share
        return found

    def divide(self, place: int, nodes: int) -> None:
        """Share with other nodes: ours is the *place*-th of so many, from 0; safe to call from any thread."""
        self._share = (place, nodes)
        for one in list(self._all.values()):
            one.share = self._share

    def pause(self, name: str, until: int) -> None:
        """Leave a provider alone, as another node was asked to; safe to call from any thread."""
        found = self._all.get(name)
        if found is not None:
            found.pause(until)

    def answered(self, provider: Provider, status: int, wait: int | None) -> None:
        """Take an answer's word for how long to leave its provider alone, and pass it on."""
        until = self.of(provider).answered(status, wait)
        if until is not None:
            self._paused(provider.name, until)
