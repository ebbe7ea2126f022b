"""The codes in the source: which there are, and with which status and exit code the errors that carry them leave."""

from __future__ import annotations

import ast
import pkgutil
import re
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

import receiver
from receiver.cli.command import exit_code
from receiver.core.description.scheme import Scheme
from receiver.core.errors import ReceiverError
from receiver.raising import Away, Dead, Discard, Retry

from .generated import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Where codes are written without ``code=``: tables of guesses, notes of a move.
_BY_POSITION = tuple(
    f"{name}.py"
    for name in (
        "core/body/encoding",
        "core/job/transition",
        "core/signature/alteration",
        "core/signature/diagnosis",
        "core/signature/guess",
        "wire/near",
    )
)
_WORD = re.compile(r"[a-z]+(_[a-z]+)+")
_QUOTED = re.compile(r"""(?<=["'])\w+(?=["'])""")
_IN_SQL = re.compile(r"error_code = '(\w+)'")
_NO_CODES = {*Scheme.__struct_fields__, "header_token"}
#: What a handler raises never leaves by HTTP, nor ends a command.
_OF_HANDLERS = (Away, Dead, Discard, Retry)


def codes() -> set[str]:
    """Every code that is written out in the package."""
    return set(_literals()) | {name for name, _ in errors()}


def written() -> set[str]:
    """Every word that stands in quotes anywhere in the source."""
    return {word for text, _ in _sources().values() for word in _QUOTED.findall(text)}


def errors() -> Iterator[tuple[str, ReceiverError]]:
    """Every code with which an error is raised, and such an error."""
    kinds = _kinds()
    for kind in kinds.values():
        if not issubclass(kind, _OF_HANDLERS):
            yield kind.code, kind()
    for _, nodes in _sources().values():
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds:
                yield from ((code, kinds[node.func.id]()) for code in _given(node))


def leaving() -> dict[str, set[tuple[int, int]]]:
    """For each code the statuses and exit codes with which errors that carry it leave."""
    found: dict[str, set[tuple[int, int]]] = {}
    for name, error in errors():
        found.setdefault(name, set()).add((error.status, exit_code(error)))
    return found


def _literals() -> Iterator[str]:
    for path, (text, nodes) in _sources().items():
        yield from _IN_SQL.findall(text)
        by_position = str(path.relative_to(ROOT / "receiver")) in _BY_POSITION
        for node in nodes:
            if isinstance(node, ast.Call):
                yield from _given(node)
                yield from _logged(node)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(isinstance(one, ast.Name) and one.id == "code" for one in targets):
                    yield from _texts(node.value)
            elif by_position and isinstance(node, ast.Constant) and _looks_like_one(node.value):
                yield str(node.value)


def _logged(call: ast.Call) -> Iterator[str]:
    """The event that a call writes into the log, as a warning or worse."""
    written = isinstance(call.func, ast.Attribute) and call.func.attr in {"warning", "error", "exception"}
    first = call.args[0] if written and call.args else None
    if isinstance(first, ast.Constant) and _looks_like_one(first.value):
        yield str(first.value)


def _looks_like_one(value: object) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None and value not in _NO_CODES


def _given(call: ast.Call) -> Iterator[str]:
    for word in call.keywords:
        if word.arg == "code":
            yield from _texts(word.value)


def _texts(node: ast.expr | None) -> Iterator[str]:
    """The codes that *node* may be: a literal, or either side of a condition; one with a status in it as its family."""
    match node:
        case ast.Constant(value=str() as text) if text.isidentifier():
            yield text
        case ast.IfExp(body=body, orelse=other):
            yield from _texts(body)
            yield from _texts(other)
        case ast.JoinedStr(
            values=[
                ast.Constant(value=str() as start),
                ast.FormattedValue(value=ast.Attribute(attr="status")),
            ]
        ):
            yield f"{start}<status>"


@cache
def _sources() -> dict[Path, tuple[str, list[ast.AST]]]:
    """Every source file: its text, and all nodes of its tree."""
    found = {}
    for path in (ROOT / "receiver").rglob("*.py"):
        if "simulator" not in path.parts:
            text = path.read_text(encoding="utf-8")
            found[path] = text, list(ast.walk(ast.parse(text)))
    return found


@cache
def _kinds() -> dict[str, type[ReceiverError]]:
    """Every class of error, by name."""
    for module in pkgutil.walk_packages(receiver.__path__, "receiver."):
        if module.name != "receiver.__main__":
            import_module(module.name)
    found: dict[str, type[ReceiverError]] = {}
    waiting = [ReceiverError]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting += kind.__subclasses__()
    return found
