"""The head of a request: what of it is taken, and what an application is told about it."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final
from urllib.parse import unquote

import httptools

LARGEST: Final = 64 * 1024
MOST_HEADERS: Final = 128
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


class MalformedError(Exception):
    """What was sent is no request; the message, a text of our own, is told to its sender."""


def check(
    url: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    last: Mapping[bytes, bytes],
    *,
    version: str,
    small: bool,
) -> None:
    """Raise MalformedError where a head is too large, or two readers could disagree about what it says.

    Args:
        url: What is asked for.
        headers: As they came.
        last: The last one of each name.
        version: Of HTTP; 1.0 knows no Host.
        small: Whether the whole head is known to be no larger than allowed.
    """
    if len(headers) > MOST_HEADERS or not (
        small or len(url) + sum(map(len, chain.from_iterable(headers))) <= LARGEST
    ):
        raise MalformedError("the head is too large")
    if b"host" not in last and version != "1.0":
        raise MalformedError("no host")
    if len(last) != len(headers):
        names = [name for name, _ in headers]
        if names.count(b"host") > 1 or names.count(b"content-length") > 1:
            raise MalformedError("more than one host, or length")
    if b"transfer-encoding" in last:
        if b"content-length" in last:
            raise MalformedError("two lengths")
        if any(
            name == b"transfer-encoding" and value.strip().lower() != b"chunked" for name, value in headers
        ):
            raise MalformedError("a transfer encoding other than chunked")


def scope_of(
    method: bytes, target: bytes, version: str, headers: list[tuple[bytes, bytes]]
) -> dict[str, Any]:
    """The ASGI scope of a request, but for its connection; raises MalformedError where *target* is no address."""
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise MalformedError("no address") from None
    if url.path is None:
        raise MalformedError("no address")
    path = url.path.decode("ascii")
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": version,
        "method": method.decode("ascii"),
        "scheme": "http",
        "path": unquote(path) if "%" in path else path,
        "raw_path": url.path,
        "query_string": url.query or b"",
        "root_path": "",
        "headers": headers,
    }


def framing_of(last: Mapping[bytes, bytes]) -> bytes | None:
    """The header that says how long a body is, as it is written; ``None`` where there is no body."""
    if b"transfer-encoding" in last:
        return b"transfer-encoding: chunked\r\n"
    length = last.get(b"content-length", b"").lstrip(b"0")
    return b"content-length: %b\r\n" % length if length else None
