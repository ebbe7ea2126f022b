"""One simulator and one serving process for the whole folder; every test makes its own jobs there."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from receiver.simulator import PROVIDERS
from tests.ports import free_port

from .programs import DATABASE_PASSWORD, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHAT = json.dumps({"model": "sonar-deep-research", "messages": [{"role": "user", "content": "?"}]})


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program beside a process that serves, and a simulator behind both."""
    folder = tmp_path_factory.mktemp("cli")
    port = free_port()
    program = Program.at(folder, RECEIVER_PUBLIC_URL=f"http://127.0.0.1:{port}")
    with ExitStack() as stack:
        webhook = f"http://127.0.0.1:{port}/webhooks/pulse"
        simulator = stack.enter_context(
            program.started("simulate", "--port", "0", "--json", "--pulse-webhook", webhook)
        )
        simulator.wait_for("}", where="out")
        urls = json.loads("".join(simulator.out))["providers"]
        named = {f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL": urls[name] for name in PROVIDERS}
        program = program.but(**named)
        serving = stack.enter_context(program.started("serve", "--port", str(port)))
        serving.wait_for("receiver_listening")
        yield program
        assert serving.stop() == 0
        assert simulator.stop() == 0


@pytest.fixture
def alone(tmp_path: Path) -> Program:
    """The program on a database of its own, which nothing serves."""
    return Program.at(tmp_path)


@pytest.fixture
def on_postgres(alone: Program, postgres_url: str) -> Program:
    """The program on an empty PostgreSQL, with a password in the address that must not be seen anywhere."""
    parts = urlsplit(postgres_url)
    if parts.password is None:
        user, _, place = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{user or 'receiver'}:{DATABASE_PASSWORD}@{place}")
    return alone.but(RECEIVER_DATABASE_URL=parts.geturl())


@pytest.fixture
def submit(program: Program) -> Callable[..., str]:
    """Submit a job and return its id."""

    def submit(provider: str, *arguments: str, request: str = CHAT) -> str:
        done = program.run("submit", provider, "-", "--json", *arguments, given=request)
        job_id: str = done.json["id"]
        return job_id

    return submit


@pytest.fixture(scope="session")
def succeeded(program: Program) -> str:
    """The id of a job that a callback has settled; nothing changes it."""
    job = program.json(
        "submit", "perplexity-webhook", "-", "--wait", "--metadata", '{"topic": "tea"}', given=CHAT
    )
    assert (job["state"], job["settled_by"]) == ("succeeded", "callback")
    job_id: str = job["id"]
    return job_id


@pytest.fixture
def dead_letter(program: Program, submit: Callable[..., str]) -> str:
    """The id of a job whose handler has failed for good."""
    job_id = submit("netnut", request='{"engine": "google"}')
    program.wait_for_dead_letter(job_id)
    return job_id


@pytest.fixture(scope="session")
def forged(program: Program) -> None:
    """A callback in quarantine, among others."""
    answer = httpx.post(
        f"{program.settings['RECEIVER_PUBLIC_URL']}/webhooks/pulse",
        timeout=60,
        content=b'{"job_id": "forged"}',
        headers={"webhook-signature": "v1,bm8=", "webhook-id": "m", "webhook-timestamp": "1"},
    )
    assert answer.status_code == 401
