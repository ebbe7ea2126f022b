"""What each provider is asked: how many requests at once, and whether any comes while it wants to be left alone."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from tests.model.apis import SECOND

if TYPE_CHECKING:
    import asyncio

    from tests.model.apis import Api
    from tests.model.history import History
    from tests.model.loop import ModelLoop

#: How long several nodes may take to hear of one another, and of what a provider asked one of them.
_HEARD: Final = 10 * SECOND


class Traffic:
    """Counts requests as their providers do: those of all kinds and of all nodes together."""

    def __init__(self, history: History, loop: ModelLoop) -> None:
        self._history = history
        self._loop = loop
        #: How many nodes there may be at once, and whether they hear of one another by the model's time.
        self.nodes = 1
        self.hearing = False
        #: When a node last began.
        self._changed = 0
        self._pauses: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._asked: defaultdict[str, dict[asyncio.StreamReader, int]] = defaultdict(dict)

    def node_begins(self) -> None:
        """Judge what comes from now on: a node that was killed took with it what it had been asked."""
        self._changed = self._loop.now
        self._pauses.clear()

    def clock_set(self) -> None:
        """Forget who wants to be left alone: until when is a time of the clock."""
        self._pauses.clear()

    def refused(self, api: Api, seconds: int) -> None:
        """Note that *api* has just asked to be left alone."""
        now = self._loop.now
        self._pauses[api.name].append((now, now + seconds * SECOND))

    def alone(self, name: str, since: int) -> int:
        """For how long the API *name* has wanted to be left alone from *since* to now."""
        found, at = 0, since
        for told, until in sorted(self._pauses[name]):
            begin, end = max(told, at), min(until, self._loop.now)
            if end > begin:
                found, at = found + end - begin, end
        return found

    def begin(self, api: Api, reader: asyncio.StreamReader) -> None:
        """Note a request, and check whether it may be."""
        now, heard = self._loop.now, 0 if self.nodes == 1 else _HEARD
        asked = self._asked[api.name]
        asked[reader] = now
        if self.nodes > 1 and not self.hearing:
            return
        # Who has hung up asks no more.
        since = self._changed + heard
        many = sum(began >= since and not one.at_eof() for one, began in asked.items())
        if many > api.concurrency:
            self._history.breaks(
                "no provider is asked by more at once than described",
                f"{api.name} by {many}, not {api.concurrency}",
            )
        for told, until in self._pauses[api.name]:
            # What was under way when it was told comes at the same moment.
            if told + heard < now < until:
                self._history.breaks(
                    "who asks to be left alone is left alone", f"{api.name}: asked at {now}, until {until}"
                )

    def end(self, api: Api, reader: asyncio.StreamReader) -> None:
        """Note that it is answered, or will not be."""
        self._asked[api.name].pop(reader, None)
