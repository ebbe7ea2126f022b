"""Connections: one pool for each way out, to vetted addresses only."""

import ssl
from collections.abc import Iterable
from typing import Final

import httpcore
import httpx

from receiver.core.description.provider import Provider
from receiver.outbound.egress import Egress, place_of
from receiver.outbound.network import VettedNetwork

_CONNECT: Final = 5.0


def open_client(
    egress: Egress, leaving: Iterable[Provider], *, connections: int, kept: int, patience: float
) -> httpx.AsyncClient:
    """A client whose connections leave by *egress*.

    Args:
        egress: The way out.
        leaving: Whose requests leave by it: what a setting says of one opens nothing to another's.
        connections: How many there may be.
        kept: How many of these are kept while nobody uses them.
        patience: Seconds that one may stay silent.
    """
    context = ssl.create_default_context()
    transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False, retries=0)
    # httpx has no public way to choose how names are resolved; its pool does (httpx 0.28, pinned).
    transport._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001
        ssl_context=context,
        max_connections=connections,
        max_keepalive_connections=kept,
        keepalive_expiry=15.0,
        network_backend=VettedNetwork(
            (place_of(origin) for one in leaving if one.relocated for origin in one.origins),
            egress=egress,
            context=context,
        ),
    )
    timeout = httpx.Timeout(patience, connect=_CONNECT)
    return httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False, follow_redirects=False)
