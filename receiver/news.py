"""News: whoever waits for a change of the record is told of one, and looks again after a while in any case."""

import asyncio
from typing import Final

#: Who waits looks again after so many seconds, whatever news there is: another process may have changed something.
LONGEST: Final = 1.0
#: And not sooner than after so many, however much news there is.
_SHORTEST: Final = 0.02


class News:
    """Wakes everybody who waits."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()
        #: Whether there will be no more, because this process is about to end.
        self.ending = False

    def end(self) -> None:
        """Let nobody wait any longer."""
        self.ending = True
        self.tell()

    def tell(self) -> None:
        """Say that something may have changed; from the event loop only."""
        for one in self._waiting:
            one.set()

    async def wait(self, longest: float = LONGEST) -> None:
        """Wait for news, for at most *longest* seconds."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            async with asyncio.timeout(max(min(longest, LONGEST), 0)):
                await asyncio.sleep(_SHORTEST)
                await event.wait()
        except TimeoutError:
            return
        finally:
            self._waiting.discard(event)
