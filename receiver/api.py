"""``/v1``: jobs, callbacks and dead letters as JSON; health and metrics beside it."""

from collections.abc import Callable
from typing import Any

from starlette.routing import Route

from receiver.cancel import Cancel
from receiver.catalog import Catalog
from receiver.keys import Keys
from receiver.metrics import Metrics
from receiver.replay import Replay
from receiver.settings import Settings
from receiver.storage.store import Store
from receiver.submit import Submit


class Api:
    """The JSON face."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        keys: Keys,
        settings: Settings,
        submit: Submit,
        cancel: Cancel,
        replay: Replay,
        metrics: Metrics,
        clock: Callable[[], int],
        notify: Callable[[], None],
    ) -> None:
        self.parts: Any = (store, catalog, keys, settings, submit, cancel, replay, metrics, clock, notify)

    @property
    def routes(self) -> list[Route]:
        """The routes."""
        return []
