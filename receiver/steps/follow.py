"""Follow: read the feed of completions from a place on, and wait for what comes."""

import asyncio
from collections.abc import AsyncIterator

from msgspec.structs import replace

from receiver.core.errors import RequestError
from receiver.news import News
from receiver.storage import feed
from receiver.storage.feed import Completion, FeedPage, Wanted
from receiver.storage.store import Store


class Follow:
    """Reads completions in the one order that never changes."""

    def __init__(self, *, store: Store, news: News) -> None:
        self._store = store
        self._news = news

    @property
    def ending(self) -> bool:
        """Whether this process is about to end, so that nobody is to be kept waiting."""
        return self._news.ending

    async def page(self, wanted: Wanted, *, patience: float = 0.0) -> FeedPage:
        """Some completions, or none if there are none within *patience* seconds.

        Raises:
            CursorGoneError: some of what comes after was pruned, or there is no such place.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while True:
            await self._give_places()
            found = await self._store.read(feed.page, wanted)
            left = until - loop.time()
            if found.completions or left <= 0 or self._news.ending:
                return found
            wanted = replace(wanted, after=found.place)
            await self._news.wait(left)

    async def follow(self, wanted: Wanted) -> AsyncIterator[Completion]:
        """Every completion from a place on, without an end; raises as ``page`` does."""
        while not self._news.ending:
            found = await self.page(wanted, patience=60.0)
            for one in found.completions:
                yield one
            wanted = replace(wanted, after=found.place)

    async def last(self) -> int:
        """The place after all that has happened."""
        await self._give_places()
        return await self._store.read(feed.last)

    async def _give_places(self) -> None:
        while await self._store.read(feed.unplaced):
            await self._store.write(feed.give_places, 0)


def place_of(text: str) -> int:
    """The place that a cursor names; raises RequestError where it is none."""
    if not (text.isascii() and text.isdigit() and len(text) < len("9223372036854775807")):
        raise RequestError(
            "A cursor of the feed is the number that stood beside a completion; 0 begins at the beginning.",
            code="cursor_invalid",
            field="after",
        )
    return int(text)
