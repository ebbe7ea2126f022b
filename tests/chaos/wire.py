"""One request over one connection, and exactly what was heard of an answer."""

import asyncio
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["refused", "unanswered", "broken", "silent", "answered"]
_HEAD_END: Final = b"\r\n\r\n"


@dataclass(frozen=True)
class Heard:
    """What came back: ``broken`` is the beginning of an answer without its end."""

    kind: Kind
    status: int = 0
    body: bytes = b""

    @property
    def acked(self) -> bool:
        """Whether a whole answer says that it was taken."""
        return self.kind == "answered" and 200 <= self.status < 300


async def ask(
    port: int,
    method: str,
    path: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    patience: float = 10.0,
) -> Heard:
    """Ask a node at *port* of loopback."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: 127.0.0.1",
        "connection: close",
        f"content-length: {len(body)}",
    ]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    got = bytearray()
    try:
        async with asyncio.timeout(patience):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return Heard("refused")
            try:
                writer.write("\r\n".join(lines).encode() + _HEAD_END + body)
                while chunk := await reader.read(65536):
                    got += chunk
            except OSError:
                # What had arrived before the connection broke decides.
                return _heard(bytes(got))
            finally:
                writer.close()
    except TimeoutError:
        return Heard("silent" if not got else "broken")
    return _heard(bytes(got))


def _heard(got: bytes) -> Heard:
    if not got:
        return Heard("unanswered")
    head, found, body = got.partition(_HEAD_END)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    if not found or len(body) != int(fields.get(b"content-length", b"0")):
        return Heard("broken")
    return Heard("answered", int(head.split(b" ", 2)[1]), body)
