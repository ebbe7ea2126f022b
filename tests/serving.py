"""A server of uvicorn's that runs for as long as a test needs it, in the test's own loop.

It is started and stopped as its ``serve`` does it, but at once: that looks ten times a second whether to stop, and
then waits a tenth of a second whatever there is to wait for. A thousand tests stop a receiver. What ``serve`` adds,
and signals with it, is tested with whole processes.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvicorn


@asynccontextmanager
async def served(server: uvicorn.Server, sockets: Sequence[socket.socket] = ()) -> AsyncIterator[None]:
    """Serve, at *sockets* if there are any, until the block is left.

    Raises:
        SystemExit: the application refused to start; its log says why.
    """
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(list(sockets) or None)
    # Where uvicorn makes the headers that every answer has.
    await server.on_tick(0)
    try:
        yield
    finally:
        await _stop(server, sockets)


async def _stop(server: uvicorn.Server, sockets: Sequence[socket.socket]) -> None:
    for listening in server.servers:
        listening.close()
    for one in sockets:
        one.close()
    state = server.server_state
    for connection in list(state.connections):
        connection.shutdown()
    try:
        async with asyncio.timeout(server.config.timeout_graceful_shutdown):
            while state.connections or state.tasks:  # noqa: ASYNC110  (uvicorn tells nobody)
                await asyncio.sleep(0.005)
    except TimeoutError:
        for task in state.tasks:
            task.cancel()
    for listening in server.servers:
        await listening.wait_closed()
    await server.lifespan.shutdown()
