"""The addresses of the API and what answers at each."""

import re
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from receiver.api.alarms import Alarms
from receiver.api.callbacks import Callbacks
from receiver.api.completions import Completions
from receiver.api.dispatches import Dispatches
from receiver.api.files import Files
from receiver.api.handlers import RegisteredHandlers
from receiver.api.jobs import Jobs
from receiver.api.openapi import describe
from receiver.api.readers import Readers
from receiver.api.resource import Operation, Resource, answer
from receiver.api.verification import Verification
from receiver.catalog import Catalog
from receiver.files.store import FileStore
from receiver.keys import Keys
from receiver.settings import Settings
from receiver.steps.cancel import Cancel
from receiver.steps.follow import Follow
from receiver.steps.proving import Proving
from receiver.steps.replay import Replay
from receiver.steps.submit import Submit
from receiver.steps.wait import Wait
from receiver.storage.store import Store
from receiver.wire.refusals import Refusals
from receiver.wire.web import Bodies

#: Whatever else is asked for below ``/v1``.
_ELSEWHERE: Final = re.compile("/v1(/.*)?")
_NAME: Final = re.compile(r"\{(\w+)\}")


class Api:
    """The JSON face."""

    def __init__(
        self,
        *,
        store: Store,
        files: FileStore,
        catalog: Catalog,
        keys: Keys,
        proving: Proving,
        settings: Settings,
        submit: Submit,
        cancel: Cancel,
        replay: Replay,
        wait: Wait,
        follow: Follow,
        refusals: Refusals,
        clock: Callable[[], int],
        notify: Callable[[], None],
    ) -> None:
        bodies = Bodies(largest=settings.max_body, patience=settings.receive_timeout)
        jobs = Jobs(
            store=store,
            catalog=catalog,
            bodies=bodies,
            submit=submit,
            cancel=cancel,
            replay=replay,
            wait=wait,
            clock=clock,
            notify=notify,
        )
        callbacks = Callbacks(
            store=store, catalog=catalog, proving=proving, bodies=bodies, replay=replay, clock=clock
        )
        completions = Completions(follow=follow, catalog=catalog, refusals=refusals)
        readers = Readers(store=store, follow=follow, bodies=bodies, clock=clock)
        dispatches = Dispatches(store=store, clock=clock, notify=notify)
        handlers = RegisteredHandlers(store=store, clock=clock, notify=notify)
        verification = Verification(
            catalog=catalog, keys=keys, proving=proving, settings=settings, bodies=bodies, clock=clock
        )
        #: What can be asked for; routes and OpenAPI are made from it, so neither can lack what the other has.
        self.operations: list[Operation] = [
            *jobs.operations,
            *Files(store=store, kept=files).operations,
            *callbacks.operations,
            *completions.operations,
            *readers.operations,
            *dispatches.operations,
            *handlers.operations,
            *Alarms(store=store).operations,
            *verification.operations,
            Operation(
                method="GET",
                path="/v1/openapi.json",
                summary="Describe /v1 (OpenAPI 3.1).",
                endpoint=self.openapi,
                answers={200: "application/json"},
            ),
        ]

        addresses: dict[str, dict[str, Operation]] = {}
        for operation in self.operations:
            addresses.setdefault(operation.path, {})[operation.method] = operation
        # They are tried in this order, and replays come by the thousand.
        paths = sorted(addresses, key=lambda path: not path.endswith("/replay"))
        token = settings.api_token
        self._resources = [(_pattern(path), Resource(addresses[path], api_token=token)) for path in paths]
        self._resources.append((_ELSEWHERE, Resource({}, api_token=token)))

    def find(self, path: str, scope: Scope) -> Resource | None:
        """What answers at *path*, its parameters put into *scope*; ``None`` for one that is not below ``/v1``.

        A framework's router took a sixth of the time of a replay.
        """
        for pattern, resource in self._resources:
            if (found := pattern.fullmatch(path)) is not None:
                scope["path_params"] = found.groupdict()
                return resource
        return None

    async def openapi(self, request: Request) -> Response:
        """Describe the API."""
        root = request.scope.get("root_path", "")
        return answer(describe(self.operations) | {"servers": [{"url": root or "/"}]})


def _pattern(path: str) -> re.Pattern[str]:
    """What the paths look like that *path* stands for."""
    return re.compile(_NAME.sub(r"(?P<\1>[^/]+)", path))
