"""What handlers.md says keeps tokens out of the access log of somebody else's server does."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.ports import free_port

from .blocks import blocks

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "canary-token-5c1e"
MOUNTED, FILTER = "app.mount(", "hide_tokens"


def program(*words: str) -> str:
    """The programs of handlers.md that have one of *words* in them, in one file."""
    return "\n".join(
        one.text for one in blocks("receiver/docs/handlers.md") if any(word in one.text for word in words)
    )


@pytest.mark.parametrize(
    ("words", "options", "shown"),
    [
        ((MOUNTED,), [], f"/hooks/callbacks/pulse/{TOKEN}"),
        ((MOUNTED, FILTER), [], "/hooks/callbacks/pulse/***"),
        ((MOUNTED,), ["--no-access-log"], None),
    ],
    ids=["as it is", "with the filter", "without an access log"],
)
def test_tokens_are_kept_out_of_the_access_log(
    tmp_path: Path, words: tuple[str, ...], options: list[str], shown: str | None
) -> None:
    """Uvicorn's own program writes the path, unless the filter of the document or its option is used."""
    (tmp_path / "web.py").write_text(program(*words), encoding="utf-8")
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "RECEIVER_DATABASE_URL": f"sqlite:///{tmp_path}/receiver.db",
        "RECEIVER_SECRET_KEY": "a key that is long enough for a test",
        "RECEIVER_PUBLIC_URL": f"http://127.0.0.1:{port}/hooks",
    }
    command = [sys.executable, "-m", "uvicorn", "web:app", "--port", str(port), *options]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=said, stderr=said)
    try:
        assert asked(f"http://127.0.0.1:{port}/hooks/callbacks/pulse/{TOKEN}") == 404
    finally:
        process.terminate()
        process.wait(30)
    log = (tmp_path / "said").read_text()
    assert shown is None or shown in log
    assert (TOKEN in log) == (shown is not None and TOKEN in shown), log


def asked(url: str) -> int:
    """The status with which *url* is answered, once somebody answers there."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            return httpx.post(url, trust_env=False, timeout=30).status_code
        time.sleep(0.05)
    raise AssertionError("nobody answered")
