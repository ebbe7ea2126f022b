"""What a user can name is documented, because the documents are written from what knows it."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from receiver import Settings
from receiver.catalog import Catalog
from receiver.cli import COMMANDS, cli

from .__main__ import WRITE
from .commands import below
from .generated import DOCS, ROOT, documents

#: Words of the shortest sentence that says something.
_SHORTEST = 4


@pytest.fixture(scope="module")
def wanted() -> dict[str, str]:
    """The documents as the code would write them."""
    return documents()


def test_what_the_code_knows_is_written_from_it(wanted: dict[str, str]) -> None:
    """Settings, routes, commands, codes and providers stand in the documents as they are in the code."""
    stale = [name for name, text in wanted.items() if (ROOT / name).read_text(encoding="utf-8") != text]
    assert not stale, f"out of date: {', '.join(stale)}; run: {WRITE}"


def test_nothing_is_left_out(wanted: dict[str, str]) -> None:
    """Every setting, command, provider and route has its line."""
    names = [one.metadata["env"] for one in fields(Settings) if "env" in one.metadata]
    assert [one for one in names if f"| `{one}` |" not in wanted[f"{DOCS}/configuration.md"]] == []
    assert [one for one in names if f"\n{one}=" not in wanted[".env.example"]] == []
    paths = [path for name in COMMANDS for path, _ in below(cli, (name,))]
    assert [path for path in paths if f"# `receiver {path}`\n" not in wanted[f"{DOCS}/commands.md"]] == []
    providers = wanted[f"{DOCS}/providers.md"]
    assert [name for name in Catalog.load(Settings()) if f"| `{name}` |" not in providers] == []
    routes = re.findall(r"(?m)^\| `([A-Z]+) (/[^`]*)` \| .+ \|$", wanted[f"{DOCS}/http.md"])
    assert {"/callbacks/{provider}/{token}", "/v1/jobs", "/metrics"} <= {path for _, path in routes}


def test_every_setting_says_what_it_is() -> None:
    """The sentence beside a setting is one."""
    says = [one.metadata["says"] for one in fields(Settings) if "env" in one.metadata]
    assert [one for one in says if not one.endswith(".") or len(one.split()) < _SHORTEST] == []
