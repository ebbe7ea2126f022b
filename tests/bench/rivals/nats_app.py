"""What one would write instead of a NATS sink: a publisher that waits for each acknowledgement, and keeps no record.

``nats_app.py PORT SUBJECT MESSAGES FILE CONCURRENCY``: publishes the bytes of FILE so many times, so many of them under
way at once, each with an id of its own as JetStream's dedupe wants it; prints how many a second were acknowledged.
"""

import asyncio
import sys
import time
from pathlib import Path

import nats
import uvloop


async def main(port: str, subject: str, messages: int, payload: bytes, concurrency: int) -> float:
    """Publish everything; the rate."""
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    stream = client.jetstream()
    numbers = iter(range(messages))

    async def publish() -> None:
        for number in numbers:
            await stream.publish(subject, payload, headers={"Nats-Msg-Id": f"{concurrency}-{number}"})

    begun = time.perf_counter()
    await asyncio.gather(*(publish() for _ in range(concurrency)))
    ended = time.perf_counter()
    await client.close()
    return messages / (ended - begun)


if __name__ == "__main__":
    _port, _subject, _messages, _file, _concurrency = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        _rate = runner.run(main(_port, _subject, int(_messages), Path(_file).read_bytes(), int(_concurrency)))
    print(_rate)  # noqa: T201
