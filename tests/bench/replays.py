"""Requests to the API: replays of what is stored, and other questions about it."""

from collections.abc import Sequence
from pathlib import Path

from .callbacks import API_TOKEN
from .load import rows, write_requests


def write_replays(database: Path, path: Path) -> None:
    """Write a replay of every callback that *database* holds."""
    stored = rows(database, "SELECT id FROM callback ORDER BY id")
    write_requests(path, [api("POST", f"/v1/callbacks/{one}/replay") for (one,) in stored])


def write_questions(path: Path, addresses: Sequence[str], *, times: int) -> None:
    """Write each of *addresses* so many *times*, in turn."""
    write_requests(path, [api("GET", one) for _ in range(times) for one in addresses])


def api(method: str, address: str) -> bytes:
    """A request to the API."""
    return (
        f"{method} {address} HTTP/1.1\r\nHost: receiver.example\r\n"
        f"Authorization: Bearer {API_TOKEN}\r\nContent-Length: 0\r\n\r\n"
    ).encode()
