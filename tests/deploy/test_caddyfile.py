from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import httpx
import pytest

from .artefacts import DEPLOY, compose, program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_"
SEEN: list[str] = []


@pytest.fixture(scope="module")
def text() -> str:
    """Give the Caddyfile without its comments."""
    return re.sub(r"(?m)^\s*#.*$", "", (DEPLOY / "Caddyfile").read_text())


def test_it_forwards_callbacks_and_webhooks_only(text: str) -> None:
    """The API, the console, the metrics and the health routes are not public."""
    assert re.findall(r"(?m)^[ \t]*@\w+ .*$", text) == ["\t@public path /callbacks/* /webhooks/*"]
    assert text.count("reverse_proxy") == 1
    assert re.search(r"handle \{\s*respond 404\s*\}", text)


def test_it_writes_no_token(text: str) -> None:
    """No access log is on, the log of errors masks the path, and no redirect repeats it."""
    assert re.findall(r"(?m)^[ \t]*log\b.*$", text) == ["\tlog default {"]
    assert "request>uri regexp ^(/[^/?]*).*$ $1/masked" in text
    assert "request>headers delete" in text
    assert "auto_https disable_redirects" in text


def test_it_lets_pass_what_the_receiver_takes(text: str) -> None:
    """Its limit on bodies is above the receiver's own 10 MiB, whose answer is the better one."""
    limit = re.search(r"max_size (\d+)MiB", text)
    assert limit is not None
    assert int(limit[1]) > 10


def test_it_knows_where_the_receiver_listens(text: str) -> None:
    """Caddy and compose.yaml agree on the receiver's name and port."""
    assert (
        f"reverse_proxy receiver:{compose()['services']['receiver']['environment']['RECEIVER_PORT']} {{"
        in text
    )


class Upstream(BaseHTTPRequestHandler):
    """Stand in for the receiver: note the path and answer 200."""

    def do_POST(self) -> None:
        """Answer."""
        SEEN.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parameter's name is theirs
        """Say nothing."""


def free_port() -> int:
    """Find a port on which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def upstream() -> Iterator[ThreadingHTTPServer]:
    """Serve the stand-in on loopback."""
    SEEN.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def caddy(upstream: ThreadingHTTPServer, tmp_path: Path) -> Iterator[tuple[httpx.Client, Path]]:
    """Run Caddy over plain http, at debug level, in front of the stand-in; give a client and the log."""
    binary = program("caddy")
    if binary is None:
        pytest.skip("Caddy is not on this machine; the tests above read its configuration")
    config = (DEPLOY / "Caddyfile").read_text()
    config = config.replace("receiver:8000", f"127.0.0.1:{upstream.server_address[1]}")
    config = config.replace("admin off", "admin off\n\tdebug")
    config = config.replace("lb_try_duration 10s", "lb_try_duration 1s")
    (tmp_path / "Caddyfile").write_text(config)
    url = f"http://127.0.0.1:{free_port()}"
    log = tmp_path / "log"
    environment = os.environ | {"RECEIVER_PUBLIC_URL": url, "HOME": str(tmp_path)}
    command = [binary, "run", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")]
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, env=environment, stderr=stderr) as process,
        httpx.Client(base_url=url, trust_env=False, timeout=5) as client,
    ):
        for _ in range(100):
            try:
                client.get("/")
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        yield client, log
        process.terminate()


def test_caddy_forwards_as_promised(caddy: tuple[httpx.Client, Path]) -> None:
    """A real Caddy passes on callbacks and webhooks unchanged, and nothing else, however it is spelled."""
    client, _ = caddy
    for path in (f"/callbacks/pulse/{TOKEN}", "/webhooks/pulse?a=b"):
        assert client.post(path, content=b"x").status_code == 200
    assert [f"/callbacks/pulse/{TOKEN}", "/webhooks/pulse?a=b"] == SEEN
    for path in ("/v1/jobs", "/metrics", "/livez", "/", "//v1/jobs", "/callbacks"):
        answer = client.post(path, content=b"x")
        assert (answer.status_code, answer.content) == (404, b"")
    client.post("/callbacks/%2e%2e/v1/jobs", content=b"x")
    assert all(path.startswith(("/callbacks/", "/webhooks/")) for path in SEEN)


def test_caddy_bounds_the_body(caddy: tuple[httpx.Client, Path]) -> None:
    """A real Caddy refuses a body over its limit."""
    client, _ = caddy
    assert client.post("/webhooks/pulse", content=b"x" * (17 << 20)).status_code == 413


def test_caddy_without_a_receiver(caddy: tuple[httpx.Client, Path], upstream: ThreadingHTTPServer) -> None:
    """A real Caddy whose receiver is away asks for a retry, and logs no secret even at debug level."""
    client, log = caddy
    upstream.shutdown()
    upstream.server_close()
    answer = client.post(f"/callbacks/pulse/{TOKEN}?q=1", content=b"x", headers={"X-Signature": "s3cr3t"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    written = log.read_text()
    assert "/callbacks/masked" in written
    assert TOKEN not in written
    assert "s3cr3t" not in written
