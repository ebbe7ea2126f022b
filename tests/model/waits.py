"""How long things may wait, as the design and the issue put it; nothing here was read off the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.model.apis import MINUTE, SECOND

if TYPE_CHECKING:
    from tests.model.history import History
    from tests.model.loop import ModelLoop
    from tests.model.provider import Providers
    from tests.model.record import Record
    from tests.model.remote import Remote

#: What somebody asked for goes before looks: a handful of requests, and the waits that three 429s ask for, come first.
_ASKED: Final = 90 * SECOND
#: Time moves in steps, and a request takes its time.
_SLACK: Final = 15 * SECOND
#: By so much time moves on where something is due and waits for its turn, so that each turn may come later by that.
_STEP: Final = SECOND
#: So many jobs tell how long such jobs take; they are looked up once a minute.
_ENOUGH: Final = 4
_LEARNT: Final = MINUTE
_EARLIEST: Final = 30 * SECOND


class Waits:
    """Watches, in a round without accidents, how long the providers see nothing of what they should."""

    def __init__(self, record: Record, providers: Providers, history: History, loop: ModelLoop) -> None:
        self._record = record
        self._providers = providers
        self._history = history
        self._loop = loop
        #: When somebody wished that a job be canceled.
        self.wished: dict[str, int] = {}
        #: When a submission was put off until when, by its order.
        self.put_off: dict[int, int] = {}
        #: Whether the crowd is gone.
        self.over = False

    def watch(self) -> None:
        """Look what waits."""
        if self.over:
            return
        now = self._loop.now
        for order in self._providers.put_off:
            since = self.put_off.setdefault(order, now)
            if not self._providers.bills[order] and now > since + _ASKED:
                self._breaks(
                    "a retried submission does not wait behind looks", f"order {order} since {since}"
                )
        for name, since in self.wished.items():
            if not self._providers.remotes[name].cancels and now > since + _ASKED:
                self._breaks("a wish to cancel does not wait behind looks", f"{name} since {since}")
        for one in self._providers.remotes.values():
            if one.api.name == "steady":
                self._check_lost(one, now)
            elif not one.ended(now):
                self._check_looks(one, now)

    def _check_looks(self, one: Remote, now: int) -> None:
        """Every open job is looked at: at the cadence, or as often as the limits of its provider allow for all."""
        if one.api.name == "hanging":
            return
        many = sum(other.api is one.api for other in self._providers.remotes.values())
        turn = int(many * (SECOND / one.api.rate + _STEP))
        last = max((at for at, _ in one.looks), default=one.made_at)
        # While a provider wants to be left alone nobody's turn comes.
        alone = self._providers.traffic.alone(one.api.name, last)
        if now > last + one.api.longest + 2 * turn + alone + _SLACK:
            promise = "every open job is looked at within its bound"
            if one.api.name == "neighbour":
                promise = "a provider that hangs holds up nobody else"
            self._breaks(promise, f"{one.id} was last asked about at {last}")

    def _check_lost(self, one: Remote, now: int) -> None:
        """A callback that does not come is missed once nearly all others would have come, and half as much again."""
        if one.tells is not False or one.looks:
            return
        known = [
            other.ends_at - other.made_at
            for other in self._providers.remotes.values()
            if other.api is one.api and other.tells and other.ends_at is not None
            and other.ends_at < one.made_at
        ]  # fmt: skip
        learnt = sum(
            other.api is one.api and bool(other.tells) and (other.ends_at or now) < one.made_at - _LEARNT
            for other in self._providers.remotes.values()
        )
        if learnt < _ENOUGH:
            return
        wait = min(max(max(known) * 3 // 2, _EARLIEST), one.api.expected)
        if now > one.made_at + wait + _SLACK:
            self._breaks("a callback that is lost is missed as soon as it is late", f"{one.id}: {wait} ms")

    def _breaks(self, promise: str, detail: str) -> None:
        self._history.breaks(promise, detail)
