"""Causes: why callbacks were rejected, in groups. To find a cause takes some hundred tries, so each is kept a while."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Final

from receiver.console.parts import Parts
from receiver.core.errors import NotFoundError, ReceiverError
from receiver.core.model import MINUTE, Callback, Value, Verdict
from receiver.core.signature.diagnosis import Diagnosis
from receiver.storage import arrived
from receiver.storage.arrived import Sought
from receiver.storage.glance import Rejections

#: How many causes are kept, and for how long: a key may have been set meanwhile.
_KEPT: Final = 2_000
_FRESH: Final = MINUTE
#: So many of a group, the newest, are looked into.
_SAMPLED: Final = 3
_MOST_GROUPS: Final = 12


class Group(Value, frozen=True, kw_only=True):
    """Rejected callbacks of one provider with one code, and why the newest of them were rejected."""

    provider: str
    code: str
    count: int
    #: Whether there are more than were counted.
    more: bool = False
    since: int
    #: The newest of them, to look at, and when it came.
    newest: str
    newest_at: int
    cause: Diagnosis | None
    #: Whether all that were looked into have that cause.
    alike: bool


class Causes:
    """Finds out why callbacks were rejected."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known: OrderedDict[str, tuple[int, Diagnosis | None]] = OrderedDict()

    async def of(self, callback: Callback) -> Diagnosis | None:
        """Why one was rejected; *callback* may come without its body."""
        if callback.verdict is not Verdict.REJECTED:
            return None
        now = self._parts.clock()
        kept = self._known.get(callback.id)
        if kept is not None and now - kept[0] < _FRESH:
            return kept[1]
        provider = self._parts.catalog.get(callback.provider)
        if provider is None:
            return None
        try:
            whole = await self._parts.store.callback(callback.id)
            found = await self._parts.proving.diagnosis(whole, provider, providers=self._parts.catalog)
        except NotFoundError:
            return None
        except ReceiverError as error:
            found = Diagnosis(code=error.code, sentence=str(error))
        self._known[callback.id] = (now, found)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return found

    async def groups(self, rejected: Sequence[Rejections], provider: str | None = None) -> list[Group]:
        """What is in quarantine, the most first, with the cause of each."""
        wanted = [one for one in rejected if provider in {None, one.provider}]
        return [await self._group(one) for one in wanted[:_MOST_GROUPS]]

    async def _group(self, one: Rejections) -> Group:
        sought = Sought(
            provider=one.provider, verdict=Verdict.REJECTED.value, code=one.code or None, limit=_SAMPLED
        )
        sample = [callback for callback, _ in (await self._parts.store.read(arrived.find, sought)).callbacks]
        causes = [await self.of(callback) for callback in sample]
        named = Counter(cause.code for cause in causes if cause is not None)
        return Group(
            provider=one.provider,
            code=one.code,
            count=one.count,
            more=one.more,
            since=one.since,
            newest=sample[0].id if sample else "",
            newest_at=sample[0].received_at if sample else one.since,
            cause=causes[0] if causes else None,
            alike=len(named) == 1,
        )
