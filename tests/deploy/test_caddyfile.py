from __future__ import annotations

import os
import re
import subprocess
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.ports import free_port

from .artefacts import DEPLOY, compose, program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_"
#: The paths that stand-ins were asked for, the ports of those that took the requests, and of those not ready.
SEEN: list[str] = []
TOOK: list[int] = []
UNREADY: set[int] = set()


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


@pytest.mark.parametrize("name", ["compose.yaml", "compose.postgres.yaml"])
def test_it_knows_where_the_receivers_listen(text: str, name: str) -> None:
    """Caddy and the compose file agree on the names and the ports of the receivers; one receiver is the default."""
    services = compose(name)["services"]
    receivers = [
        f"{service}:{services[service]['environment']['RECEIVER_PORT']}"
        for service in services
        if service not in {"caddy", "postgres"}
    ]
    chosen = services["caddy"]["environment"].get("CADDY_UPSTREAMS", "receiver")
    assert "import {$CADDY_UPSTREAMS:receiver}\n" in text
    assert upstreams(text, chosen) == receivers


def test_it_asks_the_nodes_whether_they_are_ready(text: str) -> None:
    """A node that is not ready is left out, and asking it takes longer than the 2 seconds in which it finds out."""
    nodes = snippet(text, "nodes")
    assert "health_uri /readyz\n" in nodes
    patience = re.search(r"health_timeout (\d+)s", nodes)
    assert patience is not None
    assert int(patience[1]) > 2
    assert "health_uri" not in snippet(text, "receiver")


def snippet(text: str, name: str) -> str:
    """Give what stands in one of the Caddyfile's snippets."""
    found = re.search(rf"(?ms)^\({name}\) \{{\n(.*?)^\}}", text)
    assert found is not None
    return found[1]


def upstreams(text: str, name: str) -> list[str]:
    """Give the addresses that a snippet forwards to."""
    (line,) = re.findall(r"(?m)^\tto (.+)$", snippet(text, name))
    return str(line).split()


class Upstream(BaseHTTPRequestHandler):
    """Stand in for a receiver: note the path and answer 200, and say that it is ready unless told otherwise."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.connection.getsockname()[1])

    def do_GET(self) -> None:
        """Answer whether it is ready."""
        self.send_response(503 if self.port in UNREADY else 200)
        self.end_headers()

    def do_POST(self) -> None:
        """Answer."""
        SEEN.append(self.path)
        TOOK.append(self.port)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parameter's name is theirs
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[ThreadingHTTPServer]:
    """Serve a stand-in on loopback."""
    SEEN.clear()
    with serving() as server:
        yield server


@contextmanager
def serving() -> Iterator[ThreadingHTTPServer]:
    """Serve a stand-in on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            # Also where a test is skipped: a thread that listens at what is closed would never rest.
            server.shutdown()


@contextmanager
def running(
    tmp_path: Path, changes: dict[str, str], **environment: str
) -> Iterator[tuple[httpx.Client, Path]]:
    """Run Caddy over plain http, at debug level, its Caddyfile changed a little; give a client and the log."""
    binary = program("caddy")
    if binary is None:
        pytest.skip("Caddy is not on this machine; the tests above read its configuration")
    config = (DEPLOY / "Caddyfile").read_text()
    for old, new in {"admin off": "admin off\n\tdebug", **changes}.items():
        assert old in config
        config = config.replace(old, new)
    (tmp_path / "Caddyfile").write_text(config)
    url = f"http://127.0.0.1:{free_port()}"
    log = tmp_path / "log"
    environment = os.environ | {"RECEIVER_PUBLIC_URL": url, "HOME": str(tmp_path)} | environment
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


@pytest.fixture
def caddy(upstream: ThreadingHTTPServer, tmp_path: Path) -> Iterator[tuple[httpx.Client, Path]]:
    """Run Caddy in front of one stand-in; give a client and the log."""
    changes = {
        "receiver:8000": f"127.0.0.1:{upstream.server_address[1]}",
        "lb_try_duration 10s": "lb_try_duration 1s",
    }
    with running(tmp_path, changes) as (client, log):
        yield client, log


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


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[httpx.Client, list[ThreadingHTTPServer]]]:
    """Run Caddy in front of two stand-ins; give a client and them."""
    UNREADY.clear()
    TOOK.clear()
    with serving() as first, serving() as second:
        servers = [first, second]
        changes = {
            f"node-{number}:8000": f"127.0.0.1:{server.server_address[1]}"
            for number, server in enumerate(servers, 1)
        }
        with running(
            tmp_path, changes | {"health_interval 2s": "health_interval 100ms"}, CADDY_UPSTREAMS="nodes"
        ) as (client, _):
            yield client, servers


def takers(client: httpx.Client) -> set[int]:
    """Send twenty callbacks, all of which must be answered 200; give the ports of those that took them."""
    TOOK.clear()
    assert {client.post("/webhooks/pulse", content=b"x").status_code for _ in range(20)} == {200}
    return set(TOOK)


def test_caddy_balances_over_the_nodes_that_are_ready(
    nodes: tuple[httpx.Client, list[ThreadingHTTPServer]],
) -> None:
    """A real Caddy sends callbacks to both nodes, to one of them as long as the other is not ready, then to both."""
    client, servers = nodes
    first, second = (int(server.server_address[1]) for server in servers)
    assert takers(client) == {first, second}
    UNREADY.add(first)
    time.sleep(0.5)
    assert takers(client) == {second}
    UNREADY.clear()
    time.sleep(0.5)
    assert takers(client) == {first, second}


def test_caddy_bridges_the_loss_of_a_node(nodes: tuple[httpx.Client, list[ThreadingHTTPServer]]) -> None:
    """A real Caddy whose node is gone from one moment to the next has the other take every callback."""
    client, (first, second) = nodes
    first.shutdown()
    first.server_close()
    assert takers(client) == {second.server_address[1]}


def test_caddy_with_no_node_ready(nodes: tuple[httpx.Client, list[ThreadingHTTPServer]]) -> None:
    """A real Caddy with no node to send to asks for a retry, within 5 seconds."""
    client, servers = nodes
    UNREADY.update(int(server.server_address[1]) for server in servers)
    time.sleep(0.5)
    answer = client.post("/webhooks/pulse", content=b"x")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
