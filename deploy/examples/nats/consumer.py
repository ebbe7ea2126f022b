"""Takes completions from NATS JetStream; one is acknowledged once it was handled, and comes again if it was not."""

import asyncio
import json
import os
import signal

import nats
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NothingNewError

STREAM, SUBJECTS, NAME = "JOBS", "jobs.>", "consumer"
#: Seconds within which the stream drops a repetition of the same event.
WINDOW = 3600
LATER = 5


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
        await message.nak(delay=LATER)
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
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print("waiting", flush=True)
    while not stop.is_set():
        try:
            messages = await jobs.fetch(10, timeout=1)
        except NothingNewError:
            continue
        for message in messages:
            await take(message)
    await client.drain()


asyncio.run(main())
