"""What a package of npm says in its typings and scripts: the words that a name lists, and the texts that may be paths.

The files are read as text. So nothing of the package is run, and no other language has to be there to read it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from receiver.core.model import Value

_TEXT: Final = r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`"""
_TEXTS: Final = re.compile(_TEXT, re.DOTALL)
_COMMENTS: Final = re.compile(rf"({_TEXT})|/\*.*?\*/|//[^\n]*", re.DOTALL)
_FILLED: Final = re.compile(r"\$\{[^{}]*\}")
#: What a declaration without braces ends before.
_NEXT: Final = r"\n(?=\s*(?:export|declare|type|interface|enum|const|let|function|class|import)\b)|;"
_MARKS: Final = re.compile(rf"{_TEXT}|[{{}}()\[\]]|{_NEXT}", re.DOTALL)
#: What a member of a type ends before.
_ENDS: Final = re.compile(rf"{_TEXT}|[{{}}()\[\];,]|\n(?!\s*\|)", re.DOTALL)
_DEPTHS: Final = {"{": 1, "[": 1, "(": 1, "}": -1, "]": -1, ")": -1}


class Unpacked(Value, frozen=True, kw_only=True):
    """A package of npm that lies in a folder."""

    name: str
    version: str
    folder: str

    def locate_file(self, path: str) -> Path:
        """Where a file of it is."""
        return Path(self.folder) / path


def unpacked(package: str, places: Iterator[Path]) -> Unpacked | None:
    """The package of that name in the first of *places*, each a folder of packages, that has it."""
    for place in places:
        folder = place / package
        try:
            version = json.loads((folder / "package.json").read_bytes())["version"]
        except (OSError, ValueError, KeyError):
            continue
        return Unpacked(name=package, version=str(version), folder=str(folder))
    return None


def modules(folder: Path) -> Iterator[Path]:
    """Where packages are that are installed for what is in *folder*, the nearest first."""
    return (one / "node_modules" for one in (folder, *folder.parents))


def words_in(source: str, name: str) -> set[str]:
    """The words that *name* lists: a type, an enumeration, a constant, or a member of a class (``*``: of every one)."""
    text = _COMMENTS.sub(lambda found: found[1] or " ", source)
    owner, _, member = name.rpartition(".")
    named = r"\w+" if owner == "*" else re.escape(owner or name)
    head = rf"\b(?:interface|class|type|enum|const)\s+{named}\b"
    words: set[str] = set()
    for found in re.finditer(head, text):
        declared = _declared(text[found.end() :])
        if not owner:
            words |= set(texts_in(declared.partition("=")[2] if "=" in declared else declared))
            continue
        for place in re.finditer(rf"[\s{{;,]{re.escape(member)}\??\s*:", declared):
            words |= set(texts_in(_value(declared[place.end() :])))
    return words


def texts_in(source: str) -> list[str]:
    """Every text in *source*; what is filled in is written ``{}``."""
    return [_FILLED.sub("{}", one[1:-1]) for one in _TEXTS.findall(source)]


def scripts_texts(source: str) -> list[str]:
    """Every text of a script, comments left out."""
    return texts_in(_COMMENTS.sub(lambda found: found[1] or " ", source))


def _declared(text: str) -> str:
    """What a declaration says: between its braces, or up to its end."""
    depth, braced = 0, text.partition("=")[0].count("{") > 0
    for found in _MARKS.finditer(text):
        depth += _DEPTHS.get(found[0], 0)
        if depth == 0 and (found[0] == "}" if braced else found[0] == ";" or found[0].startswith("\n")):
            return text[: found.end()]
    return text


def _value(text: str) -> str:
    """The type of a member, up to the next one."""
    depth = 0
    for found in _ENDS.finditer(text):
        if depth == 0 and found[0] in {";", ",", "\n", "}"}:
            return text[: found.start()]
        depth += _DEPTHS.get(found[0], 0)
    return text
