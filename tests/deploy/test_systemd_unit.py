from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from .artefacts import DEPLOY, unit_section

if TYPE_CHECKING:
    from pathlib import Path

HARDENED = {
    "CapabilityBoundingSet": "",
    "KeyringMode": "private",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "PrivateUsers": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHome": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RemoveIPC": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
}


@pytest.fixture
def service() -> dict[str, list[str]]:
    """Give the unit's [Service] section."""
    return unit_section("Service")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Give a copy of the unit whose program exists on this machine."""
    unit = (DEPLOY / "receiver.service").read_text()
    copy = tmp_path / "receiver.service"
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit))
    return copy


def analyze(*arguments: str) -> tuple[int, str]:
    """Run systemd's own checker, which needs no running systemd."""
    systemd_analyze = shutil.which("systemd-analyze")
    if systemd_analyze is None:
        pytest.skip("this machine has no systemd; the keys are checked by the other tests")
    done = subprocess.run(
        [systemd_analyze, "--no-pager", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_systemd_accepts_the_unit(installed: Path) -> None:
    """Systemd knows every key and value of the unit."""
    assert analyze("verify", str(installed)) == (0, "")


def test_systemd_finds_it_hardened(installed: Path) -> None:
    """Systemd's own score of exposure, from 0 to 10, is at most 1.5."""
    status, output = analyze("security", "--offline=true", "--threshold=15", str(installed))
    assert status == 0, output


@pytest.mark.parametrize(("key", "value"), HARDENED.items())
def test_a_protection_is_on(service: dict[str, list[str]], key: str, value: str) -> None:
    """The service can reach nothing that it does not need."""
    assert service[key] == [value]


def test_system_calls_are_an_allow_list(service: dict[str, list[str]]) -> None:
    """What a service needs is allowed, what only root needs is taken out again."""
    assert service["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]


def test_it_is_not_root_and_owns_its_state(service: dict[str, list[str]]) -> None:
    """The service runs under its own user and writes to its own folder alone, where its database lies."""
    assert service["User"] == service["StateDirectory"] == ["receiver"]
    assert service["StateDirectoryMode"] == ["0700"]
    assert "RECEIVER_DATABASE_URL=sqlite:////var/lib/receiver/receiver.db" in service["Environment"]


def test_secrets_are_credentials(service: dict[str, list[str]]) -> None:
    """The master key and the API token come as credentials, and no variable carries a secret."""
    loaded = {line.partition(":")[0] for line in service["LoadCredential"]}
    files = {
        name: value
        for name, _, value in (line.partition("=") for line in service["Environment"])
        if name.endswith("_FILE")
    }
    assert files.keys() == {"RECEIVER_SECRET_KEY_FILE", "RECEIVER_API_TOKEN_FILE"}
    assert set(files.values()) == {f"%d/{name}" for name in loaded}


def test_a_stop_leaves_time_to_drain(service: dict[str, list[str]]) -> None:
    """Systemd asks by SIGTERM and waits longer than the 10 seconds in which the receiver ends by itself."""
    assert service["KillSignal"] == ["SIGTERM"]
    assert int(service["TimeoutStopSec"][0]) > 10


def test_it_comes_back(service: dict[str, list[str]]) -> None:
    """After a crash it starts again, however often; after a usage error it does not; after a boot it does."""
    assert service["Restart"] == ["on-failure"]
    assert service["RestartPreventExitStatus"] == ["2"]
    assert unit_section("Unit")["StartLimitIntervalSec"] == ["0"]
    assert unit_section("Install")["WantedBy"] == ["multi-user.target"]


def test_it_listens_for_the_proxy_only(service: dict[str, list[str]]) -> None:
    """Without TLS in front of it, nobody outside reaches it."""
    assert "RECEIVER_HOST=127.0.0.1" in service["Environment"]
