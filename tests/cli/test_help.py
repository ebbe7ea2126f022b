"""What can be asked for, and how arguments are read."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from receiver.cli import COMMANDS, main
from receiver.cli.command import Command, problem
from receiver.core.errors import RequestError
from receiver.wire.web import problem as web_problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command below *group*."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


ALL = dict(commands(main))


def test_help_is_fast() -> None:
    """The list of commands needs no event loop, no web framework and no database."""
    code = (
        "import sys\n"
        "from receiver.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'asyncio', 'starlette', 'httpx', 'msgspec', 'uvicorn', 'rich', 'sqlite3', 'structlog'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=40, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Exit codes:" in done.stdout


def test_serving_starts_without_what_it_may_never_need(tmp_path: Path) -> None:
    """What only a request, a page, a scrape or a table on a terminal needs is loaded when the first of them is made."""
    code = (
        "import asyncio, sys\n"
        "from receiver.cli import main\n"
        "from receiver.settings import Settings\n"
        "main.get_command(None, 'serve')\n"
        "from receiver.app import Receiver\n"
        f"settings = Settings(database_url='sqlite:///{tmp_path}/receiver.db', secret_key='{'k' * 43}')\n"
        "receiver = Receiver(settings)\n"
        "async def start():\n"
        "    await receiver.start(worker=True)\n"
        "    asgi = receiver.asgi._made(receiver.running)\n"
        "    assert asgi.console is not None\n"
        "    loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "    await receiver.stop()\n"
        "    late = {'httpx', 'httpcore', 'prometheus_client', 'jinja2', 'sse_starlette', 'rich', 'cloudevents'}\n"
        "    assert not late & loaded, late & loaded\n"
        "asyncio.run(start())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=40, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_the_commands_are_those_of_the_design() -> None:
    """No command is missing, and none is there that nobody knows."""
    assert sorted(ALL) == sorted(
        [
            *(
                "serve",
                "worker",
                "demo",
                "simulate",
                "submit",
                "replay",
                "tail",
                "verify",
                "sign",
                "send",
                "doctor",
                "docs",
                "explain",
                "completions",
                "keygen",
            ),
            *(
                f"jobs {name}"
                for name in ("list", "show", "wait", "poll", "cancel", "resubmit", "link", "abandon", "files")
            ),
            *(f"callbacks {name}" for name in ("list", "show", "body", "reverify")),
            *(f"dead {name}" for name in ("list", "retry", "discard")),
            *(f"sinks {name}" for name in ("list", "check", "test")),
            *(f"handlers {name}" for name in ("list", "pause", "resume", "forget")),
            *(f"providers {name}" for name in ("list", "show", "check")),
            *(
                f"db {name}"
                for name in ("init", "migrate", "prune", "vacuum", "export", "copy", "backup", "reclaim")
            ),
            "alarms list",
            "config show",
        ]
    )


@pytest.mark.parametrize("name", ALL)
def test_every_command_explains_itself(name: str) -> None:
    """Each has a help text, help for each option, and --json; its errors become exit codes."""
    command = ALL[name]
    assert isinstance(command, Command)
    assert command.help
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert all(one.help for one in options)
    assert "--json" in [word for one in options for word in one.opts]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_commands_says_what_the_commands_say(name: str) -> None:
    """``receiver --help`` does not import a command to describe it, and still says the same."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.help is not None
    assert command.help.partition("\n")[0].rstrip(".:").startswith(COMMANDS[name][1].rstrip("."))


@pytest.mark.parametrize(
    "arguments",
    [
        ["brew"],
        ["jobs", "brew"],
        ["jobs", "list", "--state", "happy"],
        ["jobs", "list", "--since", "soon"],
        ["jobs", "list", "--limit", "0"],
        ["replay"],
        ["replay", "--failed", "--unreadable"],
        ["replay", "job_1", "--provider", "pulse"],
        ["replay", "job_1", "--to", "http://127.0.0.1", "--handler", "save"],
        ["dead", "retry"],
        ["dead", "discard", "--all", "--handler", "save"],
        ["db", "prune"],
        ["db", "prune", "--older-than", "3d"],
        ["verify", "pulse", "-", "-H", "no colon"],
        ["verify", "pulse", "-", "--at", "noon"],
        ["verify", "pulse", "-", "--key-env", "A", "--key-file", "B"],
        ["serve", "--port", "70000"],
        ["worker", "--host", "127.0.0.1"],
        ["handlers", "forget"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be meant is refused with exit code 2, before anything is opened."""
    monkeypatch.setenv("RECEIVER_DATABASE_URL", "brew://nowhere")
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_a_problem_is_that_of_the_api() -> None:
    """With --json an error has the form in which /v1 reports it."""
    error = RequestError("No.", code="no", field="name")
    assert json.loads(bytes(web_problem(error).body)) == problem(error)
