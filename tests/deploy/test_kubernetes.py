from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .artefacts import DEPLOY, run
from .manifests import (
    FOLDER,
    container,
    folders,
    generated_settings,
    manifest,
    manifest_files,
    manifests,
    named,
    patches,
    templates,
)

if TYPE_CHECKING:
    from pathlib import Path

#: The README promises these, and what lies between them.
OLDEST, NEWEST = "1.27", "1.37"
KINDS = {"Kustomization": "resources", "Component": "components"}


def validate(version: str, *files: Path) -> tuple[int, str]:
    """Check manifests by the JSON schemas of a version of Kubernetes, which refuse unknown fields too."""
    return run("kubernetes_validate", "--strict", "--quiet", "-k", version, *map(str, files))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_manifest(version: str) -> None:
    """Each manifest fits the schema of its kind, in the oldest and in the newest version promised."""
    assert f"Kubernetes {OLDEST} or newer" in (FOLDER / "README.md").read_text()
    assert validate(version, *manifest_files()) == (0, "")


@pytest.mark.parametrize(("right", "wrong"), [("maxSurge", "maxSurgge"), ("kind: Service", "kind: Servyce")])
def test_a_slip_would_be_found(tmp_path: Path, right: str, wrong: str) -> None:
    """The check before this one says something about a field or a kind that does not exist."""
    slip = tmp_path / "slip.yaml"
    slip.write_text("\n---\n".join(file.read_text() for file in manifest_files()).replace(right, wrong, 1))
    assert wrong.removeprefix("kind: ") in validate(NEWEST, slip)[1]


def test_every_file_is_used() -> None:
    """Each file is named by a kustomization, and what a kustomization names is there."""
    used = {
        file
        for folder in folders()
        for key in ("resources", "patches", "components")
        for file in named(folder, key)
    }
    assert [file for file in used if not file.exists()] == []
    files = {file for file in FOLDER.rglob("*.yaml") if file.name != "kustomization.yaml"}
    assert {file for file in used if file.is_file()} == files


def test_folders_are_used_as_what_they_are() -> None:
    """A component is taken in as a component, anything else as a resource."""
    for folder in folders():
        for kind, key in KINDS.items():
            found = {one for one in named(folder, key) if one.is_dir()}
            assert {folders()[str(one.relative_to(FOLDER))]["kind"] for one in found} <= {kind}


def test_image_and_namespace_are_set_for_all() -> None:
    """The component that names them comes last wherever it is taken in: what follows it would not be renamed."""
    release = (FOLDER / "example/release").resolve()
    takers = [folder for folder in folders() if release in named(folder, "components")]
    assert sorted(takers) == ["example", "example/migrate"]
    assert all(named(folder, "components")[-1] == release for folder in takers)
    after = (FOLDER / "example/kustomization.yaml").read_text().partition("- release\n")[2]
    assert "../components/" not in after


def test_every_pod_runs_the_one_image() -> None:
    """All containers name the image that the release replaces, by a tag that is not `latest`."""
    (image,) = folders()["example/release"]["images"]
    assert {container(one)["image"] for one in templates().values()} == {image["name"]}
    assert image["newTag"] not in {"", "latest"}


def test_the_patches_fit() -> None:
    """A patch's target exists, and the containers that it changes are there."""
    assert patches()
    for patch, target in patches():
        template = manifest(target["kind"], target["name"])["spec"]["template"]
        changed = {one["name"] for one in patch["spec"]["template"]["spec"]["containers"]}
        assert (patch["kind"], patch["metadata"]["name"]) == (target["kind"], target["name"])
        assert changed <= {container(template)["name"]}


