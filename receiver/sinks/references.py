"""References in the address of a sink, ``{env:NAME}``, filled in: what a value may be goes by where it stands.

A value never becomes more than what it stands for: a password with ``@`` or ``/`` in it makes no other server, and a
server's name with a path in it is refused.
"""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from receiver.core.errors import ConfigurationError

_REFERENCE: Final = re.compile(r"\{(env:[^{}]*)\}")
#: The schemes of addresses that are no URLs: what follows is taken as it stands.
_PLAIN: Final = frozenset({"file", "notify", "stdout", "taskiq"})
#: One server or several, each with or without a port (https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2).
_SERVERS: Final = re.compile(r"[A-Za-z0-9._:,\[\]-]+")


def fill_in(
    to: str, *, resolve: Callable[[str], str | None], wrong: Callable[[str], ConfigurationError]
) -> str:
    """The address *to* with its references filled in.

    Args:
        to: As it is configured.
        resolve: What a reference, ``env:NAME``, stands for.
        wrong: Makes the error that says what is wrong with the address.

    Raises:
        ConfigurationError: one is not set, or its value cannot stand where it does.
    """

    def value(reference: str) -> str:
        found = resolve(reference)
        if not found:
            raise wrong(f"{_name(reference)} is not set.")
        return found

    scheme = to.partition(":")[0]
    if scheme.lower() == "command":
        return to  # the sink does it itself, for each word: a brace in a value makes no field

    def put(one: re.Match[str]) -> str:
        found = value(one[1])
        if scheme.lower() in _PLAIN:
            return _plain(one, found, wrong=wrong)
        begin, end = _authority(to)
        if not begin <= one.start() < end or "@" in to[one.end() : end]:
            return quote(found, safe="")
        if scheme.startswith("postgres") and found.startswith("/"):
            return quote(found, safe="")  # the folder of a socket, which has no other form
        if _SERVERS.fullmatch(found) is None:
            raise wrong(
                f"{_name(one[1])} stands where a server does, so it is host, host:port or several of them with commas."
            )
        return found

    return _REFERENCE.sub(put, to)


def _plain(one: re.Match[str], value: str, *, wrong: Callable[[str], ConfigurationError]) -> str:
    if "?" in one.string[: one.start()] and one.string.startswith("taskiq:"):
        return quote(value, safe="")
    if not value.isprintable() or "{" in value or "}" in value:
        raise wrong(f"{_name(one[1])} has a brace, or a character that cannot be printed.")
    return value


def _authority(to: str) -> tuple[int, int]:
    """Where the part of an address that names the server, and who signs in there, begins and ends."""
    begin = to.find("://") + 3
    found = re.compile(r"[/?#]").search(to, begin)
    return begin, len(to) if found is None else found.start()


def _name(reference: str) -> str:
    return reference.removeprefix("env:")
