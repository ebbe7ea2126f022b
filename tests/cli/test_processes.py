"""The processes that stay, and how they end."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from receiver.cli.serve import _listen

from .conftest import CHAT
from .programs import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program

BLOCKING = """
import asyncio, time
from receiver import Receiver

class Blocking(Receiver):
    async def start(self, **how):
        running = await super().start(**how)
        asyncio.get_running_loop().call_later(0.5, self.block)
        return running

    def block(self):
        print("blocked", flush=True)
        time.sleep(60)

receiver = Blocking()
"""


def test_a_second_serve_is_refused(program: Program) -> None:
    """SQLite has one serving process; the sentence names what takes several."""
    done = program.run("serve", "--port", "0")
    assert done.code == 2
    assert "PostgreSQL" in done.err.splitlines()[-1]
    done = program.run("worker", "--json")
    assert (done.code, done.problem["code"]) == (2, "already_served")


def test_serve_ends_on_sigterm(alone: Program) -> None:
    """It says where it listens, and exits 0."""
    with alone.started("serve", "--port", "0") as serving:
        said = json.loads(serving.wait_for("receiver_listening"))
        assert said["host"] == "127.0.0.1"
        assert said["port"] > 0
        assert serving.stop() == 0


def test_worker_ends_on_sigterm(alone: Program) -> None:
    """It serves the database without HTTP."""
    with alone.started("worker") as worker:
        worker.wait_for("worker_started")
        assert worker.stop() == 0


def test_a_worker_can_be_probed_and_scraped(alone: Program) -> None:
    """With a port it serves health and metrics, and of callbacks and the API nothing; it ends as ever."""
    with alone.started("worker", "--port", "0") as worker:
        worker.wait_for("worker_started")
        said = json.loads(worker.wait_for("receiver_listening"))
        assert (said["host"], "public_url" in said) == ("127.0.0.1", False)
        token = {"authorization": f"Bearer {alone.settings['RECEIVER_API_TOKEN']}"}
        base = f"http://127.0.0.1:{said['port']}"
        with httpx.Client(base_url=base, headers=token, trust_env=False, timeout=60) as client:
            assert {path: client.get(path).status_code for path in ("/livez", "/readyz", "/metrics")} == {
                "/livez": 200,
                "/readyz": 200,
                "/metrics": 200,
            }
            assert "receiver_dispatches_total" in client.get("/metrics").text
            for path in ("/v1/jobs", "/v1/openapi.json", "/callbacks/netnut/token", "/webhooks/pulse", "/"):
                for method in ("GET", "POST"):
                    answer = client.request(method, path, content=None if method == "GET" else b"{}")
                    assert (answer.status_code, answer.content) == (404, b""), (method, path)
        assert worker.stop() == 0


def test_a_handler_that_blocks_does_not_keep_the_process(alone: Program) -> None:
    """Even while nothing turns the event loop, each ends 10 seconds after SIGTERM, not when the handler does."""
    (alone.folder / "blocking.py").write_text(BLOCKING, encoding="utf-8")
    with contextlib.ExitStack() as stack:
        processes = []
        for number, command in enumerate((["serve", "--port", "0"], ["worker"], ["worker", "--port", "0"])):
            url = f"sqlite:///{alone.folder}/{number}.db"
            program = alone.but(RECEIVER_DATABASE_URL=url, RECEIVER_HANDLERS="blocking:receiver")
            processes.append(stack.enter_context(program.started(*command)))
        for one in processes:
            one.wait_for("blocked", where="out")
        for one in processes:
            one.process.send_signal(signal.SIGTERM)
        # With what a busy machine adds.
        assert [one.process.wait(PATIENCE) for one in processes] == [0, 0, 0]


def test_without_its_worker_sqlite_is_not_served(alone: Program) -> None:
    """Nobody else could do what is due; the sentence says what could."""
    done = alone.run("serve", "--port", "0", "--no-worker", "--json")
    assert (done.code, done.problem["code"]) == (2, "worker_needed")
    assert "PostgreSQL" in done.problem["detail"]


def test_several_processes_share_postgresql(on_postgres: Program) -> None:
    """One takes callbacks, another does what is due; the doctor names both, and says when one of them is missing."""

    def serving() -> tuple[str, str]:
        checks = {one["name"]: one for one in on_postgres.json("doctor")["checks"]}
        return checks["serving"]["status"], checks["serving"]["text"]

    with on_postgres.started("serve", "--port", "0", "--no-worker") as taking:
        taking.wait_for("receiver_listening")
        assert serving()[0] == "warn"
        assert "nobody does what is due" in serving()[1]
        with on_postgres.started("worker") as working:
            working.wait_for("worker_started")
            status, text = serving()
            assert status == "ok"
            assert "(ingest, seen " in text
            assert "(worker, seen " in text
            assert taking.stop() == 0
            assert "nobody takes callbacks" in serving()[1]
            assert working.stop() == 0
    assert serving() == ("warn", "no process serves this database")


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"RECEIVER_SECRET_KEY": ""}, "secret_key_missing"),
        ({"RECEIVER_SECRET_KEY": "short"}, "secret_key_too_short"),
        ({"RECEIVER_PUBLIC_URL": "http://example.com"}, "public_url_invalid"),
        ({"RECEIVER_HANDLERS": "nowhere:receiver"}, "handlers_invalid"),
        ({"RECEIVER_HANDLERS": "json:dumps"}, "handlers_invalid"),
        ({"RECEIVER_PROVIDERS_DIR": "/nonexistent"}, "description_invalid"),
        ({"GITHUB_WEBHOOK_SECRET": "short"}, "key_too_short"),
        ({"STANDARD_WEBHOOKS_SECRET": "whsec_not base64!"}, "key_malformed"),
    ],
)
def test_serve_refuses_a_wrong_configuration(alone: Program, settings: dict[str, str], code: str) -> None:
    """One sentence on standard error, and exit code 2."""
    done = alone.but(**settings).run("serve", "--port", "0", "--json")
    assert (done.code, done.out, done.problem["code"]) == (2, "", code)


def test_a_port_that_there_is_not_is_refused_in_a_sentence(alone: Program) -> None:
    """The setting is read where the option is left out."""
    done = alone.but(RECEIVER_PORT="70000").run("serve", "--json")
    assert (done.code, done.problem["code"]) == (2, "address_unusable")


def test_serve_warns_of_a_key_that_cannot_be_used_beside_others(alone: Program, tmp_path: Path) -> None:
    """On standard error, in /readyz?verbose, and by the doctor; what a file holds is warned of and never refused."""
    file = tmp_path / "secret"
    file.write_text("tiny\n")
    several = "a secret of sixteen bytes,tiny"
    settings = {"SLACK_SIGNING_SECRET_FILE": str(file), "STANDARD_WEBHOOKS_SECRET": f"whsec_{'A' * 32},tiny"}
    program = alone.but(**settings, GITHUB_WEBHOOK_SECRET=several)
    with program.started("serve", "--port", "0") as serving:
        warned = serving.wait_for("key_unusable")
        port = json.loads(serving.wait_for("receiver_listening"))["port"]
        found = httpx.get(f"http://127.0.0.1:{port}/readyz?verbose", trust_env=False, timeout=60).json()
        assert found["ready"]
        assert len(found["warnings"]) == 2
        told = " ".join(found["warnings"])
        assert "STANDARD_WEBHOOKS_SECRET#2" in told
        assert "SLACK_SIGNING_SECRET#1" in told
        assert "tiny" not in told
        assert (
            "warnings" not in httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=60).json()
        )
        file.write_text("a secret that is long enough\n")
        found = httpx.get(f"http://127.0.0.1:{port}/readyz?verbose", trust_env=False, timeout=60).json()
        assert len(found["warnings"]) == 1
        assert "tiny" not in warned
        assert serving.stop() == 0
    checks = {one["name"]: one for one in program.json("doctor")["checks"]}
    assert checks["provider standard-webhooks"]["status"] == "warn"
    assert "comma" in checks["provider github"]["text"]


def test_a_taken_port_is_named(alone: Program, program: Program) -> None:
    """Whatever listens says which address is taken."""
    port = program.settings["RECEIVER_PUBLIC_URL"].rpartition(":")[2]
    for command in ("serve", "worker", "simulate"):
        done = alone.run(command, "--port", port)
        assert done.code == 2
        assert f"127.0.0.1 port {port}" in done.err


def test_simulate_needs_the_secret_it_signs_with(alone: Program) -> None:
    """A webhook that nobody could verify is not sent."""
    done = alone.but(PULSE_WEBHOOK_SECRET="").run(
        "simulate", "--port", "0", "--pulse-webhook", "http://127.0.0.1:1/"
    )
    assert done.code == 2
    assert "PULSE_WEBHOOK_SECRET" in done.err


def test_tail_follows(program: Program) -> None:
    """A job passes by: out to the provider, in again, to the handler; and Ctrl-C ends it with 0."""
    with (
        program.started("tail", "--provider", "perplexity-webhook") as lines,
        program.started("tail", "--json") as documents,
    ):
        lines.wait_for("Following")
        documents.wait_for("Following")
        job_id = program.json("submit", "perplexity-webhook", "-", "--wait", given=CHAT)["id"]
        for arrow in (
            "→ perplexity-webhook submit accepted",
            "← perplexity-webhook callback accepted",
            "⇒ perplexity-webhook save succeeded",
        ):
            lines.wait_for(arrow, where="out")
        found = json.loads(documents.wait_for('"dispatch"', where="out"))
        assert found["provider"] == "perplexity-webhook"
        assert (found["kind"], found["handler"]) == ("attempt", "save")
        assert lines.stop(signal.SIGINT) == 0
        assert documents.stop(signal.SIGINT) == 0
    about = [line for line in lines.out if job_id in line]
    assert len(about) == len(set(about)) == 3


@pytest.mark.usefixtures("succeeded")
def test_a_closed_pipe_is_quiet(program: Program) -> None:
    """``receiver jobs list | head`` leaves no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "receiver", "jobs", "list"],
        cwd=program.folder,
        env=program.environ,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
        check=False,
    )
    os.close(writing)
    assert done.stderr == b""


@pytest.mark.usefixtures("succeeded")
@pytest.mark.parametrize("colours", [True, False])
def test_colours_are_for_terminals_that_want_them(program: Program, *, colours: bool) -> None:
    """On a terminal states are coloured, unless NO_COLOR is set."""
    master, terminal = pty.openpty()
    wish = {} if colours else {"NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "receiver", "jobs", "list", "--state", "succeeded"],
        cwd=program.folder,
        env=program.environ | wish | {"TERM": "xterm-256color", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(master, 65536):
                shown += piece
        except OSError as error:
            assert error.errno == errno.EIO  # noqa: PT017  (how a terminal says that nobody writes any more)
        os.close(master)
        assert process.wait(PATIENCE) == 0
    assert b"succeeded" in shown
    assert (b"\x1b[32m" in shown) is colours


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    """What is sent to a sender that never reads is waited for a minute; without that it is waited for for ever."""
    with _listen("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            listener.setblocking(True)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
