"""Egress: the way out to a provider: straight, or through a proxy; to public addresses, or also to named private ones.

A proxy is used where a setting says so, never because the environment of some other program names one.
"""

import base64
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from receiver.core.address import Network
from receiver.core.description.provider import Provider
from receiver.core.errors import ConfigurationError, NeverConnectedError
from receiver.core.model import Value
from receiver.settings import Settings

if TYPE_CHECKING:
    import httpcore

#: What a provider's own setting says where it needs no proxy although the others do.
STRAIGHT: Final = "direct"
#: Bytes of a proxy's answer that are read.
_LARGEST_ANSWER: Final = 16 * 1024
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r\n)")
_PORTS: Final = {"http": 80, "https": 443}
_NEEDS_LOGIN: Final = 407

Place = tuple[str, int]


class Proxy(Value, frozen=True, kw_only=True):
    """A proxy that makes tunnels (CONNECT, RFC 9110, 9.3.6)."""

    secure: bool
    host: str
    port: int
    authorization: bytes | None = None

    @property
    def name(self) -> str:
        """Where it is, as it may be shown: without credentials."""
        return f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Proxy({self.name})"


class Egress(Value, frozen=True, kw_only=True):
    """How requests to a provider leave."""

    proxy: Proxy | None = None
    #: Where its description says that it is, so that its name need not be known here where a proxy knows it.
    listed: frozenset[Place] = frozenset()
    #: Private networks that it may be in.
    private: tuple[Network, ...] = ()
    #: The places of the provider that are spoken to without TLS; only private ones may be.
    plain: frozenset[Place] = frozenset()


DIRECT: Final = Egress()


def place_of(url: str) -> Place:
    """Host and port of an address."""
    import httpx

    parsed = httpx.URL(url)
    return parsed.host, parsed.port or _PORTS.get(parsed.scheme, 0)


def egress_of(settings: Settings, provider: Provider) -> Egress:
    """The way out to *provider*; raises ConfigurationError where a setting about it is wrong."""
    name, text = settings.egress_proxy_of(provider.name)
    private = settings.private_networks(provider.name)
    if (not text or text == STRAIGHT) and not private:
        return DIRECT
    return Egress(
        proxy=proxy_of(text, setting=name) if text and text != STRAIGHT else None,
        listed=frozenset(map(place_of, provider.origins)),
        private=private,
        plain=frozenset(place_of(origin) for origin in provider.origins if origin.startswith("http:")),
    )


def proxy_of(text: str, *, setting: str) -> Proxy:
    """Read ``http://user:password@host:port``; raises ConfigurationError, which repeats nothing of it."""
    import httpx

    try:
        parts = urlsplit(text)
        port = parts.port or _PORTS.get(parts.scheme, 0)
        host = httpx.URL(scheme="http", host=parts.hostname or "").raw_host.decode()
    except (ValueError, httpx.InvalidURL):
        port, host = 0, ""
    more = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in _PORTS or not host or not port or more:
        raise ConfigurationError(
            f"{setting} must be http://host:port or https://host:port, with user:password@ before the host where the "
            "proxy wants it.",
            code="setting_invalid",
        )
    login = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = b"Basic " + base64.b64encode(user.encode())
    return Proxy(secure=parts.scheme == "https", host=host, port=port, authorization=login)


async def tunnel(stream: "httpcore.AsyncNetworkStream", proxy: Proxy, *, host: str, port: int) -> None:
    """Have *proxy*, at the other end of *stream*, connect it to *host*.

    Raises:
        NeverConnectedError: it does not.
    """
    target = b"%b:%d" % (f"[{host}]".encode() if ":" in host else host.encode(), port)
    login = b"" if proxy.authorization is None else b"Proxy-Authorization: %b\r\n" % proxy.authorization
    await stream.write(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, target, login))
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = await stream.read(_LARGEST_ANSWER) if len(answer) < _LARGEST_ANSWER else b""
        if not piece:
            raise _refused(proxy, "broke off")
        answer += piece
    head, _, rest = answer.partition(b"\r\n\r\n")
    found = _STATUS.match(head + b"\r\n")
    status = int(found[1]) if found else 0
    if status == _NEEDS_LOGIN:
        raise _refused(proxy, "answered 407: put user:password@ before its host in RECEIVER_EGRESS_PROXY")
    # Nobody speaks at the other end before it is spoken to.
    if not 200 <= status <= 299 or rest:  # noqa: PLR2004  (successful)
        raise _refused(proxy, f"answered {status or 'what is no HTTP'} and makes no connection to {host}")


def _refused(proxy: Proxy, why: str) -> NeverConnectedError:
    return NeverConnectedError(f"The egress proxy {proxy.name} {why}.", code="egress_refused")
