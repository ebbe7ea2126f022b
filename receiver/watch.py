"""The watch: whether a description still says what its vendor's own package says.

The package's files are read, never imported: what is compared are the words in its types and the paths in its texts.
A word that the package has and the description does not leaves jobs running until their deadline; the other way round
it does no harm, and is only noted.
"""

import ast
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from typing import Final, Protocol

from receiver import typings
from receiver.core.description.provider import Provider
from receiver.core.description.sdk import Sdk, Words
from receiver.core.errors import RequestError
from receiver.core.model import Value

_PLACEHOLDER: Final = re.compile(r"\{[^{}]*\}")
_OPEN: Final = "{}"
#: What says where an address leads, and not what is asked there.
_FRONT: Final = re.compile(r"\A(?:https://[^/]+|\{setting:[^{}]*\})")


class Package(Protocol):
    """Files of a vendor's, wherever they are."""

    @property
    def name(self) -> str:
        """As its registry calls it."""
        ...

    @property
    def version(self) -> str:
        """Which version it is."""
        ...

    def locate_file(self, path: str) -> object:
        """Where a file of it is."""
        ...


class Compared(Value, frozen=True, kw_only=True):
    """What came out of comparing a description with one package."""

    package: str
    #: The version that was read.
    version: str
    #: What the description lacks or has wrong, in sentences.
    problems: tuple[str, ...] = ()
    #: What the package does not know, in sentences.
    notes: tuple[str, ...] = ()


def compare(provider: Provider, sdk: Sdk, *, folder: Path | None = None) -> Compared:
    """Compare *provider* with the package that is installed, or that lies in *folder*.

    Raises:
        RequestError: the package is not there (code ``sdk_missing``).
    """
    found = _installed(sdk, folder)
    problems: list[str] = []
    known: dict[str, set[str]] = {}
    for words in sdk.words:
        known.setdefault(words.shape, set()).update(_compare_words(provider, words, found, problems))
    notes = [
        f"shapes.{shape} has {', '.join(map(repr, unlisted))}, which the package does not know"
        for shape, theirs in known.items()
        if theirs and (unlisted := sorted(set(provider.shapes[shape].states) - theirs))
    ]
    if sdk.paths:
        texts = [text for file in sdk.paths for text in _paths(file, _source(found, file, problems))]
        problems += [
            f"{url} is none of the paths in {', '.join(sdk.paths)}"
            for url in dict.fromkeys(provider.addresses)
            if url not in sdk.ignore and not any(_fits(_segments(url), one) for one in texts)
        ]
    return Compared(package=sdk.package, version=found.version, problems=tuple(problems), notes=tuple(notes))


def words_in(source: str, name: str) -> set[str]:
    """The words that *name* lists in the Python text *source*: of an annotation, an alias or an enumeration."""
    tree = ast.parse(source)
    owner, _, member = name.rpartition(".")
    words: set[str] = set()
    for node in ast.walk(tree):
        if owner:
            if isinstance(node, ast.ClassDef) and owner in {node.name, "*"}:
                words |= {word for one in _members(node, member) for word in _literals(one)}
        elif isinstance(node, ast.ClassDef) and node.name == name:
            words |= {word for one in node.body if isinstance(one, ast.Assign) for word in _texts(one.value)}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                words |= set(_literals(node.value) or _texts(node.value))
    return words


def _compare_words(provider: Provider, words: Words, found: Package, problems: list[str]) -> set[str]:
    """The words that the package has in one place; what the description lacks of them is added to *problems*."""
    shape = provider.shapes.get(words.shape)
    if shape is None:
        problems.append(f"sdk names shapes.{words.shape}, which is not described")
        return set()
    file, _, name = words.at.partition(":")
    source = _source(found, file, problems)
    match file.rpartition(".")[2]:
        case "gz":
            theirs = _model_words(source, name)
        case "py":
            theirs = words_in(source, name)
        case _:
            theirs = typings.words_in(source, name)
    if not theirs:
        problems.append(f"{words.at} lists no words any more")
    ours, about = set(shape.states), shape.about
    problems += [
        f"shapes.{words.shape} does not know {word!r}, which {words.at} has"
        for word in sorted(theirs - ours)
        if not any(fnmatchcase(word, one) for one in words.ignore)
        # An event that is told apart by another key is known, if it is one of those that count.
        and not (about is not None and not ours and about.concerns(word))
    ]
    return theirs


