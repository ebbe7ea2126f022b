from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import click
import pytest

from receiver.cli import main
from receiver.exposition import exposition, families
from receiver.metrics import Alarms, Metrics
from receiver.storage.store import Store

from .artefacts import DEPLOY, ROOT

if TYPE_CHECKING:
    from pathlib import Path

TOP = sorted(path.name for path in DEPLOY.iterdir() if path.is_file() and path.name != ".env")
FILES = sorted(
    str(path.relative_to(DEPLOY))
    for path in DEPLOY.rglob("*")
    if path.is_file() and path.name != ".env" and path.parent.name not in {"secrets", "__pycache__"}
)
DOCUMENTS = [name for name in FILES if name.endswith(".md")]
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


@pytest.mark.parametrize("name", [name for name in TOP if name not in {"README.md", ".gitignore"}])
def test_the_readme_names_every_file(name: str) -> None:
    """deploy/README.md says what each file beside it is for."""
    assert f"`{name}`" in (DEPLOY / "README.md").read_text()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    """A link names a file that exists and, behind a #, one of its headings."""
    here = DEPLOY / name
    for path, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", here.read_text()):
        target = (here.parent / path).resolve() if path else here
        assert target.exists(), path
        assert not heading or heading in headings(target), heading


def headings(document: Path) -> set[str]:
    """Give a document's headings as links name them."""
    found = re.findall(r"(?m)^#+ (.+)$", document.read_text())
    return {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in found}


async def test_every_metric_exists(tmp_path: Path) -> None:
    """What OPERATIONS.md says to watch is at /metrics, by that name."""
    store = await Store.open(f"sqlite:///{tmp_path}/receiver.db")
    try:
        counts, sizes = await store.counts(now=0), await store.sizes()
        alarms = Alarms(known=[], looked_at=0)
        measured = families(
            Metrics(), counts, sizes, failed={}, alarms=alarms, refusing=False, counted_at=0, now=0
        )
        exposed = exposition(measured).decode()
    finally:
        await store.close()
    names = set(re.findall(r"(?m)^# HELP (\w+) ", exposed))
    watched = re.findall(r"`(receiver_[a-z_]+)", (DEPLOY / "OPERATIONS.md").read_text())
    assert len(set(watched)) > 12
    assert set(watched) - names == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_exists(name: str) -> None:
    """A command of the receiver that a document names is one."""
    for line in re.findall(r"`receiver ([a-z][^`]*)`", (DEPLOY / name).read_text()):
        found: click.Command | None = main
        for word in line.split():
            if not isinstance(found, click.Group):
                break
            found = found.get_command(click.Context(found), word)
            assert found is not None, line


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
