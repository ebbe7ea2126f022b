from __future__ import annotations

import re
import subprocess

import pytest

from .artefacts import DEPLOY, ROOT

FILES = sorted(path.name for path in DEPLOY.iterdir() if path.is_file() and path.name != ".env")
# Names of vendors' settings end like this; names of other programs' settings do not.
NAME = re.compile(r"\b(?:RECEIVER_[A-Z_]*[A-Z]|[A-Z_]+_(?:API_KEY|IAM_TOKEN|WEBHOOK_SECRET)(?:_FILE)?)\b")


@pytest.fixture(scope="module")
def settings() -> set[str]:
    """Give the names in .env.example, each also as a file."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    names = {match[1] for line in lines if (match := re.match(r"#?\s?([A-Z][A-Z0-9_]+)=", line))}
    return names | {f"{name}_FILE" for name in names}


@pytest.mark.parametrize("name", FILES)
def test_every_setting_exists(name: str, settings: set[str]) -> None:
    """What a file in deploy/ sets or explains is a setting of the receiver."""
    assert set(NAME.findall((DEPLOY / name).read_text())) <= settings


@pytest.mark.parametrize("name", [name for name in FILES if name not in {"README.md", ".gitignore"}])
def test_the_readme_names_every_file(name: str) -> None:
    """deploy/README.md says what each file beside it is for."""
    assert f"`{name}`" in (DEPLOY / "README.md").read_text()


@pytest.mark.parametrize("mark", ["demo", "tests"])
def test_the_readme_has_the_commands_that_ci_runs(mark: str) -> None:
    """README.md holds the command as one line in a block of its own, behind the mark of .ci/run."""
    text = (ROOT / "README.md").read_text()
    assert len(re.findall(rf"(?m)^<!-- ci: {mark} -->\n+```sh\n[^\n]+\n```$", text)) == 1


def test_ci_is_bash() -> None:
    """.ci/run is executable and bash can read it."""
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True, check=False).returncode == 0
