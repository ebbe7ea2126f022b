from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click
import pytest

from receiver.cli import main
from receiver.settings import Settings

from .artefacts import ROOT
from .manifests import FOLDER, Tree, container, patches, templates

if TYPE_CHECKING:
    from collections.abc import Sequence

PODS = ("Deployment receiver", "Deployment receiver-worker", "Job receiver-migrate")
SECRETS = "/run/secrets/receiver/"


@pytest.fixture(params=PODS)
def template(request: pytest.FixtureRequest) -> Tree:
    """Give each kind of pod."""
    return templates()[request.param]


def test_the_pods_are_these() -> None:
    """What the other tests here look at is everything that runs."""
    assert tuple(sorted(templates())) == PODS


def test_a_pod_is_restricted(template: Tree) -> None:
    """A pod meets the restricted Pod Security Standard, and cannot write to its image."""
    pod, it = template["spec"], container(template)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert it["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all({"secret", "emptyDir"} & volume.keys() for volume in pod["volumes"])


def test_a_pod_gets_no_settings_from_services(template: Tree) -> None:
    """A Service named receiver would set RECEIVER_PORT in every pod of its namespace, to what is no number."""
    assert template["spec"]["enableServiceLinks"] is False


def test_a_pod_cannot_ask_the_cluster(template: Tree) -> None:
    """A pod has no credentials for the cluster's API."""
    assert template["spec"]["automountServiceAccountToken"] is False


def test_a_pod_is_bounded(template: Tree) -> None:
    """Memory and what is written are bounded; the processor is not, because being throttled makes answers late."""
    limits = container(template)["resources"]["limits"]
    assert "memory" in limits
    assert "cpu" not in limits
    assert all("sizeLimit" in one["emptyDir"] for one in template["spec"]["volumes"] if "emptyDir" in one)


def test_what_postgres_cannot_take_yet_outlives_a_container(template: Tree) -> None:
    """A pod that serves has a folder of its own where the image works, in which the spool lies; a Job serves nobody."""
    folders = {one["name"] for one in template["spec"]["volumes"] if "emptyDir" in one}
    mounted = {
        one["name"] for one in container(template)["volumeMounts"] if one["mountPath"] == "/var/lib/receiver"
    }
    assert mounted == ({"spool"} if "spool" in folders else set())
    assert ("spool" in folders) == ("readinessProbe" in container(template))


def test_a_secret_is_a_file_that_is_there(template: Tree) -> None:
    """Each setting that names a file names one that the pod's secret holds, and the README's command makes it."""
    (volume,) = [one["secret"] for one in template["spec"]["volumes"] if "secret" in one]
    (mount,) = [one for one in container(template)["volumeMounts"] if one["name"] == "secrets"]
    assert (volume["secretName"], mount["mountPath"] + "/", mount["readOnly"]) == ("receiver", SECRETS, True)
    made = set(re.findall(r"--from-file=(\w+)", (FOLDER / "README.md").read_text()))
    files = {one["name"]: one["value"] for one in container(template)["env"] if one["name"].endswith("_FILE")}
    keys = {value.removeprefix(SECRETS) for value in files.values()}
    assert keys == {item["key"] for item in volume.get("items", [])} or "items" not in volume
    assert all(item["key"] == item["path"] for item in volume.get("items", []))
    assert keys <= made
    # The user's group may read it, others not.
    assert volume["defaultMode"] == 0o440


def test_every_volume_is_mounted(template: Tree) -> None:
    """What a pod declares its container uses, and the other way round."""
    mounted = {one["name"] for one in container(template)["volumeMounts"]}
    assert mounted == {one["name"] for one in template["spec"]["volumes"]}


def command(arguments: Sequence[str]) -> tuple[click.Command, list[str]]:
    """Find the command that the image runs with these arguments, and what is left of them."""
    found: click.Command = main
    left = list(arguments)
    while isinstance(found, click.Group):
        below = found.get_command(click.Context(found), left.pop(0))
        assert below is not None
        found = below
    return found, left


@pytest.mark.parametrize(
    "arguments",
    [*(container(one)["args"] for one in templates().values())]
    + [one["args"] for patch, _ in patches() for one in patch["spec"]["template"]["spec"]["containers"]],
    ids=" ".join,
)
def test_a_pod_runs_a_command_that_exists(arguments: list[str]) -> None:
    """The command line takes each pod's arguments."""
    found, left = command(arguments)
    found.make_context(found.name, left)


def test_roles_are_split_as_promised() -> None:
    """With split roles nodes do nothing that is due, and workers do."""
    ((patch, _),) = patches()
    assert container(patch["spec"]["template"])["args"] == ["serve", "--no-worker"]
    assert container(templates()["Deployment receiver-worker"])["args"][0] == "worker"


def test_a_stop_leaves_time_to_drain() -> None:
    """Kubernetes waits longer than load balancers take to forget the pod, and it 10 seconds to end by itself."""
    node = templates()["Deployment receiver"]["spec"]
    sleep, seconds = container({"spec": node})["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    assert int(seconds) >= 5
    assert node["terminationGracePeriodSeconds"] > int(seconds) + 10
    assert templates()["Deployment receiver-worker"]["spec"]["terminationGracePeriodSeconds"] > 10


@pytest.mark.parametrize("name", ["Deployment receiver", "Deployment receiver-worker"])
def test_the_probes_ask_what_they_should(name: str) -> None:
    """A pod is restarted only if it does not answer at all, and counts as there while it is ready."""
    it = container(templates()[name])
    paths = {kind: it[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    # /readyz takes 2 seconds to find that the database does not answer.
    assert it["readinessProbe"]["timeoutSeconds"] > 2


def test_a_worker_is_not_restarted_before_its_lease_has_lapsed() -> None:
    """What a handler that blocks it was doing is left to it for as long as the record does."""
    probe = container(templates()["Deployment receiver-worker"])["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= Settings().lease


def test_what_a_pod_sets_is_a_setting(template: Tree) -> None:
    """Each variable is a setting of the receiver."""
    known = set(re.findall(r"(?m)^([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text()))
    names = {one["name"].removesuffix("_FILE") for one in container(template)["env"]}
    assert names <= known
