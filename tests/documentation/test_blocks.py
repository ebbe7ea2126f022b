"""Every code block of every document does what it says: run where this machine can, read where it cannot."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import threading
import tomllib
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest
import yaml

from receiver import Receiver
from receiver.client import Client
from receiver.simulator import PROVIDERS
from tests.cli.programs import Program
from tests.ports import free_port

from .blocks import DOCUMENTS, ELSEWHERE, Block, blocks
from .desk import Desk
from .test_codes import parses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: These begin with nothing; the others are read beside a receiver that serves and has a history.
ALONE = {"README.md", "receiver/docs/configuration.md", "receiver/docs/handlers.md"}
#: Their programs are files of projects, which run as that: tests/testing/test_example.py, tests/recipes.
PROJECTS = {"receiver/docs/testing.md", "receiver/docs/frameworks.md"}
#: What is done at an installation, inside of other commands.
OF_INSTALLATIONS = {
    "doctor",
    "db",
    "keygen",
    "serve",
    "worker",
    "jobs",
    "dead",
    "callbacks",
    "handlers",
    "replay",
}
CHAT = '{"model": "sonar-deep-research", "messages": [{"role": "user", "content": "?"}]}'
ALL = [(name, list(blocks(name))) for name in DOCUMENTS]
SHELL = [
    (name, [one for one in found if one.language == "sh" and one.elsewhere is None]) for name, found in ALL
]
OTHERS = [one for _, found in ALL for one in found if one.language != "sh" or one.elsewhere is not None]


class _Hook(BaseHTTPRequestHandler):
    """Answers 200 to whatever is posted."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def hook() -> Iterator[str]:
    """An address that takes whatever is posted to it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def placed(folder: Path, program: Program, ports: tuple[int, int], hook: str, **ids: str) -> Desk:
    """A desk with the files that a reader has."""
    (folder / "providers").mkdir(exist_ok=True)
    acme = next(one for one in blocks("receiver/providers/README.md") if 'name = "acme"' in one.text)
    (folder / "providers" / "acme.toml").write_text(acme.text, encoding="utf-8")
    here = {
        "127.0.0.1:8000": f"127.0.0.1:{ports[0]}",
        "127.0.0.1:8400": f"127.0.0.1:{ports[1]}",
        "127.0.0.1:9000/": hook,
        # There is no broker here; a sink is a sink.
        "nats://localhost:4222/jobs.{provider}.{state}": f"file://{folder}/orders.jsonl",
    }
    own = {"RECEIVER_PORT": str(ports[0]), "SIMULATOR_PORT": str(ports[1])}
    return Desk.at(folder, program.environ | own | ids, here)


def write_module(folder: Path) -> None:
    """Write the program of handlers.md, which its reader has as yourmodule.py."""
    program = next(blocks("receiver/docs/handlers.md"))
    (folder / "yourmodule.py").write_text(program.text, encoding="utf-8")


@pytest.fixture
def alone(tmp_path: Path, hook: str) -> Desk:
    """A desk with nothing but the program."""
    program = Program(folder=tmp_path)
    write_module(tmp_path)
    ids = {"JOB_ID": "job_", "ACCEPTED_ID": "cb_", "REJECTED_ID": "cb_"}
    return placed(tmp_path, program, (free_port(), free_port()), hook, **ids)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, hook: str) -> Iterator[Desk]:
    """A desk beside a receiver that has had a job, a dead letter and a rejected callback."""
    folder = tmp_path_factory.mktemp("desk")
    ports = free_port(), free_port()
    url = f"http://127.0.0.1:{ports[0]}"
    named = {
        f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL": f"http://127.0.0.1:{ports[1]}/{name}"
        for name in PROVIDERS
    }
    program = Program.at(folder, RECEIVER_PUBLIC_URL=url, RECEIVER_HANDLERS="yourmodule:receiver", **named)
    write_module(folder)
    with ExitStack() as stack:
        stack.enter_context(program.started("simulate", "--port", str(ports[1]))).wait_for("Simulating")
        stack.enter_context(program.started("serve", "--port", str(ports[0]))).wait_for("receiver_listening")
        job = program.json("submit", "perplexity-webhook", "-", "--wait", given=CHAT)["id"]
        headers = {"webhook-signature": "v1,bm8=", "webhook-id": "m", "webhook-timestamp": "1"}
        assert httpx.post(f"{url}/webhooks/pulse", content=b"{}", headers=headers).status_code == 401
        found = program.json("callbacks", "list")["callbacks"]
        ids = {one["verdict"]: one["id"] for one in found}
        yield placed(
            folder, program, ports, hook, JOB_ID=job, ACCEPTED_ID=ids["accepted"], REJECTED_ID=ids["rejected"]
        )


@pytest.mark.parametrize("document", [name for name, found in SHELL if found and name not in ALONE])
def test_a_terminal_understands_the_document(document: str, served: Desk) -> None:
    """Whoever types what the document shows, beside a receiver that serves, meets no error."""
    served.read(dict(SHELL)[document])


@pytest.mark.parametrize("document", sorted(ALONE))
def test_a_newcomer_can_type_the_document(document: str, alone: Desk) -> None:
    """What the document shows works in an empty folder, with nothing but the program installed."""
    alone.read(dict(SHELL)[document])


@pytest.mark.parametrize("block", OTHERS, ids=str)
def test_a_block_is_what_its_language_says(
    block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Programs run, data parses; what needs Docker, systemd or a cluster is read, with the reason in ELSEWHERE."""
    monkeypatch.chdir(tmp_path)
    match block.language:
        case "python" if block.document in PROJECTS:
            compile(block.text, str(block), "exec")
        case "python":
            loaded: dict[str, object] = {}
            exec(compile(block.text, str(block), "exec"), loaded)  # noqa: S102  (our own document)
            if "Receiver" in block.text or "Client" in block.text:
                assert isinstance(loaded["receiver"], Receiver | Client)
        case "sh":
            assert block.elsewhere in {*ELSEWHERE.values(), "needs an installation"}
            read_by_bash(block.text)
        case "toml":
            assert tomllib.loads(block.text)
        case "yaml":
            assert yaml.safe_load(block.text)
        case "ini":
            configparser.ConfigParser(strict=False).read_string(block.text)
        case "nginx":
            assert block.text.count("{") == block.text.count("}") > 0
        case language:
            assert language == "text", f"{block}: say what it is: sh, python, toml, yaml, ini, nginx or text"


def read_by_bash(text: str) -> None:
    """Assert that bash can read *text*, and our command line the commands of ours in it."""
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line in text.replace("\\\n", " ").splitlines():
        for found in re.finditer(r"(?:^|[\s/(])receiver ((?:[a-z]+\b)[^|&;)>#]*)", line):
            words = found[1].split()
            if words[0] in OF_INSTALLATIONS:
                assert parses(shlex.split(found[1])), line
