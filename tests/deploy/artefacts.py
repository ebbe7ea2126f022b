"""Where the checked files are, and small readers for those formats that Python has none for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict, cast

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


class Instruction(NamedTuple):
    """One instruction of a Dockerfile: `COPY` and what follows it."""

    word: str
    rest: str


def dockerfile_stages() -> list[list[Instruction]]:
    """Read the Dockerfile's stages, each beginning with its FROM."""
    lines = [
        line
        for line in (DEPLOY / "Dockerfile").read_text().splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[list[Instruction]] = []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        if stages:
            stages[-1].append(Instruction(word, rest))
    return stages


class Service(TypedDict):
    """Of a service in a compose file, what the tests look at."""

    image: str
    read_only: bool
    cap_drop: list[str]
    cap_add: NotRequired[list[str]]
    security_opt: list[str]
    logging: dict[str, dict[str, str]]
    environment: dict[str, str]
    ports: NotRequired[list[str]]
    volumes: NotRequired[list[str]]
    secrets: list[str]
    networks: NotRequired[list[str]]
    tmpfs: list[str]
    command: NotRequired[list[str]]
    depends_on: NotRequired[dict[str, dict[str, str]]]
    stop_grace_period: str
    healthcheck: dict[str, list[str]]


class Compose(TypedDict):
    """Of a compose file, what the tests look at."""

    name: str
    services: dict[str, Service]
    networks: NotRequired[dict[str, dict[str, bool] | None]]
    secrets: dict[str, dict[str, str]]
    volumes: dict[str, object]


def compose(name: str = "compose.yaml") -> Compose:
    """Read a compose file."""
    return cast("Compose", yaml.safe_load((DEPLOY / name).read_text()))


def unit_section(name: str) -> dict[str, list[str]]:
    """Read one section of receiver.service; a key may come several times, which configparser refuses."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in (DEPLOY / "receiver.service").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section == name and line and not line.startswith("#"):
            key, separator, value = line.partition("=")
            assert separator, line
            found.setdefault(key, []).append(value)
    return found


def run(module: str, *arguments: str) -> tuple[int, str]:
    """Run a checker that is a Python module; return its status and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def program(name: str) -> str | None:
    """Find a program that pip installed beside this Python, else on the PATH."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    return shutil.which(name, path=os.pathsep.join(folders))
