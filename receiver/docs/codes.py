"""The registry of codes: what each means, why it happens, what to do next, and an example.

A code is one table in one file of ``codes/``; the file says where such codes are met::

    [job_ended]
    means = "The job has ended already."
    why = "Only a job that is still open can be cancelled."
    next = "Look at how it ended."
    example = "receiver jobs show job_01a1fc955f4d"   # a command, or a line as it would be written
    status = 409                                      # of the answer of /v1, where a request can fail with it
    exit = 1                                          # of a command that ends with it
    also = ["job"]                                    # further places where it is met

``["status_<status>"]`` is a family: it stands for every HTTP status; ``["<Exception>"]`` for every class name.
"""

import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final

import msgspec

from receiver.core.errors import NotFoundError
from receiver.core.model import Value
from receiver.docs import nearest

#: Where codes are met: the names of the files.
PLACES: Final = ("alarm", "callback", "diagnosis", "job", "log", "request", "setup")
#: What the variable parts of families look like.
_VARIABLES: Final = {"<status>": "[1-5][0-9]{2}", "<Exception>": "[A-Z][A-Za-z0-9_]*"}


class Code(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One code, or a family of them."""

    name: str
    #: Where it is met, the main place first.
    places: tuple[str, ...]
    means: str
    why: str
    next: str
    example: str
    status: int | None = None
    exit: int | None = None

    def matches(self, word: str) -> bool:
        """Whether it is the code *word*, or the family that *word* belongs to."""
        if "<" not in self.name:
            return self.name == word
        pattern = re.escape(self.name)
        for variable, looks in _VARIABLES.items():
            pattern = pattern.replace(re.escape(variable), looks)
        return re.fullmatch(pattern, word) is not None


class Group(Value, frozen=True, kw_only=True):
    """The codes that are met in one place."""

    place: str
    title: str
    intro: str
    codes: tuple[Code, ...]


def groups() -> list[Group]:
    """All codes, by place; raises msgspec.ValidationError where the registry is not as it must be."""
    return [_group(place) for place in PLACES]


def explain(word: str) -> Code:
    """What the code *word* stands for; raises NotFoundError that names the nearest codes."""
    found = list(_all())
    for code in found:
        if code.matches(word):
            return code
    raise NotFoundError(
        f"There is no code {word!r}. {nearest(word, (code.name for code in found))}'receiver docs codes' lists all.",
        code="code_unknown",
    )


def _all() -> Iterator[Code]:
    for group in groups():
        yield from group.codes


def _group(place: str) -> Group:
    document: dict[str, Any] = tomllib.loads(
        (files(__package__) / "codes" / f"{place}.toml").read_text("utf-8")
    )
    title, intro = document.pop("title"), document.pop("intro").strip()
    codes = tuple(
        msgspec.convert({"name": name, "places": (place, *entry.pop("also", ())), **entry}, Code)
        for name, entry in document.items()
    )
    return Group(place=place, title=title, intro=intro, codes=codes)
