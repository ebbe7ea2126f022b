"""The commands, as they describe themselves."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import click

from receiver.cli import COMMANDS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands() -> str:
    """Every command with its usage, what it does, and its options."""
    table = "\n".join(
        f"| [`receiver {name}`](#{_anchor(name)}) | {says} |" for name, (_, says) in COMMANDS.items()
    )
    text = [f"| command | does |\n| --- | --- |\n{table}\n"]
    for name in COMMANDS:
        for path, command in below(cli, (name,)):
            text.append(_described(path, command))
    return "\n".join(text)


def below(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """The command at *path*, and if it is a group all of it."""
    command = group.get_command(click.Context(group), path[-1])
    assert command is not None
    yield " ".join(path), command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from below(command, (*path, name))


def _described(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"receiver {path}")
    mark = "##" if " " not in path else "###"
    lines = [f"{mark} `receiver {path}`\n", f"{inspect.cleandoc(command.help or '')}\n"]
    if isinstance(command, click.Group):
        return "\n".join(lines)
    pieces = " ".join(command.collect_usage_pieces(context))
    lines.append(f"Usage: `receiver {path} {pieces}`\n")
    for one in command.params:
        record = one.get_help_record(context)
        if record is not None and one.name != "as_json":
            lines.append(f"- `{record[0]}`: {record[1]}")
    return "\n".join(lines).rstrip() + "\n"


def _anchor(name: str) -> str:
    return f"receiver-{name}"
