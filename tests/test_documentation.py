"""The documents: dependencies, links, topics, the example. What is generated in them: ``tests/documentation``."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from receiver.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "receiver" / "docs"
DOCUMENTS = [
    *("README.md", "CHANGELOG.md", "deploy/README.md", "receiver/providers/README.md"),
    *sorted(f"receiver/docs/{file.name}" for file in DOCS.glob("*.md")),
]


def test_every_dependency_is_explained() -> None:
    """The documents say what each dependency is for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[\[<>=;!~ ]", one)[0] for one in project["dependencies"]}
    section = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## Dependencies")[2]
    assert {name for name in names if f"`{name}`" not in section} == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_within_the_project_leads_somewhere(name: str) -> None:
    """A relative link in a document names a file that exists, and a heading that is in it."""
    document = ROOT / name
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)]+)", document.read_text(encoding="utf-8")):
        path, _, heading = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def headings(document: Path) -> set[str]:
    """A document's headings, as links name them."""
    found = re.findall(r"(?m)^#+ (.+)$", document.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in found}


@pytest.mark.parametrize("name", [file.stem for file in DOCS.glob("*.md")])
def test_every_file_of_the_documentation_is_a_topic(name: str) -> None:
    """A new file in receiver/docs is all that a new topic needs: it is listed with what it says, and printed."""
    listed = CliRunner().invoke(main, ["docs"]).output
    shown = CliRunner().invoke(main, ["docs", name])
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    title = text.partition("\n")[0].removeprefix("# ")
    own, _, about = title.partition(": ")
    assert own.lower() == name
    # Beside the names, it fits a terminal of 80 columns.
    assert len(about) <= 65
    assert re.search(rf"(?m)^{name} +{re.escape(about)}$", listed)
    assert shown.output.startswith(f"# {title}\n")
    assert "<!--" not in shown.output
    assert json.loads(CliRunner().invoke(main, ["docs", name, "--json"]).output)["title"] == title


def test_the_readme_is_read_to_its_end() -> None:
    """The README has at most 200 lines; what more there is to say has a document of its own."""
    assert len(README.splitlines()) <= 200


def test_the_readme_names_every_topic() -> None:
    """Who has read the README to its end knows what else there is to read."""
    assert [file.name for file in DOCS.glob("*.md") if f"receiver/docs/{file.name})" not in README] == []


def test_the_tree_keeps_its_promises() -> None:
    """No note to do something later, no skipped promise: the linter's rules on such notes rest on this."""
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|NotImplemented" r"Error)\b")
    found = [
        str(file.relative_to(ROOT))
        for folder in ("receiver", "tests")
        for file in (ROOT / folder).rglob("*.py")
        if marks.search(file.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_the_example_runs() -> None:
    """The README's program can be loaded as it stands, and registers its handlers."""
    (program,) = re.findall(r"(?s)```python\n(.*?)```", README)
    loaded: dict[str, Any] = {}
    exec(compile(program, "README.md", "exec"), loaded)  # noqa: S102  (our own document)
    assert [one.spec.name for one in loaded["receiver"].handlers] == ["save_report", "publish"]
    assert loaded["app"] is loaded["receiver"].asgi
