"""``receiver serve`` whose worker rests: callbacks are taken and dispatches made, and left to another node."""

import asyncio
import sys

import uvloop

from receiver import logs
from receiver.cli.session import load_receiver
from receiver.settings import from_environment
from receiver.wire.server import calm_collector, server


async def main(port: int) -> None:
    """Serve until told to stop."""
    settings = from_environment()
    logs.configure(settings.log_level)
    receiver = load_receiver(settings)
    await receiver.start(worker=False)
    calm_collector()
    serving = server(receiver.asgi, host="127.0.0.1", port=port, receive_timeout=settings.receive_timeout)
    await serving.serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
