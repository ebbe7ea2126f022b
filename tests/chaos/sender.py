"""A process that sends callbacks as a provider does: signed, and again until it is heard.

Reads deliveries from its input, a JSON document a line, the first line being how to send; writes one line for each
try, with times of the clock that all processes of a machine share. At the end of its input it finishes and ends.
"""

import asyncio
import hmac
import json
import random
import sys
import threading
import time
from typing import Any

from tests.chaos import wire

#: Seconds between the tries of one delivery.
_PAUSE = 0.25


async def _deliver(setup: dict[str, Any], delivery: dict[str, Any]) -> None:
    body = delivery["body"].encode() + b" " * delivery.get("padding", 0)
    signed = delivery["id"].encode() + b"." + body
    signature = hmac.new(setup["secret"].encode(), signed, "sha256").hexdigest()
    headers = {"chaos-delivery": delivery["id"], "chaos-signature": signature}
    until = time.monotonic() + setup["patience"]
    tries = 0
    while time.monotonic() < until:
        tries += 1
        began = time.monotonic()
        port = random.choice(delivery.get("ports") or setup["ports"])
        heard = await wire.ask(port, "POST", delivery["path"], headers=headers, body=body)
        line = [delivery["id"], delivery["job"], heard.kind, heard.status, began, time.monotonic()]
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        # What is refused for good is not sent again.
        if heard.acked or (heard.kind == "answered" and heard.status < 500):
            return
        if tries == delivery.get("tries"):
            return
        await asyncio.sleep(_PAUSE * (0.5 + random.random()))


async def _main() -> None:
    setup = json.loads(sys.stdin.readline())
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    async with asyncio.TaskGroup() as group:
        while line := await lines.get():
            group.create_task(_deliver(setup, json.loads(line)))


if __name__ == "__main__":
    asyncio.run(_main())
