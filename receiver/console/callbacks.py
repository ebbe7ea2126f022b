"""Callbacks: everything that arrived, rejected too; the same cause grouped; verified and read again together."""

import asyncio
from collections import Counter
from typing import Any, Final

from msgspec.structs import replace
from starlette.responses import Response

from receiver.console import filters, words
from receiver.console.ask import Ask, Route
from receiver.console.causes import Causes
from receiver.console.filters import Filters
from receiver.console.page import Page
from receiver.console.parts import Parts
from receiver.console.shown import query
from receiver.core.errors import ReceiverError, RequestError
from receiver.core.identity import CALLBACK, JOB
from receiver.core.model import Callback, Verdict
from receiver.steps.replay import Replayed
from receiver.storage import arrived, glance
from receiver.storage.arrived import Arrived, Sought

#: How many are read again at once, and how many of them side by side.
MOST_AT_ONCE: Final = 1_000
_SIDE_BY_SIDE: Final = 16
_REFUSED: Final = {Verdict.REJECTED.value}


class CallbacksPage(Page):
    """The list of callbacks."""

    def __init__(self, parts: Parts, causes: Causes) -> None:
        super().__init__(parts)
        self._causes = causes

    @property
    def routes(self) -> list[Route]:
        """What can be asked for."""
        return [
            Route("GET", "/callbacks", self.show),
            Route("GET", "/callbacks/again", self.foresee, acts=True),
            Route("POST", "/callbacks/again", self.again, acts=True),
        ]

    async def show(self, ask: Ask) -> Response:
        """Show a page of callbacks, and the rejected ones by their cause."""
        asked = self.read(ask)
        rejected = await self._store.read(glance.rejections)
        groups = await self._causes.groups(rejected, asked.values.get("provider"))
        return await ask.page("callbacks.html", groups=groups, **await self.rail(asked))

    def read(self, ask: Ask, params: Any = None) -> Filters:  # noqa: ANN401  (an address or a form)
        """The filters of an address."""
        readers = {
            "provider": filters.one_of(self._parts.catalog),
            "verdict": filters.one_of(verdict.value for verdict in Verdict),
            "code": filters.words,
            "job": filters.id_of(JOB),
            "since": filters.moment(ask.now),
            "until": filters.moment(ask.now),
            "follow": filters.one_of(["1"]),
            "cursor": filters.id_of(CALLBACK),
        }
        return filters.read(ask.request.query_params if params is None else params, readers)

    async def rail(self, asked: Filters) -> dict[str, Any]:
        """What the list beside a callback needs."""
        found = await self._store.read(arrived.find, _sought(asked))
        return {
            "filters": asked,
            "found": found,
            "providers": list(self._parts.catalog),
            "verdicts": [verdict.value for verdict in Verdict],
        }

    async def foresee(self, ask: Ask) -> Response:
        """Say what would become of those that match, read and verified again; nothing is touched."""
        asked = self.read(ask)
        found = await self._matching(asked)
        outcomes = await self._each(found, dry_run=True)
        would, refused = _sorted(outcomes)
        return await ask.page(
            "again.html",
            filters=asked,
            total=len(found.callbacks),
            would=would,
            refused=refused,
            more=found.cursor is not None,
            most=MOST_AT_ONCE,
            newest=found.callbacks[0][0].id if found.callbacks else "",
        )

    async def again(self, ask: Ask) -> Response:
        """Verify and read them again."""
        asked = self.read(ask, dict(ask.form))
        found = await self._matching(asked, newest=ask.field("newest"))
        action = "verify" if asked.values.get("verdict") in _REFUSED else "read"
        async with ask.deed(action, filters=asked.kept, callbacks=len(found.callbacks)) as detail:
            outcomes = await self._each(found, dry_run=False, by=ask.visitor.who)
            done, refused = _sorted(outcomes)
            detail |= {"done": dict(done), "refused": dict(refused)}
        self._parts.notify()
        said = ", ".join(f"{count:,} {verdict}" for verdict, count in done.items()) or "None was admitted"
        left = "".join(
            f" {words.many(count, 'callback')} refused still: {words.meaning(code)}."
            for code, count in refused.items()
        )
        return ask.redirect(f"/callbacks{query(asked.kept)}", said=f"Read again: {said}.{left}")

    async def _matching(self, asked: Filters, *, newest: str = "") -> Arrived:
        if not asked.readable:
            raise RequestError("A filter cannot be read, so nobody knows which callbacks are meant.")
        sought = replace(_sought(asked), limit=MOST_AT_ONCE)
        if newest:
            # What has come since it was foreseen was not foreseen.
            sought = replace(sought, before=f"{newest}\x7f")
        return await self._store.read(arrived.find, sought)

    async def _each(self, found: Arrived, *, dry_run: bool, by: str = "") -> list[Replayed | ReceiverError]:
        outcomes: list[Replayed | ReceiverError] = []
        # The oldest first, as they came.
        ordered = [one for one, _ in reversed(found.callbacks)]
        for start in range(0, len(ordered), _SIDE_BY_SIDE):
            some = ordered[start : start + _SIDE_BY_SIDE]
            outcomes += await asyncio.gather(*(self._one(one, dry_run=dry_run, by=by) for one in some))
        return outcomes

    async def _one(self, callback: Callback, *, dry_run: bool, by: str) -> Replayed | ReceiverError:
        try:
            return await self._parts.replay(callback.id, dry_run=dry_run, by=by)
        except ReceiverError as error:
            return error


def _sought(asked: Filters) -> Sought:
    names = {"cursor": "before"}
    values = {names.get(name, name): value for name, value in asked.values.items() if name != "follow"}
    return Sought(**values)


def _sorted(outcomes: list[Replayed | ReceiverError]) -> tuple[Counter[str], Counter[str]]:
    """What became of them by verdict, and why not of the others, by code."""
    done, refused = Counter[str](), Counter[str]()
    for one in outcomes:
        if isinstance(one, ReceiverError):
            refused[one.code] += 1
        elif one.verdict == Verdict.REJECTED:
            refused[one.code or ""] += 1
        else:
            done[one.verdict or ""] += 1
    return done, refused
