"""Who did what: everything that was done by hand, the latest first."""

from starlette.responses import Response

from receiver.console import filters
from receiver.console.ask import Ask, Route
from receiver.console.page import Page
from receiver.core.identity import DEED
from receiver.storage import audit

_PAGE = 50


class TrailPage(Page):
    """The trail."""

    @property
    def routes(self) -> list[Route]:
        """What can be asked for."""
        return [Route("GET", "/audit", self.show)]

    async def show(self, ask: Ask) -> Response:
        """Show a page of it."""
        asked = filters.read(ask.request.query_params, {"cursor": filters.id_of(DEED)})
        found = await self._store.read(audit.trail, before=asked.values.get("cursor"), limit=_PAGE + 1)
        return await ask.page(
            "audit.html", deeds=found[:_PAGE], cursor=found[_PAGE - 1].id if len(found) > _PAGE else None
        )
