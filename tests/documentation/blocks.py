"""The code blocks of a document, and what each of them is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

from .generated import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Every document that a reader may copy from.
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "deploy/**/*.md", "receiver/**/*.md")
    for path in ROOT.glob(pattern)
)
#: What cannot be run here, and why. Such a block is read by bash, and its commands of ours by the command line.
ELSEWHERE = {
    r"docker ": "needs Docker",
    r"python3 -m venv": "installs a copy; .ci/run does it, in fresh ones",
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block: where it begins, in which language it is, and its text."""

    document: str
    line: int
    language: str
    text: str

    @property
    def elsewhere(self) -> str | None:
        """Why it cannot be run here; ``None`` where it can."""
        if self.document.startswith("deploy/"):
            return "needs an installation"
        return next(
            (why for what, why in ELSEWHERE.items() if re.search(rf"(?m)(^|[\s|$(;])({what})", self.text)),
            None,
        )

    def __str__(self) -> str:
        return f"{self.document}, line {self.line}"


def blocks(document: str) -> Iterator[Block]:
    """The blocks of *document*, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for token in MarkdownIt().parse(text):
        if token.type == "fence" and token.map is not None:
            yield Block(
                document=document, line=token.map[0] + 1, language=token.info.strip(), text=token.content
            )
