"""Ports on loopback for servers that the tests start."""

import contextlib
import secrets
import socket


def free_port() -> int:
    """A port that nobody listens at, and that stays free while its server is down.

    It is below those that the kernel hands out: one of these could meanwhile go to an outgoing connection, and a
    client that tries one of these on loopback, again and again, can end up connected to itself. Two processes of
    one test run draw different ones: ``random`` begins anew, and alike, with each test.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
