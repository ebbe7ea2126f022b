"""Takes completions from RabbitMQ; one is acknowledged once it was handled, and comes again if it was not."""

import asyncio
import json
import os
import signal

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

QUEUE = "jobs"
#: RabbitMQ does not drop repetitions: whoever handles an event goes by its id. Keep them where your data is.
seen: set[str] = set()


async def handle(event: dict[str, str], data: bytes) -> None:
    """Do what is yours; *event* has the CloudEvent's attributes, *data* job and result, or a result that is no JSON."""
    told = json.loads(data) if event["content-type"] == "application/json" else {"result": data}
    print(event["ce-type"], event["ce-subject"], sorted(told), flush=True)


async def take(message: AbstractIncomingMessage) -> None:
    """Handle one message."""
    async with message.process(requeue=True):
        name = message.message_id or ""
        if name not in seen:
            event = {key: str(value) for key, value in message.headers.items()}
            await handle(event | {"content-type": message.content_type or ""}, message.body)
            seen.add(name)


async def main() -> None:
    """Take what comes, until told to stop."""
    host, port = os.environ.get("RABBITMQ_HOST", "localhost"), os.environ.get("RABBITMQ_PORT", "5672")
    login = os.environ.get("RABBITMQ_LOGIN", "guest:guest")
    connection = await aio_pika.connect_robust(f"amqp://{login}@{host}:{port}/")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        queue = await channel.declare_queue(QUEUE, durable=True)
        await queue.consume(take)
        print("waiting", flush=True)
        await stop.wait()


asyncio.run(main())
