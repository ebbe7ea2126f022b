"""The addresses of the API and what answers at each."""

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.api.callbacks import Callbacks
from receiver.api.dispatches import Dispatches
from receiver.api.jobs import Jobs
from receiver.api.openapi import describe
from receiver.api.resource import Operation, Resource, answer
from receiver.api.verification import Verification
from receiver.cancel import Cancel
from receiver.catalog import Catalog
from receiver.keys import Keys
from receiver.proving import Proving
from receiver.replay import Replay
from receiver.settings import Settings
from receiver.storage.store import Store
from receiver.submit import Submit
from receiver.web import Bodies

#: Whatever else is asked for below ``/v1``.
_ELSEWHERE: Final = ("/v1", "/v1/{rest:path}")


class Api:
    """The JSON face."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        keys: Keys,
        proving: Proving,
        settings: Settings,
        submit: Submit,
        cancel: Cancel,
        replay: Replay,
        clock: Callable[[], int],
        notify: Callable[[], None],
    ) -> None:
        self._settings = settings
        bodies = Bodies(largest=settings.max_body, patience=settings.receive_timeout)
        jobs = Jobs(
            store=store,
            catalog=catalog,
            bodies=bodies,
            submit=submit,
            cancel=cancel,
            replay=replay,
            clock=clock,
            notify=notify,
        )
        callbacks = Callbacks(store=store, catalog=catalog, proving=proving, bodies=bodies, replay=replay)
        dispatches = Dispatches(store=store, clock=clock, notify=notify)
        verification = Verification(
            catalog=catalog, keys=keys, proving=proving, settings=settings, bodies=bodies, clock=clock
        )
        #: What can be asked for; routes and OpenAPI are made from it, so neither can lack what the other has.
        self.operations: list[Operation] = [
            *jobs.operations,
            *callbacks.operations,
            *dispatches.operations,
            *verification.operations,
            Operation(
                method="GET",
                path="/v1/openapi.json",
                summary="This description.",
                endpoint=self.openapi,
                answers={200: "application/json"},
            ),
        ]

    @property
    def routes(self) -> list[Route]:
        """The routes."""
        addresses: dict[str, dict[str, Operation]] = {}
        for operation in self.operations:
            addresses.setdefault(operation.path, {})[operation.method] = operation
        known = [
            Route(path, Resource(settings=self._settings, operations=operations))
            for path, operations in addresses.items()
        ]
        # The router tries one after the other, and replays come by the thousand.
        known.sort(key=lambda route: not route.path.endswith("/replay"))
        unknown = [Route(path, Resource(settings=self._settings)) for path in _ELSEWHERE]
        return [*known, *unknown]

    async def openapi(self, request: Request) -> Response:
        """Describe the API."""
        root = request.scope.get("root_path", "")
        return answer(describe(self.operations) | {"servers": [{"url": root or "/"}]})
