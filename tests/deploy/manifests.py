"""What stands in deploy/kubernetes, read without kustomize: its folders, its manifests, and the pods that they make."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

import yaml

from .artefacts import DEPLOY

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = DEPLOY / "kubernetes"
#: A manifest, or a part of one.
Tree = dict[str, Any]


@cache
def folders() -> dict[str, Tree]:
    """Give the kustomization of every folder that has one, by the folder's path."""
    return {
        str(file.parent.relative_to(FOLDER)): _read(file)[0]
        for file in sorted(FOLDER.rglob("kustomization.yaml"))
    }


def named(folder: str, key: str) -> list[Path]:
    """Give the files and folders that a folder's kustomization names under this key."""
    listed = [one["path"] if key == "patches" else one for one in folders()[folder].get(key, [])]
    return [(FOLDER / folder / one).resolve() for one in listed]


def manifest_files() -> list[Path]:
    """Give the files that hold whole manifests."""
    return [file for folder in folders() for file in named(folder, "resources") if file.is_file()]


def manifests(kind: str | None = None) -> list[Tree]:
    """Give the manifests, of one kind or all."""
    every = [one for file in manifest_files() for one in _read(file)]
    return [one for one in every if kind is None or one["kind"] == kind]


def manifest(kind: str, name: str) -> Tree:
    """Give the one manifest of this kind and name."""
    (found,) = [one for one in manifests(kind) if one["metadata"]["name"] == name]
    return found


def patches() -> list[tuple[Tree, Tree]]:
    """Give the patches, each with the target that its kustomization names."""
    return [
        (_read(FOLDER / folder / one["path"])[0], one["target"])
        for folder, kustomization in folders().items()
        for one in kustomization.get("patches", [])
    ]


def templates() -> dict[str, Tree]:
    """Give the pods that manifests make, by kind and name of what makes them."""
    return {
        f"{one['kind']} {one['metadata']['name']}": one["spec"]["template"]
        for one in manifests()
        if "template" in one.get("spec", {})
    }


def container(template: Tree) -> Tree:
    """Give a pod's one container."""
    (found,) = template["spec"]["containers"]
    return cast("Tree", found)


def generated_settings() -> dict[str, set[str]]:
    """Give the settings that the folders' generators put into the ConfigMap of the receiver, by folder."""
    found: dict[str, set[str]] = {}
    for folder, kustomization in folders().items():
        for generator in kustomization.get("configMapGenerator", []):
            assert generator["name"] == "receiver-settings"
            found[folder] = set(generator["literals"])
    return found


def _read(file: Path) -> list[Tree]:
    return [one for one in yaml.safe_load_all(file.read_text()) if one is not None]
