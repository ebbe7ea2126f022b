"""What kustomize makes of deploy/kubernetes, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from .artefacts import program, run
from .manifests import FOLDER, Tree, container

if TYPE_CHECKING:
    from pathlib import Path

SPLIT = "  # - ../components/worker\n"


def build(folder: Path) -> list[Tree]:
    """Build a folder; give the manifests, which must fit their schemas."""
    kustomize, kubectl = program("kustomize"), program("kubectl")
    if kustomize is not None:
        command = [kustomize, "build", str(folder)]
    elif kubectl is not None:
        # The one that a user has anyway: it needs no cluster for this.
        command = [kubectl, "kustomize", str(folder)]
    else:
        pytest.skip(
            "neither kustomize nor kubectl is on this machine; the other tests read what they are given"
        )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    built = folder / "built.yaml"
    built.write_text(done.stdout)
    assert run("kubernetes_validate", "--strict", "--quiet", str(built)) == (0, "")
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of the folder, as a user would have it."""
    return shutil.copytree(FOLDER, tmp_path / "kubernetes")


def pods(built: list[Tree]) -> dict[str, Tree]:
    """Give the containers, by the name of what makes their pods."""
    return {
        one["metadata"]["name"]: container(one["spec"]["template"])
        for one in built
        if "template" in one.get("spec", {})
    }


def test_the_example(copy: Path) -> None:
    """The example is one namespace with two nodes, and a changed setting is a changed name that the nodes refer to."""
    built = build(copy / "example")
    assert {one["metadata"]["namespace"] for one in built} == {"receiver"}
    (node,) = pods(built).values()
    (settings,) = [one for one in built if one["kind"] == "ConfigMap"]
    assert node["args"] == ["serve"]
    assert node["image"] == "registry.example.com/receiver:0.1.0"
    assert settings["data"] == {"RECEIVER_MIGRATE": "0", "RECEIVER_PUBLIC_URL": "https://hooks.example.com"}
    assert node["envFrom"][0]["configMapRef"]["name"] == settings["metadata"]["name"] != "receiver-settings"


def test_split_roles(copy: Path) -> None:
    """With the one line taken in there are nodes that only take callbacks, and workers like them."""
    kustomization = copy / "example" / "kustomization.yaml"
    text = kustomization.read_text()
    assert SPLIT in text
    kustomization.write_text(text.replace(SPLIT, SPLIT.replace("# ", "")))
    built = build(copy / "example")
    node, worker = pods(built)["receiver"], pods(built)["receiver-worker"]
    assert {one["metadata"]["namespace"] for one in built} == {"receiver"}
    assert (node["args"], worker["args"]) == (["serve", "--no-worker"], ["worker", "--port", "8000"])
    assert node["image"] == worker["image"]
    assert node["envFrom"] == worker["envFrom"]


def test_the_migration(copy: Path) -> None:
    """The migration is a Job alone, in the namespace and with the image of the nodes."""
    (job,) = build(copy / "example" / "migrate")
    assert (job["kind"], job["metadata"]["namespace"]) == ("Job", "receiver")
    assert pods([job])["receiver-migrate"]["image"] == "registry.example.com/receiver:0.1.0"