@pytest.mark.parametrize("name", ["Deployment receiver", "Deployment receiver-worker"])
def test_a_deployment_selects_its_own_pods(name: str) -> None:
    """Pods, selector and the rules that spread them agree, and differ from everybody else's."""
    kind, _, short = name.partition(" ")
    spec = manifest(kind, short)["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    spread = spec["template"]["spec"]["topologySpreadConstraints"]
    assert all(one["labelSelector"]["matchLabels"] == labels for one in spread)
    assert [one for one, template in templates().items() if template["metadata"]["labels"] == labels] == [
        name
    ]


def test_traffic_goes_to_the_nodes_alone() -> None:
    """The Service and the disruption budget select the nodes; the network policy every pod of ours."""
    nodes = templates()["Deployment receiver"]["metadata"]["labels"]
    assert manifest("Service", "receiver")["spec"]["selector"] == nodes
    assert manifest("PodDisruptionBudget", "receiver")["spec"]["selector"]["matchLabels"] == nodes
    every = manifest("NetworkPolicy", "receiver")["spec"]["podSelector"]["matchLabels"]
    assert all(every.items() <= one["metadata"]["labels"].items() for one in templates().values())


def test_the_ports_agree() -> None:
    """Container, probes, Service, Ingress and network policy mean one port, and the receiver listens there."""
    it = container(templates()["Deployment receiver"])
    (port,) = it["ports"]
    (served,) = manifest("Service", "receiver")["spec"]["ports"]
    (allowed,) = manifest("NetworkPolicy", "receiver")["spec"]["ingress"][0]["ports"]
    probes = {it[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "liveness", "readiness")}
    assert {port["name"]} == probes == {served["targetPort"]} == {allowed["port"]}
    (rule,) = manifest("Ingress", "receiver")["spec"]["rules"]
    backends = [path["backend"]["service"] for path in rule["http"]["paths"]]
    assert all(one == {"name": "receiver", "port": {"name": served["name"]}} for one in backends)
    settings = {one["name"]: one["value"] for one in it["env"]}
    assert settings["RECEIVER_PORT"] == str(port["containerPort"])


def test_a_worker_can_be_probed_and_scraped() -> None:
    """It listens, at every address, where its container says; probes and the network policy mean that port too."""
    it = container(templates()["Deployment receiver-worker"])
    (port,) = it["ports"]
    assert it["args"] == ["worker", "--port", str(port["containerPort"])]
    assert {one["name"]: one.get("value") for one in it["env"]}["RECEIVER_HOST"] == "0.0.0.0"  # noqa: S104  (the pod's)
    (allowed,) = manifest("NetworkPolicy", "receiver")["spec"]["ingress"][0]["ports"]
    probes = {it[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "liveness", "readiness")}
    assert {port["name"]} == probes == {allowed["port"]}


def test_the_ingress_publishes_callbacks_only() -> None:
    """The API, the metrics and the health routes are not public, and the host is that of the public URL."""
    spec = manifest("Ingress", "receiver")["spec"]
    (rule,) = spec["rules"]
    assert [(path["path"], path["pathType"]) for path in rule["http"]["paths"]] == [
        ("/callbacks/", "Prefix"),
        ("/webhooks/", "Prefix"),
    ]
    assert f"RECEIVER_PUBLIC_URL=https://{rule['host']}" in generated_settings()["example"]
    assert spec["tls"][0]["hosts"] == [rule["host"]]


def test_the_schema_is_the_jobs_to_change() -> None:
    """No node or worker migrates by itself: the Job does, and it alone, before them."""
    assert "RECEIVER_MIGRATE=0" in generated_settings()["base"]
    takers = {name for name, one in templates().items() if "envFrom" in container(one)}
    assert takers == {"Deployment receiver", "Deployment receiver-worker"}
    references = [
        one["configMapRef"]["name"]
        for name in takers
        for one in container(templates()[name])["envFrom"]
        if "configMapRef" in one
    ]
    assert references == ["receiver-settings"] * 2
    assert container(templates()["Job receiver-migrate"])["args"] == ["db", "migrate"]
    assert [folder for folder in folders() if FOLDER / "migrate" in named(folder, "resources")] == [
        "example/migrate"
    ]


def test_a_new_node_is_ready_before_an_old_one_goes() -> None:
    """A rollout never leaves fewer nodes than were asked for, nor does a machine that is emptied leave none."""
    spec = manifest("Deployment", "receiver")["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert spec["replicas"] > manifest("PodDisruptionBudget", "receiver")["spec"]["maxUnavailable"]


def test_the_network_policy_keeps_private_addresses_out() -> None:
    """Without a port for the database or for names, nothing private or link-local can be asked for."""
    *narrow, wide = manifest("NetworkPolicy", "receiver")["spec"]["egress"]
    assert [{port["port"] for port in one["ports"]} for one in narrow] == [{53}, {5432}]
    assert [port["port"] for port in wide["ports"]] == [443]
    left_out = {address for one in wide["to"] for address in one["ipBlock"]["except"]}
    assert {
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "127.0.0.0/8",
        "fc00::/7",
    } <= left_out


def test_no_secret_is_in_the_tree() -> None:
    """Secrets are made by hand, as the README says; no manifest holds one, git ignores their files."""
    assert not [one for one in manifests() if one["kind"] == "Secret"]
    assert not [folder for folder, one in folders().items() if "secretGenerator" in one]
    (made,) = re.findall(r"create secret generic receiver (.+)", (FOLDER / "README.md").read_text())
    ignored = (DEPLOY / ".gitignore").read_text().splitlines()
    assert {f"/kubernetes/{name}" for name in re.findall(r"--from-file=(\w+)", made)} <= set(ignored)


def test_the_readme_names_every_folder() -> None:
    """The README of the folder says what each part is for."""
    text = (FOLDER / "README.md").read_text()
    parts = {folder for folder in folders() if not folder.startswith("example/")}
    assert {part for part in parts if f"| `{part}/` |" not in text} == set()
    assert set(re.findall(r"(?m)^kubectl apply -k (\S+)$", text)) == {"example", "example/migrate"}
