"""Dead letters: by handler and error; retried or discarded, one, some or all."""

from typing import Any, Final

from msgspec.structs import replace
from starlette.responses import Response

from receiver.console import filters, words
from receiver.console.ask import Ask, Route
from receiver.console.filters import Filters
from receiver.console.page import Page
from receiver.console.shown import query
from receiver.core.errors import NotFoundError, RequestError
from receiver.core.identity import JOB, is_id
from receiver.core.model import Dispatch
from receiver.storage import dead_letters, glance, queues
from receiver.storage.dead_letters import Dead

#: How many are acted on at once.
MOST_AT_ONCE: Final = 1_000
_ACTIONS: Final = ("retry", "discard")


class DeadPage(Page):
    """The dead letters."""

    @property
    def routes(self) -> list[Route]:
        """What can be asked for."""
        return [
            Route("GET", "/dead", self.show),
            Route("POST", "/dead/chosen", self.chosen, acts=True),
            Route("POST", "/dead/act", self.act, acts=True),
        ]

    async def show(self, ask: Ask) -> Response:
        """Show them, by handler and error."""
        asked = _read(ask.request.query_params)
        dead = Dead(**_values(asked))
        found = await self._store.read(dead_letters.find, dead)
        held_up = await self._store.read(queues.held_up, found.letters)
        return await ask.page(
            "dead.html",
            filters=asked,
            groups=await self._store.read(glance.letters),
            letters=found.letters,
            held_up=held_up,
            cursor=found.cursor,
            stopped=found.stopped,
        )

    async def chosen(self, ask: Ask) -> Response:
        """Say what would be done, and to how many."""
        action, asked = _action(ask), _read(dict(ask.form))
        if ask.field("all") == "1":
            found, more = await self._all(asked)
        else:
            found, more = await self._named(ask), False
        return await ask.page(
            "dead-chosen.html",
            action=action,
            filters=asked,
            letters=found,
            more=more,
            most=MOST_AT_ONCE,
        )

    async def act(self, ask: Ask) -> Response:
        """Do it, to those that were counted: what has died since was not."""
        action, asked = _action(ask), _read(dict(ask.form))
        found = await self._named(ask)
        one = found[0] if len(found) == 1 else None
        done = 0
        async with ask.deed(
            action,
            subject=one.id if one else "",
            job_id=one.job_id if one else None,
            filters=asked.kept,
            letters=len(found),
        ) as detail:
            for dispatch in found:
                do = self._store.retry_dispatch if action == "retry" else self._store.discard_dispatch
                done += await do(dispatch, now=ask.now)
            detail["done"] = done
        self._parts.notify()
        gone = f" {words.many(len(found) - done, 'other')} had gone already." if done < len(found) else ""
        said = f"{words.many(done, 'dead letter')} {words.action(action)}.{gone}"
        return ask.redirect(f"/dead{query(asked.kept)}", said=said)

    async def _all(self, asked: Filters) -> tuple[list[Dispatch], bool]:
        """Those that match, and whether there are more than are acted on at once."""
        if not asked.readable:
            raise RequestError("A filter cannot be read, so nobody knows which dead letters are meant.")
        dead = replace(Dead(**_values(asked)), before=None, limit=MOST_AT_ONCE)
        found = await self._store.read(dead_letters.find, dead)
        return found.letters, found.cursor is not None

    async def _named(self, ask: Ask) -> list[Dispatch]:
        ids = [one for one in dict.fromkeys(ask.fields("id")) if is_id(one.partition(":")[0], JOB)]
        return await self._store.read(dead_letters.named, ids[:MOST_AT_ONCE])


def _read(params: Any) -> Filters:  # noqa: ANN401  (an address or a form)
    return filters.read(params, {"handler": filters.words, "code": filters.words, "cursor": _cursor})


def _cursor(text: str) -> str:
    if not is_id(text.partition(":")[0], JOB) or text.count(":") not in {1, 2}:
        raise ValueError("This page cannot be found again; begin at the first one.")
    return text


def _values(asked: Filters) -> dict[str, Any]:
    names = {"cursor": "before"}
    return {names.get(name, name): value for name, value in asked.values.items()}


def _action(ask: Ask) -> str:
    action = ask.field("action")
    if action not in _ACTIONS:
        raise NotFoundError("There is no such thing to do.", code="action_unknown")
    return action