def _installed(sdk: Sdk, folder: Path | None) -> Package:
    if sdk.registry == "pypi":
        return _distribution(sdk.package, folder)
    places = iter([folder / "npm"]) if folder is not None else typings.modules(Path.cwd())
    found = typings.unpacked(sdk.package, places)
    if found is None:
        raise RequestError(
            f"The package {sdk.package} of npm is in no node_modules of this folder or of those above it; install it "
            f"there: npm install --ignore-scripts {sdk.package}",
            code="sdk_missing",
        )
    return found


def _distribution(package: str, folder: Path | None) -> Distribution:
    if folder is None:
        try:
            return Distribution.from_name(package)
        except PackageNotFoundError:
            pass
    else:
        for one in Distribution.discover(name=package, path=[str(folder)]):
            return one
    raise RequestError(
        f"The package {package} is not installed here; install it beside the receiver: pip install {package}",
        code="sdk_missing",
    )


def _source(found: Package, file: str, problems: list[str]) -> str:
    try:
        raw = Path(str(found.locate_file(file))).read_bytes()
        return (gzip.decompress(raw) if file.endswith(".gz") else raw).decode()
    except OSError:
        problems.append(f"{file} is not in {found.name} {found.version} any more")
        return ""


def _model_words(source: str, name: str) -> set[str]:
    """The words of an enumeration in one of Amazon's service models."""
    shapes = json.loads(source or "{}").get("shapes", {})
    return set(shapes.get(name, {}).get("enum", ()))


def _members(node: ast.ClassDef, name: str) -> Iterator[ast.expr]:
    for one in node.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.target.id == name:
            yield one.annotation


def _literals(node: ast.AST) -> list[str]:
    """The texts inside every ``Literal[…]`` of an annotation."""
    return [
        text
        for one in ast.walk(node)
        if isinstance(one, ast.Subscript) and ast.unparse(one.value).rpartition(".")[2] == "Literal"
        for text in _texts(one.slice)
    ]


def _texts(node: ast.AST) -> list[str]:
    return [
        one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]


def _paths(file: str, source: str) -> Iterator[list[str]]:
    """The texts that may be paths, in segments; what is filled in is left open."""
    for text in _python_texts(source) if file.endswith(".py") else typings.scripts_texts(source):
        segments = text.partition("?")[0].strip("/").split("/")
        # What a package fills in at the front is its base address.
        while segments and segments[0] == _OPEN:
            del segments[0]
        # A word by itself is in any sentence; a path has a stroke.
        if "/" in text and any(one and _OPEN not in one for one in segments):
            yield segments


def _python_texts(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if node in parts:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield _PLACEHOLDER.sub(_OPEN, node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else _OPEN for part in node.values
            )


def _segments(url: str) -> list[str]:
    return _PLACEHOLDER.sub(_OPEN, _FRONT.sub("", url)).partition("?")[0].strip("/").split("/")


def _fits(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether *theirs* is how *ours* ends: a package's base address may hold the beginning.

    One segment at least is written out in both: else the one's blanks fit the other's words, and any path any other.
    """
    if len(theirs) > len(ours):
        return False
    pairs = list(zip(ours[-len(theirs) :], theirs, strict=True))
    return all(one == other or _OPEN in one or _OPEN in other for one, other in pairs) and any(
        one == other and one and _OPEN not in one for one, other in pairs
    )
