"""Takes completions from NATS JetStream; one is acknowledged once it was handled, and comes again if it was not."""

import asyncio
import contextlib
import json
import os
import signal

import nats
from nats.aio.msg import Msg

STREAM, SUBJECTS, NAME = "JOBS", "jobs.>", "consumer"
WINDOW = 3600  # seconds within which the stream drops a repetition of the same event


async def handle(event: dict[str, str], data: bytes) -> None:
    """Do what is yours; *event* has the CloudEvent's attributes, *data* job and result, or a result that is no JSON."""
    told = json.loads(data) if event["content-type"] == "application/json" else {"result": data}
    print(event["ce-type"], event["ce-subject"], sorted(told), flush=True)


async def take(message: Msg) -> None:
    """Handle one message."""
    try:
        await handle(message.headers or {}, message.data)
    except Exception as error:
        print("not handled, it comes again:", repr(error), flush=True)
        await message.nak(delay=5)
    else:
        await message.ack()


async def main() -> None:
    """Take what comes, until told to stop."""
    host, port = os.environ.get("NATS_HOST", "localhost"), os.environ.get("NATS_PORT", "4222")
    client = await nats.connect(f"nats://{host}:{port}")
    stream = client.jetstream()
    await stream.add_stream(name=STREAM, subjects=[SUBJECTS], duplicate_window=WINDOW)
    jobs = await stream.pull_subscribe(SUBJECTS, durable=NAME)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("waiting", flush=True)
    while not stop.is_set():
        # Nothing new: the client says so by its own TimeoutError or by Python's, whichever clock strikes first.
        with contextlib.suppress(TimeoutError):
            for message in await jobs.fetch(10, timeout=1):
                await take(message)
    # What was taken is acknowledged; to drain would wait for a fetch that nobody makes any more.
    await client.flush()
    await client.close()


asyncio.run(main())
