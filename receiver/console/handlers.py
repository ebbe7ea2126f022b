"""Handlers: who gets completions, how each one's circuit stands; paused and resumed here."""

from starlette.responses import Response

from receiver.console.ask import Ask, Route
from receiver.console.page import Page
from receiver.storage import circuits


class HandlersPage(Page):
    """The registered handlers."""

    @property
    def routes(self) -> list[Route]:
        """What can be asked for."""
        return [
            Route("GET", "/handlers", self.show),
            Route("POST", "/handlers/pause", self.pause, acts=True),
            Route("POST", "/handlers/resume", self.resume, acts=True),
        ]

    async def show(self, ask: Ask) -> Response:
        """Show them, those that are left alone first."""
        found = await self._store.registered()
        found.sort(key=lambda one: (one.circuit is None or not one.circuit.holds, one.name))
        return await ask.page("handlers.html", handlers=found)

    async def pause(self, ask: Ask) -> Response:
        """Pause one."""
        name = ask.field("handler")
        async with ask.deed("pause", subject=name):
            await self._store.write(circuits.pause, (name, ask.visitor.who, ask.now))
        return ask.redirect("/handlers", said=f"{name} is paused: what ends from now on waits for it.")

    async def resume(self, ask: Ask) -> Response:
        """Resume one."""
        name = ask.field("handler")
        async with ask.deed("resume", subject=name):
            await self._store.write(circuits.resume, name)
        self._parts.notify()
        return ask.redirect("/handlers", said=f"{name} goes on.")
