"""How each rival on uvicorn is served: with the receiver's own flags, and one worker."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

App = Callable[[Any, Any, Any], Awaitable[None]]


def serve(app: App) -> None:
    """Serve *app* at the port that is the script's first argument."""
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        http="httptools",
        loop="uvloop",
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_keep_alive=15,
        backlog=2048,
    )
