from __future__ import annotations

import pytest

from .artefacts import DEPLOY, Service, compose, run

FILES = ["compose.postgres.yaml", "compose.yaml"]
EVERY = [(name, service) for name in FILES for service in sorted(compose(name)["services"])]
#: The receivers of both files.
RECEIVERS = [(name, service) for name, service in EVERY if service not in {"caddy", "postgres"}]


def names_of(pairs: list[tuple[str, str]]) -> list[str]:
    """Name the services by their file."""
    return [f"{service} of {name}" for name, service in pairs]


@pytest.fixture(params=RECEIVERS, ids=names_of(RECEIVERS))
def receiver(request: pytest.FixtureRequest) -> Service:
    """Give a service that is a receiver."""
    name, service = request.param
    return compose(name)["services"][service]


@pytest.mark.parametrize("name", FILES)
def test_it_is_a_compose_file(name: str) -> None:
    """The file fits the JSON schema of the Compose Specification (check-jsonschema carries it)."""
    status, output = run("check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / name))
    assert status == 0, output


def test_yamllint_finds_nothing() -> None:
    """No YAML in deploy/ has a trap in it, such as a key twice or an unquoted yes."""
    rules = "{extends: default, rules: {line-length: {max: 140}, document-start: disable}}"
    assert run("yamllint", "--strict", "-d", rules, str(DEPLOY)) == (0, "")


@pytest.mark.parametrize(("name", "service"), EVERY, ids=names_of(EVERY))
def test_a_container_can_do_little(name: str, service: str) -> None:
    """Each container has a read-only file system, few capabilities, and bounds."""
    it = compose(name)["services"][service]
    assert it["read_only"] is True
    assert it["cap_drop"] == ["ALL"]
    assert it.get("cap_add", []) == (["NET_BIND_SERVICE"] if service == "caddy" else [])
    assert "no-new-privileges:true" in it["security_opt"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & it.keys()
    assert {"mem_limit", "pids_limit"} <= it.keys()
    assert it["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize(("name", "service"), EVERY, ids=names_of(EVERY))
def test_no_image_floats(name: str, service: str) -> None:
    """An image is named with a tag that is not `latest`."""
    tag = compose(name)["services"][service]["image"].partition(":")[2]
    assert tag not in {"", "latest"}


def test_only_the_proxy_is_public(receiver: Service) -> None:
    """The API and the metrics are reachable from the host alone."""
    assert all(str(port).startswith("127.0.0.1:") for port in receiver["ports"])


def test_one_process_serves_the_file() -> None:
    """SQLite has one serving process: nothing starts a second container."""
    services = compose()["services"]
    assert not {"deploy", "scale"} & services["receiver"].keys()
    assert list(services) == ["receiver", "caddy"]


def test_a_stop_leaves_time_to_drain(receiver: Service) -> None:
    """The engine waits longer than the 10 seconds in which the receiver ends by itself."""
    assert int(receiver["stop_grace_period"].removesuffix("s")) > 10


def test_secrets_are_files(receiver: Service) -> None:
    """What is secret comes as files, never as a variable, and git does not see where they lie."""
    named = {value for name, value in receiver["environment"].items() if name.endswith("_FILE")}
    assert named == {f"/run/secrets/{name}" for name in receiver["secrets"]}
    assert {"receiver_secret_key", "receiver_api_token"} <= set(receiver["secrets"])
    assert not {"RECEIVER_SECRET_KEY", "RECEIVER_API_TOKEN"} & receiver["environment"].keys()
    assert {"secrets/", ".env"} <= set((DEPLOY / ".gitignore").read_text().splitlines())


@pytest.mark.parametrize("name", FILES)
def test_every_secret_and_volume_is_declared(name: str) -> None:
    """What services name is at the end of the file, what is there is named, and secrets lie in secrets/."""
    it = compose(name)
    secrets = {one for service in it["services"].values() for one in service.get("secrets", [])}
    volumes = {one.split(":")[0] for service in it["services"].values() for one in service.get("volumes", [])}
    assert it["secrets"] == {one: {"file": f"./secrets/{one}"} for one in secrets}
    assert set(it["volumes"]) == {one for one in volumes if not one.startswith(".")}


def test_the_database_lies_in_a_named_volume() -> None:
    """`down` leaves the databases alone."""
    assert compose()["services"]["receiver"]["volumes"] == ["receiver_data:/var/lib/receiver"]
    postgres = compose("compose.postgres.yaml")["services"]["postgres"]
    assert postgres["volumes"] == ["postgres_data:/var/lib/postgresql"]
