"""The documentation: one Markdown file a topic, and ``codes/``, the registry of codes.

``receiver docs`` and ``receiver explain`` show it without a network. A topic is a file in this folder and nothing
more; what stands between ``<!-- generated: … -->`` and ``<!-- end -->`` is written by
``python -m tests.documentation --write`` from the code that knows it.
"""

import difflib
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Final

from receiver.core.errors import NotFoundError
from receiver.core.model import Value

_SUFFIX: Final = ".md"
#: Topics that live beside what they are about.
_ELSEWHERE: Final = {"descriptions": ("receiver.providers", "README.md")}
_COMMENT: Final = re.compile(r"(?s)<!--.*?-->\n?")
_TITLE: Final = re.compile(r"(?m)^# (.+)$")
_MOST_NEAR: Final = 3


class Topic(Value, frozen=True, kw_only=True):
    """One document."""

    name: str
    title: str
    #: Markdown, as it is shown.
    text: str

    @property
    def about(self) -> str:
        """What it answers: its title without its name."""
        return self.title.partition(": ")[2] or self.title


def topics() -> dict[str, Topic]:
    """Every document, by name."""
    own = {
        file.name.removesuffix(_SUFFIX): file.read_text("utf-8")
        for file in files(__name__).iterdir()
        if file.name.endswith(_SUFFIX)
    }
    own |= {name: (files(room) / file).read_text("utf-8") for name, (room, file) in _ELSEWHERE.items()}
    return {name: _topic(name, own[name]) for name in sorted(own)}


def topic(name: str) -> Topic:
    """The document called *name*; raises NotFoundError that names the nearest."""
    found = topics()
    if name not in found:
        raise NotFoundError(
            f"There is no topic {name!r}. {nearest(name, found)}'receiver docs' lists all.",
            code="topic_unknown",
        )
    return found[name]


def nearest(word: str, known: Iterable[str]) -> str:
    """``Nearest: a, b. ``, for a sentence about a *word* that is not *known*; empty where nothing is like it."""
    near = difflib.get_close_matches(word.lower(), sorted(known), n=_MOST_NEAR, cutoff=0.5)
    return f"Nearest: {', '.join(near)}. " if near else ""


def _topic(name: str, text: str) -> Topic:
    title = _TITLE.search(text)
    return Topic(name=name, title=title[1] if title else name, text=_COMMENT.sub("", text))
