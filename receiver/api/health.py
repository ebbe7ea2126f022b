"""``/livez``, ``/readyz``, ``/metrics``: for the machines around us, without a token; keep them internal."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.api.resource import answer
from receiver.core.errors import ReceiverError, StoreUnavailableError
from receiver.core.model import SECOND
from receiver.keys import Keys
from receiver.storage import alarms as stored
from receiver.storage.claims import Beat
from receiver.storage.nodes import Node
from receiver.storage.store import Store
from receiver.views.alarm import AlarmDocument, alarm_document
from receiver.wire.web import PRIVATE
from receiver.worker.gathering import Gathering

#: Seconds that a read and a write together may take.
_PATIENCE: Final = 2.0
#: Milliseconds for which an answer is given again: asking more often does not make the store work more.
_FRESH: Final = SECOND
#: Milliseconds by which this machine's clock may be off. The receiver may go by the database's clock; other
#: programs on this machine do not.
_MOST_DRIFT: Final = 30 * SECOND


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether callbacks can be taken, and why not."""

    ready: bool
    reasons: list[str]
    #: What keeps no callback out, but deserves a look; ``/readyz?verbose`` only.
    warnings: list[str] | msgspec.UnsetType = msgspec.UNSET
    #: What somebody must see to; ``/readyz?verbose`` only, and left out where the store does not answer.
    alarms: list[AlarmDocument] | msgspec.UnsetType = msgspec.UNSET


def _passing(error: Exception) -> bool:
    return isinstance(error, StoreUnavailableError) and error.code == StoreUnavailableError.code


class Health:
    """Answers how the receiver is."""

    def __init__(
        self,
        *,
        store: Store,
        keys: Keys,
        gather: Gathering,
        clock: Callable[[], int],
        node: Node,
        drift: Callable[[], int],
        warnings: Callable[[], list[str]],
        fresh: int = _FRESH,
    ) -> None:
        self._store = store
        self._keys = keys
        self._gather = gather
        self._clock = clock
        self._node = node
        self._drift = drift
        self._warnings = warnings
        self._fresh = fresh
        self._checking = asyncio.Lock()
        self._found: tuple[int, Readiness] | None = None

    @property
    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route("/livez", self.live, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/metrics", self.expose, methods=["GET"]),
        ]

    async def live(self, _request: Request) -> Response:
        """Answer 200 while the event loop turns."""
        return Response("ok\n", media_type="text/plain", headers=PRIVATE)

    async def ready(self, request: Request) -> Response:
        """Answer 200 if callbacks can be taken (database, master key and clock are right); else 503 and why.

        With ``?verbose`` also what deserves a look: a provider's key that cannot be used beside others that can, and
        the alarms that are raised. Neither keeps a callback from being taken, so neither makes the answer a 503.
        """
        async with self._checking:
            now = self._clock()
            if self._found is None or not 0 <= now - self._found[0] < self._fresh:
                self._found = now, await self._check(now)
            found = self._found[1]
        if "verbose" in request.query_params:
            found = msgspec.structs.replace(found, warnings=self._warnings(), alarms=await self._raised())
        return answer(found, status=200 if found.ready else 503)

    async def _raised(self) -> list[AlarmDocument] | msgspec.UnsetType:
        try:
            async with asyncio.timeout(_PATIENCE):
                return [alarm_document(one) for one in await self._store.read(stored.raised)]
        except (StoreUnavailableError, TimeoutError):
            return msgspec.UNSET

    async def expose(self, _request: Request) -> Response:
        """Answer with the metrics in Prometheus' text format."""
        from receiver.exposition import CONTENT_TYPE, exposition

        return Response(exposition(await self._gather()), headers=PRIVATE | {"content-type": CONTENT_TYPE})

    async def _check(self, now: int) -> Readiness:
        reasons = []
        if not self._keys.masters:
            reasons.append("RECEIVER_SECRET_KEY is not set, so no callback can be told from a forged one.")
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._store.handlers()
                # A real write: nothing less notices that a disk is full.
                await self._store.heartbeat(Beat(node=self._node, until=now, now=now))
        except StoreUnavailableError as error:
            reasons.append(str(error))
        except TimeoutError:
            reasons.append(f"The store did not answer within {_PATIENCE:g} seconds.")
        else:
            refusing = self._store.refusing()
            # What was locked, full or away is so no more, as was just seen; of a damaged page this tells nothing.
            if refusing is not None and not _passing(refusing):
                told = (
                    str(refusing)
                    if isinstance(refusing, ReceiverError)
                    else "the log line write_failed says why."
                )
                reasons.append(f"The last callback could not be recorded: {told}")
        if abs(off := self._drift()) > _MOST_DRIFT:
            reasons.append(
                f"This machine's clock is {abs(off) // SECOND} s {'ahead of' if off > 0 else 'behind'} the database's; "
                "correct it."
            )
        return Readiness(ready=not reasons, reasons=reasons)
