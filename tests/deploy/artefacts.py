"""Where the checked files are, and small readers for those formats that Python has none for."""

from __future__ import annotations

import os
import re
import shutil
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
    """Of a service in compose.yaml, what the tests look at."""

    image: str
    read_only: bool
    cap_drop: list[str]
    cap_add: NotRequired[list[str]]
    security_opt: list[str]
    logging: dict[str, dict[str, str]]
    environment: dict[str, str]
    ports: list[str]
    volumes: list[str]
    secrets: list[str]
    stop_grace_period: str
    healthcheck: dict[str, list[str]]


class Compose(TypedDict):
    """Of compose.yaml, what the tests look at."""

    services: dict[str, Service]
    secrets: dict[str, object]
    volumes: dict[str, object]


def compose() -> Compose:
    """Read compose.yaml."""
    return cast("Compose", yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


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


def program(name: str) -> str | None:
    """Find a program that pip installed beside this Python, else on the PATH."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    return shutil.which(name, path=os.pathsep.join(folders))
