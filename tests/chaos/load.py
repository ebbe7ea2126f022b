"""A process that posts as many callbacks as it can for a while, each about a job of its own; prints how many it got in.

Arguments: seconds, connections, then the ports, over which the connections are spread.
"""

import asyncio
import hmac
import itertools
import json
import os
import sys
import time

from tests.chaos.provider import SECRET, document

_numbers = itertools.count(os.getpid() * 1_000_000)


async def _post(port: int, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken = 0
    while time.monotonic() < until:
        writer.write(_request(next(_numbers)))
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        await reader.readexactly(int(fields.get(b"content-length", b"0")))
        taken += head.startswith(b"HTTP/1.1 200 ")
    writer.close()
    return taken


def _request(number: int) -> bytes:
    said = json.dumps(document(number, "done", marker=str(number))).encode()
    signature = hmac.new(SECRET.encode(), b"%d.%b" % (number, said), "sha256").hexdigest()
    head = (
        f"POST /webhooks/chaos HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(said)}\r\n"
        f"chaos-delivery: {number}\r\nchaos-signature: {signature}\r\n\r\n"
    )
    return head.encode() + said


async def _main(seconds: float, connections: int, ports: list[int]) -> None:
    until = time.monotonic() + seconds
    taken = await asyncio.gather(*(_post(ports[one % len(ports)], until) for one in range(connections)))
    sys.stdout.write(f"{sum(taken)}\n")


if __name__ == "__main__":
    asyncio.run(_main(float(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
