"""What a user can name is documented: settings, commands, routes, error codes, providers, dependencies."""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from receiver import Receiver, Settings
from receiver.asgi import Application
from receiver.catalog import Catalog
from receiver.cli import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")


def example_names() -> set[str]:
    """What .env.example sets."""
    return set(re.findall(r"(?m)^#? ?([A-Z][A-Z0-9_]+)=", EXAMPLE))


def referenced_names() -> set[str]:
    """Every environment variable that a packaged description refers to."""
    text = "".join(file.read_text() for file in (ROOT / "receiver" / "providers").glob("*.toml"))
    return set(re.findall(r"env:([A-Z0-9_]+)", text))


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command, as the words that name it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))
    else:
        yield path


def error_codes() -> set[str]:
    """Every literal given as ``code`` in the package: class attributes and arguments."""
    found = set()
    for file in (ROOT / "receiver").rglob("*.py"):
        if "simulator" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            values = (
                [word.value for word in node.keywords if word.arg == "code"]
                if isinstance(node, ast.Call)
                else []
            )
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(isinstance(one, ast.Name) and one.id == "code" for one in targets):
                    values.append(node.value)
            found |= {
                one.value for one in values if isinstance(one, ast.Constant) and isinstance(one.value, str)
            }
    return found


def test_every_setting_is_in_the_example_and_in_the_readme() -> None:
    """.env.example names each setting and each provider's credential, and nothing that nobody reads."""
    settings = {one.metadata["env"] for one in fields(Settings) if "env" in one.metadata}
    wanted = settings | referenced_names()
    assert wanted - example_names() == set()
    extra = {
        name for name in example_names() - wanted if not re.fullmatch(r"RECEIVER_[A-Z_]+_BASE_URL", name)
    }
    assert extra == set()
    assert {name for name in settings if f"`{name}`" not in README} == set()


def test_every_command_is_in_the_readme() -> None:
    """Each command, and each command of a group, is named in the README's table of commands."""
    table = README.partition("## Commands")[2].partition("###")[0]
    missing = []
    for path in commands(cli):
        group = re.search(rf"(?m)^\|.*`receiver {path[0]}\b.*$", table)
        if group is None or not re.search(rf"\b{re.escape(path[-1])}\b", group.group(0)):
            missing.append(" ".join(path))
    assert missing == []


async def test_every_route_is_in_the_readme(tmp_path: Path) -> None:
    """Each route that is served is named in the README's table of routes."""
    environ = {
        "RECEIVER_DATABASE_URL": f"sqlite:///{tmp_path}/receiver.db",
        "RECEIVER_SECRET_KEY": "a key that is long enough",
    }
    receiver = Receiver(Settings.load(environ))
    await receiver.start(worker=False)
    try:
        faces = Application._build(receiver.running)
    finally:
        await receiver.stop()
    assert faces.api is not None
    served = {getattr(route, "path", "") for route in faces.health.routes}
    served |= {operation.path for operation in faces.api.operations}
    assert {path for path in served if f"{path}`" not in README} == set()


def test_every_error_code_is_in_the_readme() -> None:
    """A code that a user meets in a log, an answer or a timeline can be looked up."""
    documented = set(re.findall(r"`([a-z][a-z0-9_]+)`", README.partition("## Codes")[2]))
    assert error_codes() - documented == set()


def test_every_provider_is_in_the_readme() -> None:
    """The README's table of providers names each description that is packaged."""
    table = README.partition("## Providers")[2].partition("## Configuration")[0]
    assert {name for name in Catalog.load(Settings()) if f"| `{name}` |" not in table} == set()


def test_every_dependency_is_explained() -> None:
    """The README says what each dependency is for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[\[<>=;!~ ]", one)[0] for one in project["dependencies"]}
    section = README.partition("## Dependencies")[2]
    assert {name for name in names if f"`{name}`" not in section} == set()


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", ".env.example", "deploy/README.md"])
def test_every_link_within_the_project_leads_somewhere(name: str) -> None:
    """A relative link in a document names a file that exists."""
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []


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
    """The README's program can be loaded as it stands, and registers its handler."""
    (program,) = re.findall(r"(?s)```python\n(.*?)```", README)
    loaded: dict[str, Any] = {}
    exec(compile(program, "README.md", "exec"), loaded)  # noqa: S102  (our own document)
    assert [one.spec.name for one in loaded["receiver"].handlers] == ["save_report"]
    assert loaded["app"] is loaded["receiver"].asgi
