"""A message: the request or the answer that proof and reading look at, exactly as it arrived."""

from collections.abc import Iterable, Sequence

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What arrived."""

    #: As received: not decompressed, not decoded, not parsed.
    body: bytes = b""
    #: ASGI's header list: names in lower case, order and duplicates kept.
    headers: Sequence[tuple[bytes, bytes]] = ()
    #: The address as its sender signed it: public URL, path and query.
    url: str = ""
    #: The raw query string; for a signature the one of ``url`` counts where it is empty.
    query: bytes = b""
    method: str = "POST"
    #: The IP address that it came from, where that is known.
    sender: str | None = None

    def __repr__(self) -> str:
        return f"Message({self.method}, {len(self.headers)} headers, {len(self.body)} bytes)"

    def header(self, name: bytes) -> bytes | None:
        """The first header of that (lower-case) name."""
        return dict(reversed(self.headers)).get(name)


def lowered(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI would hand them over, which have come from elsewhere."""
    return [(name.lower(), value) for name, value in headers]
