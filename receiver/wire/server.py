"""The HTTP server: uvicorn, with connections of our own.

uvicorn listens, starts and stops; what it does not bound is bounded by ``Connection``.
"""

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvicorn

from receiver.timers import Deadlines
from receiver.wire.connection import Connection, Refused
from receiver.wire.outlet import Turn
from receiver.wire.strangers import Strangers

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn.server import ServerState

log = structlog.get_logger(__name__)

#: Seconds for requests that are in flight when the process is told to stop: one may wait for what a provider answers
#: to a submission, and whoever is cut off then may submit again.
_FARE_WELL: Final = 8


def _log_refused(status: int, reason: str, scope: dict[str, Any] | None = None) -> None:  # noqa: ARG001
    log.warning("request_malformed", status=status, reason=reason)


def _connections(app: "ASGIApp", receive_timeout: float, refused: Refused) -> Callable[..., Connection]:
    """What makes the connections of one server, which share a clock and leave for the wire together."""
    deadlines, turn, strangers = Deadlines(step=min(receive_timeout / 10, 1.0)), Turn(), Strangers()

    def connection(*, server_state: "ServerState", app_state: dict[str, Any], **_: Any) -> Connection:  # noqa: ANN401
        return Connection(
            app,
            server_state,
            lifespan=app_state,
            patience=receive_timeout,
            deadlines=deadlines,
            turn=turn,
            strangers=strangers,
            refused=refused,
        )

    return connection


def calm_collector() -> None:
    """Have the garbage collector rest more: for a process that serves, once it has started.

    What is there by then stays, so it is not looked through again; and what a callback makes is gone, by its reference
    counts, as soon as it is answered. By Python's own numbers a twentieth of the time goes into looking.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def server(
    app: "ASGIApp",
    *,
    host: str,
    port: int,
    receive_timeout: float,
    backlog: int = 2048,
    refused: Refused = _log_refused,
) -> uvicorn.Server:
    """A uvicorn server for *app* with our limits, no access log (paths are secrets) and no banner.

    *refused* is told of what never reaches *app*, because it is no request.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=_connections(app, receive_timeout, refused),  # type: ignore[arg-type]  # what makes one, in place of a class
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        backlog=backlog,
        timeout_graceful_shutdown=_FARE_WELL,
    )
    return uvicorn.Server(config)
