"""Every variable that the documents name is one that is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from receiver.cli.spelling import setting_fields, unknown_settings

ROOT = Path(__file__).parents[2]
READ = ("README.md", ".env.example", "receiver/docs/*.md", "deploy/**/*", "receiver/providers/README.md")
#: A variable, whose parts in brackets stand for names.
VARIABLE = re.compile(r"(?<![A-Z_])RECEIVER_(?:[A-Z0-9_]|<[A-Z]+>)*[A-Z0-9>](?![A-Za-z0-9_<])")
#: What a program of the reader's own has, and what stands for all.
OTHERS = {"RECEIVER_URL"}


def documented() -> dict[str, str]:
    """Each variable that a document names, as somebody would set it, and the document."""
    found = {}
    for pattern in READ:
        for file in ROOT.glob(pattern):
            if file.is_file():
                for name in VARIABLE.findall(file.read_text(encoding="utf-8", errors="replace")):
                    found[name.replace("<PROVIDER>", "PULSE").replace("<NAME>", "ORDERS")] = file.name
    return {name: file for name, file in found.items() if name not in OTHERS}


def value(name: str, folder: Path) -> str:
    """What may stand in *name*: a path where a path is read."""
    if name.endswith("_FILE"):
        (folder / name).write_text(value(name.removesuffix("_FILE"), folder), encoding="utf-8")
        return str(folder / name)
    if name.startswith("RECEIVER_SINK_"):
        return "stdout:"
    given = {one.metadata["env"]: one.default for one in setting_fields()}.get(name)
    return str(int(given)) if isinstance(given, int) else ""


def test_documents_name_variables_that_are_read(tmp_path: Path) -> None:
    """None that a document names is told to be unknown, nor its form with a file."""
    found = documented()
    assert {"RECEIVER_SINK_ORDERS", "RECEIVER_PULSE_BASE_URL", "RECEIVER_SECRET_KEY_FILE"} <= found.keys()
    for name, file in sorted(found.items()):
        environ = {name: value(name, tmp_path) or "https://example.com"}
        assert unknown_settings(environ) == [], (name, file)


@pytest.mark.parametrize("name", sorted(one.metadata["env"] for one in setting_fields()))
def test_every_setting_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    """And is known in that form; so may a sink's address."""
    for one in (name, "RECEIVER_SINK_ORDERS"):
        assert unknown_settings({f"{one}_FILE": value(f"{one}_FILE", tmp_path)}) == []


def test_what_sinks_refer_to_is_read(tmp_path: Path) -> None:
    """Their secrets and the references in their addresses are variables of ours, if they are named so."""
    file = tmp_path / "sinks.toml"
    file.write_text('[sinks.a]\nto = "https://{env:RECEIVER_PLACE}/"\nsecret = "env:RECEIVER_SIGNED"\n')
    environ = {"RECEIVER_SINKS": str(file), "RECEIVER_PLACE": "h", "RECEIVER_SIGNED_FILE": "f"}
    assert unknown_settings(environ) == []


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("RECEIVER_BOGUS", None),
        ("RECEIVER_HOSTS", "RECEIVER_HOST"),
        ("RECEIVER_SINKS_ORDERS", "RECEIVER_SINK_ORDERS"),
        ("RECEIVER_DATABSE_URL_FILE", "RECEIVER_DATABASE_URL"),
    ],
)
def test_only_what_is_near_is_suggested(name: str, nearest: str | None) -> None:
    """What all names begin with makes none of them alike."""
    (one,) = unknown_settings({name: "x"})
    assert one.nearest == nearest
