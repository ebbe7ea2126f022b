from __future__ import annotations

import re

import pytest

from receiver.settings import Settings

from .artefacts import DEPLOY, Compose, Service, compose

NAME = "compose.postgres.yaml"
NODES = ["node-1", "node-2"]


@pytest.fixture
def file() -> Compose:
    """Give the whole file."""
    return compose(NAME)


@pytest.fixture
def postgres(file: Compose) -> Service:
    """Give PostgreSQL's service."""
    return file["services"]["postgres"]


def test_there_are_two_nodes_a_database_and_a_proxy(file: Compose) -> None:
    """Nothing else runs, and it does not take the volumes of compose.yaml, whose project has another name."""
    assert sorted(file["services"]) == ["caddy", *NODES, "postgres"]
    assert file["name"] != compose()["name"]


def test_the_nodes_are_alike(file: Compose) -> None:
    """Nodes differ in their name and in the port on the host, and in nothing else."""
    first, second = (dict(file["services"][node]) for node in NODES)
    assert first.keys() == second.keys()
    assert {key for key in first if first[key] != second[key]} == {"hostname", "ports"}
    assert [file["services"][node]["ports"] for node in NODES] == [
        ["127.0.0.1:8000:8000"],
        ["127.0.0.1:8001:8000"],
    ]


@pytest.mark.parametrize("node", NODES)
def test_a_node_is_as_the_single_receiver(file: Compose, node: str) -> None:
    """A node differs from the receiver of compose.yaml in where its database is, and in what its volume is for."""
    single, own = dict(compose()["services"]["receiver"]), dict(file["services"][node])
    apart = {key for key in single.keys() | own.keys() if single.get(key) != own.get(key)}
    placed = {"depends_on", "environment", "hostname", "networks", "secrets", "volumes"}
    assert apart - {"ports"} == placed
    settings = dict(compose()["services"]["receiver"]["environment"])
    assert settings.pop("RECEIVER_DATABASE_URL").startswith("sqlite:")
    settings["RECEIVER_DATABASE_URL_FILE"] = "/run/secrets/receiver_database_url"
    assert file["services"][node]["environment"] == settings


def test_what_postgres_cannot_take_yet_outlives_a_node(file: Compose) -> None:
    """The nodes share a volume, where the image works and so has its spool: whichever serves next empties that."""
    spool = Settings(database_url="postgresql://postgres/receiver").spool_folder
    assert not spool.is_absolute()
    assert "\nWORKDIR /var/lib/receiver\n" in (DEPLOY / "Dockerfile").read_text()
    for node in NODES:
        assert file["services"][node]["volumes"] == ["receiver_spool:/var/lib/receiver"]


def test_the_database_is_reached_by_the_nodes_alone(file: Compose, postgres: Service) -> None:
    """PostgreSQL has no port on the host, and no network that leads anywhere else or that the proxy is in."""
    assert "ports" not in postgres
    assert postgres["networks"] == ["back"]
    assert file["networks"] == {"front": None, "back": {"internal": True}}
    assert file["services"]["caddy"]["networks"] == ["front"]
    assert all(file["services"][node]["networks"] == ["front", "back"] for node in NODES)


def test_the_password_is_a_file(postgres: Service) -> None:
    """PostgreSQL reads its password from a file; whoever connects over the network must prove it."""
    settings = postgres["environment"]
    assert settings["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres_password"
    assert postgres["secrets"] == ["postgres_password"]
    assert not {"POSTGRES_PASSWORD", "POSTGRES_HOST_AUTH_METHOD"} & settings.keys()
    assert "--auth-host=scram-sha-256" in settings["POSTGRES_INITDB_ARGS"]


def test_the_readme_makes_the_url_of_this_database(postgres: Service) -> None:
    """The URL in README.md names the user, the service and the database of the file, and their one encoding."""
    settings = postgres["environment"]
    url = f"postgresql://{settings['POSTGRES_USER']}:%s@postgres:5432/{settings['POSTGRES_DB']}"
    assert url in (DEPLOY / "README.md").read_text()
    assert "--encoding=UTF8" in settings["POSTGRES_INITDB_ARGS"]


@pytest.mark.parametrize("secret", sorted(compose(NAME)["secrets"]))
def test_the_readme_makes_every_secret(secret: str) -> None:
    """README.md says how each file in secrets/ is made."""
    assert f"> secrets/{secret}\n" in (DEPLOY / "README.md").read_text()


def test_nodes_wait_for_a_database_that_can_be_reached(file: Compose, postgres: Service) -> None:
    """PostgreSQL is healthy once it answers over TCP, which it does not yet while it sets itself up."""
    for node in NODES:
        assert file["services"][node]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "--host=127.0.0.1" in postgres["healthcheck"]["test"]


def test_one_node_is_enough_for_the_proxy(file: Compose) -> None:
    """Caddy starts whether or not a node is ready, and asks them itself."""
    started = {"condition": "service_started"}
    assert file["services"]["caddy"]["depends_on"] == dict.fromkeys(NODES, started)
    assert file["services"]["caddy"]["environment"]["CADDY_UPSTREAMS"] == "nodes"


def test_there_are_connections_enough(postgres: Service) -> None:
    """Both nodes, their replacements and a few commands fit into the default number of connections."""
    found = re.search(
        r"max_connections=\$\{POSTGRES_MAX_CONNECTIONS:-(\d+)\}", " ".join(postgres.get("command", []))
    )
    assert found is not None
    assert int(found[1]) >= 4 * 6 + 5 * 6


def test_a_stop_leaves_time_for_the_last_checkpoint(postgres: Service) -> None:
    """PostgreSQL is not killed while it writes what it holds."""
    assert int(postgres["stop_grace_period"].removesuffix("s")) >= 60
