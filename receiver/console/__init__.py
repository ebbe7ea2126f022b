"""``/console``: the record for people, in a browser; its pages are not loaded before somebody asks for one."""

import asyncio
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from receiver.console.access import check_settings
from receiver.console.parts import Parts
from receiver.threads import off_loop

if TYPE_CHECKING:
    from receiver.console.face import Face

__all__ = ["Console", "Parts", "check_settings"]


class Console:
    """Answers whatever is asked for below ``/console``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._face: Face | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request for *path*, which begins behind ``/console``."""
        face = self._face or await self._loaded()
        await face(path, scope, receive, send)

    async def _loaded(self) -> "Face":
        # Two faces would count tries to sign in apart.
        async with self._loading:
            if self._face is None:
                # Loading the templates' engine takes a tenth of a second, in which callbacks would wait.
                self._face = await off_loop(_load, self._parts)
            return self._face


def _load(parts: Parts) -> "Face":
    from receiver.console.face import Face

    return Face(parts)
