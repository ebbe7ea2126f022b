from __future__ import annotations

import subprocess
import sys

import pytest

from .artefacts import DEPLOY, Service, compose

SERVICES = sorted(compose()["services"])


@pytest.fixture
def receiver() -> Service:
    """Give the receiver's service."""
    return compose()["services"]["receiver"]


def run(module: str, *arguments: str) -> tuple[int, str]:
    """Run a checker that is a Python module."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_it_is_a_compose_file() -> None:
    """compose.yaml fits the JSON schema of the Compose Specification (check-jsonschema carries it)."""
    status, output = run(
        "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")
    )
    assert status == 0, output


def test_yamllint_finds_nothing() -> None:
    """compose.yaml has no trap of YAML in it, such as a key twice or an unquoted yes."""
    rules = "{extends: default, rules: {line-length: {max: 140}, document-start: disable}}"
    assert run("yamllint", "--strict", "-d", rules, str(DEPLOY)) == (0, "")


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_can_do_little(service: str) -> None:
    """Each container has a read-only file system, few capabilities, and bounds."""
    it = compose()["services"][service]
    assert it["read_only"] is True
    assert it["cap_drop"] == ["ALL"]
    assert it.get("cap_add", []) == (["NET_BIND_SERVICE"] if service == "caddy" else [])
    assert "no-new-privileges:true" in it["security_opt"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & it.keys()
    assert {"mem_limit", "pids_limit"} <= it.keys()
    assert it["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("service", SERVICES)
def test_no_image_floats(service: str) -> None:
    """An image is named with a tag that is not `latest`."""
    tag = compose()["services"][service]["image"].partition(":")[2]
    assert tag not in {"", "latest"}


def test_only_the_proxy_is_public(receiver: Service) -> None:
    """The API, the console and the metrics are reachable from the host alone."""
    assert all(str(port).startswith("127.0.0.1:") for port in receiver["ports"])


def test_one_process_serves_the_file(receiver: Service) -> None:
    """SQLite has one serving process: nothing starts a second container."""
    assert not {"deploy", "scale"} & receiver.keys()
    assert list(compose()["services"]) == ["receiver", "caddy"]


def test_a_stop_leaves_time_to_drain(receiver: Service) -> None:
    """The engine waits longer than the 10 seconds in which the receiver ends by itself."""
    assert int(receiver["stop_grace_period"].removesuffix("s")) > 10


def test_secrets_are_files(receiver: Service) -> None:
    """The master key and the API token come as files, and git does not see where they lie."""
    named = {value for name, value in receiver["environment"].items() if name.endswith("_FILE")}
    assert named == {f"/run/secrets/{name}" for name in receiver["secrets"]}
    assert set(receiver["secrets"]) == compose()["secrets"].keys()
    assert not {"RECEIVER_SECRET_KEY", "RECEIVER_API_TOKEN"} & receiver["environment"].keys()
    assert {"secrets/", ".env"} <= set((DEPLOY / ".gitignore").read_text().splitlines())


def test_every_volume_is_named(receiver: Service) -> None:
    """The database lies in a named volume, which `down` leaves alone."""
    assert receiver["volumes"] == ["receiver_data:/var/lib/receiver"]
    assert "receiver_data" in compose()["volumes"]
