"""What deploy/examples says to Compose, checked without Docker: schema, bounds, mounted files, sinks that load."""

from __future__ import annotations

import re
import shutil
import tomllib
from typing import TYPE_CHECKING

import pytest
import yaml

from receiver import Settings
from receiver.sinks.configuration import load

from .artefacts import DEPLOY, run

if TYPE_CHECKING:
    from pathlib import Path

FILE = DEPLOY / "examples" / "compose.brokers.yaml"
SERVICES = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
PROFILES = ["nats", "rabbitmq"]


def test_it_is_a_compose_file() -> None:
    """The file fits the JSON schema of the Compose Specification."""
    status, output = run("check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE))
    assert status == 0, output


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_has_a_broker_and_its_consumer(profile: str) -> None:
    """Nothing of the other broker is started with it, and without a profile neither is."""
    assert {name for name, one in SERVICES.items() if profile in one.get("profiles", [])} == {
        profile,
        f"{profile}-consumer",
    }
    assert {name for name, one in SERVICES.items() if not one.get("profiles")} == {"receiver"}


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"receiver"}))
def test_a_container_can_do_little(name: str) -> None:
    """Each has a read-only file system, no capabilities, bounds, an image with a tag, and no port on the host."""
    it = SERVICES[name]
    assert it["read_only"] is True
    assert it["cap_drop"] == ["ALL"]
    assert it["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit", "logging"} <= it.keys()
    assert it["image"].partition(":")[2] not in {"", "latest"}
    assert "ports" not in it


def test_what_is_mounted_and_started_is_there() -> None:
    """Programs and sinks lie where their containers look for them; paths are those of the first file's folder."""
    for name, it in SERVICES.items():
        mounted = [one.split(":")[:2] for one in it.get("volumes", []) if one.startswith(".")]
        for ours, _ in mounted:
            assert (DEPLOY / ours).is_dir(), name
        for path in it.get("entrypoint", [])[1:]:
            assert (DEPLOY / "examples" / path.removeprefix("/srv/examples/")).is_file(), name
    place = SERVICES["receiver"]["environment"]["RECEIVER_SINKS"]
    for profile in PROFILES:
        path = re.sub(r"\$\{COMPOSE_PROFILES[^}]*\}", profile, place).removeprefix("/srv/examples/")
        assert (DEPLOY / "examples" / path).is_file()


@pytest.mark.parametrize("folder", [*PROFILES, "django_celery"])
def test_the_sinks_can_be_configured(folder: str, tmp_path: Path) -> None:
    """Each file of sinks is one that the receiver takes at its start."""
    shutil.copy(DEPLOY / "examples" / folder / "sinks.toml", tmp_path)
    settings = Settings.load({"RECEIVER_SINKS": str(tmp_path / "sinks.toml")})
    assert len(load(settings)) == 1


def test_the_image_brings_what_the_examples_need() -> None:
    """The extras that the receiver is built with are those of the package, with both brokers' clients."""
    extras = SERVICES["receiver"]["build"]["args"]["EXTRAS"].split(",")
    assert {"nats", "rabbitmq"} <= set(extras)
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras) <= project["optional-dependencies"].keys()
