"""``receiver tail --forward-to``: completions reach a program on this machine, each once it takes them, none missed."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from standardwebhooks import Webhook

from receiver.simulator import PROVIDERS
from tests.ports import free_port

from .programs import SECRETS, Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHAT = '{"model": "sonar-deep-research", "messages": [{"role": "user", "content": "?"}]}'
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Hook:
    """A program on a laptop: what it got, and how it answers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []

    @property
    def jobs(self) -> list[str]:
        """The jobs that it heard of, in order."""
        return [headers["ce-subject"] for headers, _ in self.got]

    @contextmanager
    def open(self) -> Iterator[None]:
        """Have it run."""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                hook.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(hook.answers.pop(0) if hook.answers else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """A receiver that serves, and a simulator."""
    ports = free_port(), free_port()
    named = {
        f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL": f"http://127.0.0.1:{ports[1]}/{name}"
        for name in PROVIDERS
    }
    url = f"http://127.0.0.1:{ports[0]}"
    found = Program.at(tmp_path, RECEIVER_PUBLIC_URL=url, FORWARD_SECRET=SECRET, **named)
    with found.started("simulate", "--port", str(ports[1])) as simulator:
        simulator.wait_for("Simulating")
        with found.started("serve", "--port", str(ports[0])) as serving:
            serving.wait_for("receiver_listening")
            yield found


@pytest.mark.parametrize("way", ["database", "api"])
def test_a_laptop_misses_nothing_while_it_is_closed(way: str, program: Program) -> None:
    """From the database or by the API: signed events in order; what ended meanwhile comes when it is opened again."""
    hook = Hook(free_port())
    options = [
        "--forward-to",
        f"http://127.0.0.1:{hook.port}/hook",
        "--name",
        "laptop",
        "--secret-env",
        "FORWARD_SECRET",
    ]
    at = program
    if way == "api":
        options += ["--from", program.settings["RECEIVER_PUBLIC_URL"]]
        # Nothing of the server's but its address and token.
        at = program.but(RECEIVER_DATABASE_URL="sqlite:////nowhere/receiver.db", RECEIVER_SECRET_KEY="")
    before = program.json("submit", "perplexity-webhook", "-", "--wait", given=CHAT)["id"]
    with hook.open(), at.started("tail", *options) as tail:
        tail.wait_for("Forwarding to")
        first = program.json("submit", "perplexity-webhook", "-", "--wait", given=CHAT)["id"]
        tail.wait_for(first, where="out")
        assert tail.stop() == 0
    meanwhile = program.json("submit", "perplexity-webhook", "-", "--wait", given=CHAT)["id"]
    with at.started("tail", *options) as tail:
        tail.wait_for("It is waited for")
        hook.answers = [500, 200]
        with hook.open():
            tail.wait_for(meanwhile, where="out")
        assert tail.stop() == 0
    assert hook.jobs == [first, meanwhile, meanwhile]
    assert before not in hook.jobs
    for headers, body in hook.got:
        event = Webhook(SECRET).verify(body, headers)
        assert event["job"]["state"] == "succeeded"
        assert "choices" in event["result"]
        assert headers["ce-type"] == "receiver.job.succeeded.v1"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--forward-to", "localhost:3000"], 2, "no address of a program"),
        (["--forward-to", "http://localhost:3000", "--secret-env", "NOWHERE"], 2, "NOWHERE is not set"),
        (["--name", "laptop"], 2, "belong to --forward-to"),
        (["--forward-to", "http://localhost:1/", "--from", "ftp://x"], 2, "no address"),
    ],
)
def test_what_cannot_be_forwarded_is_refused(
    arguments: list[str], code: int, words: str, tmp_path: Path
) -> None:
    """A wrong address, a secret that is not there, a lone option: exit 2, and a sentence."""
    done = Program.at(tmp_path).run("tail", *arguments)
    assert done.code == code
    assert words in done.err
    assert SECRETS["RECEIVER_API_TOKEN"] not in done.err


def test_a_result_is_saved_where_it_was_asked_for(program: Program, tmp_path: Path) -> None:
    """Submit --wait --save writes the result's own bytes, under the job's name in a folder, and no partial file."""
    folder = tmp_path / "results"
    folder.mkdir()
    one = program.json("submit", "perplexity-webhook", "-", "--wait", "--save", str(folder), given=CHAT)["id"]
    two = program.json(
        "submit", "perplexity-webhook", "-", "--wait", "--save", str(folder / "b.json"), given=CHAT
    )["id"]
    assert sorted(file.name for file in folder.iterdir()) == ["b.json", f"{one}.json"]
    shown = program.run("jobs", "show", two, "--result").out
    assert (folder / "b.json").read_text(encoding="utf-8") == shown
    for arguments, words in (
        (["--save", "x"], "--save needs --wait"),
        (["--wait", "--save", "/nowhere/x"], "there is no folder /nowhere"),
    ):
        done = program.run("submit", "perplexity-webhook", "-", *arguments, given=CHAT)
        assert (done.code, words in done.err) == (2, True), done.err
    assert len(program.json("jobs", "list")["jobs"]) == 2
