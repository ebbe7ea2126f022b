"""Follow: read the feed of completions from a place on, and wait for what comes."""

import asyncio
from collections.abc import AsyncIterator

from msgspec.structs import replace

from receiver.core.errors import RequestError, StoreUnavailableError
from receiver.news import News
from receiver.storage import feed
from receiver.storage.feed import Completion, CursorGoneError, FeedPage, Wanted
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
            if found.completions or self._news.ending or (left <= 0 and not found.stopped):
                return found
            wanted = replace(wanted, after=found.place)
            if not found.stopped:
                await self._news.wait(left)

    async def follow(self, wanted: Wanted) -> AsyncIterator[Completion]:
        """Every completion from a place on, until this process is about to end; raises as ``page`` does."""
        while not self._news.ending:
            try:
                found = await self.page(wanted, patience=60.0)
            except StoreUnavailableError:
                if not self.ending:
                    raise
                return  # it was closed while somebody read
            for one in found.completions:
                yield one
            wanted = replace(wanted, after=found.place)

    async def place(self, cursor: str) -> int:
        """The place that a cursor names, which may be ``latest``.

        Raises:
            CursorGoneError: it names no place; the error says where to begin.
        """
        if cursor == "latest":
            return await self.last()
        try:
            return place_of(cursor)
        except RequestError as error:
            oldest = await self._store.read(feed.oldest)
            raise CursorGoneError(
                f"{error} The oldest that works is {oldest}.", oldest=str(oldest)
            ) from error

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
