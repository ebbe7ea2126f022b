"""The doctor asks: itself through the public URL, and the process that serves what senders nearly hit."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .programs import Program


def checks(program: Program, **settings: str) -> dict[str, dict[str, str]]:
    """What the doctor finds, by name."""
    report = program.but(**settings).run("doctor", "--json").json
    return {one["name"]: one for one in report["checks"]}


@contextmanager
def answering(status: int, body: bytes = b"", *, upstream: str = "", largest: int = 1 << 30) -> Iterator[str]:
    """Something that stands at the public URL: it answers *status*, or hands bodies up to *largest* on."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer, or pass on."""
            received = self.rfile.read(int(self.headers["content-length"]))
            code, content = status, body
            if len(received) > largest:
                code, content = 413, b""
            elif upstream:
                answer = httpx.post(upstream + self.path, content=received, trust_env=False, timeout=60)
                code, content = answer.status_code, answer.content
            self.send_response(code)
            self.send_header("content-length", str(len(content)))
            self.send_header("location", "https://elsewhere.example/")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_it_asks_itself_through_the_public_url(program: Program) -> None:
    """A small body and a large one arrive, and the answer is our own."""
    found = checks(program)
    assert found["public address"]["status"] == "ok"
    assert found["large callbacks"]["status"] == "ok"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (200, "something else answers 200"),
        (301, "a redirect"),
        (308, "a redirect"),
        (401, "turns senders away"),
        (403, "turns senders away"),
        (404, "it answers 404"),
        (405, "it answers 405"),
        (502, "does not reach the receiver"),
        (418, "it answers 418"),
    ],
)
def test_what_comes_back_is_said(alone: Program, status: int, words: str) -> None:
    """And what to do about it; the address with its token is not shown."""
    with answering(status, b"fine") as url:
        found = checks(alone, RECEIVER_PUBLIC_URL=url)["public address"]
    assert (found["status"], words in found["text"]) == ("fail", True)
    assert found["next"]
    assert "/callbacks/-/" not in found["text"] + found["next"]


def test_a_proxy_that_refuses_large_bodies_is_named(program: Program) -> None:
    """As nginx does from a megabyte on."""
    with answering(0, upstream=program.environ["RECEIVER_PUBLIC_URL"], largest=1 << 20) as url:
        found = checks(program, RECEIVER_PUBLIC_URL=url)
    assert found["public address"]["status"] == "ok"
    assert (found["large callbacks"]["status"], "413" in found["large callbacks"]["text"]) == ("warn", True)


def test_nobody_there_is_a_warning(alone: Program) -> None:
    """The doctor may be asked before anything runs."""
    found = checks(alone, RECEIVER_PUBLIC_URL=f"http://127.0.0.1:{free_port()}")
    assert (found["public address"]["status"], "nobody answers" in found["public address"]["text"]) == (
        "warn",
        True,
    )


def test_another_key_is_another_receiver(program: Program) -> None:
    """A probe that is not of the key in force is answered like any unknown address."""
    found = checks(program, RECEIVER_SECRET_KEY="another key that is long enough")["public address"]
    assert (found["status"], "404" in found["text"]) == ("fail", True)


def test_near_misses_are_named(program: Program) -> None:
    """By provider and kind, with what to do."""
    url = program.environ["RECEIVER_PUBLIC_URL"]
    for path in ("/webhooks/pulse/", "/webhooks/pulse/", "//webhooks/pulse", "/webhooks/netnut"):
        assert httpx.post(url + path, trust_env=False, timeout=60).status_code == 404
    port = str(urlsplit(url).port)
    report = program.but(RECEIVER_PORT=port).run("doctor", "--json").json["checks"]
    texts = [one["text"] for one in report if one["name"] in {"addresses pulse", "addresses netnut"}]
    for kind in ("trailing_slash", "slash_doubled", "no_shared_address"):
        assert any(f"({kind})" in text for text in texts), texts


def test_the_ways_out_are_said(alone: Program) -> None:
    """Which proxy, whether it is there, and who may be in a private network; never what opens the proxy."""
    port = free_port()
    settings = {
        "RECEIVER_EGRESS_PROXY": f"http://user:opensesame@127.0.0.1:{port}",
        "RECEIVER_NETNUT_ALLOW_PRIVATE": "10.0.0.0/8",
    }
    found = checks(alone, **settings)
    assert found[f"egress 127.0.0.1:{port}"]["status"] == "warn"
    assert "10.0.0.0/8" in found["provider netnut private"]["text"]
    assert not [name for name in found if name == "setting unknown"]
    with answering(200) as url:
        there = f"http://user:opensesame@{url.removeprefix('http://')}"
        found = checks(alone, **settings | {"RECEIVER_EGRESS_PROXY": there})
        assert found[f"egress {url.removeprefix('http://')}"]["status"] == "ok"
    for command in (["doctor"], ["config", "show"]):
        assert "opensesame" not in alone.but(**settings).run(*command).out
    wrong = checks(alone, RECEIVER_NETNUT_ALLOW_PRIVATE="everywhere")
    assert any(one["status"] == "fail" and "ALLOW_PRIVATE" in one["text"] for one in wrong.values())
