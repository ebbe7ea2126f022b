"""The prose of the project is British, in documents, comments, docstrings and pages; names in code are as they are."""

from __future__ import annotations

import io
import re
import tokenize
from typing import TYPE_CHECKING

import pytest

from .generated import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_STEMS = "recogn|organ|normal|initial|summar|optim|priorit|minim|maxim|synchron|emphas|real|special|util"
#: American → British. The state ``canceled``, and words of other people's interfaces, stand in code, not in prose.
SPELLINGS = {
    r"behavior(s|al)?": "behaviour",
    r"colors?|colored": "colour",
    r"favors?|favored|favorite": "favour",
    r"honors?|honored": "honour",
    r"neighbors?|neighboring": "neighbour",
    rf"({_STEMS})iz(e|es|ed|ing|ation)": "-ise",
    r"analyz(e|es|ed|ing)": "analyse",
    r"centers?|centered": "centre",
    r"defense": "defence",
    r"(?-i:licenses?)": "licence",
    r"canceling|cancelation": "cancelling",
    r"labeled|labeling": "labelled",
    r"modeled|modeling": "modelled",
    r"signaled|signaling": "signalled",
    r"traveled|traveling": "travelled",
    r"fulfill(s|ment)?": "fulfil",
    r"gray": "grey",
    r"judgment": "judgement",
    r"artifacts?": "artefact",
}
_AMERICAN = re.compile(rf"(?i)(?<![\w./_-])({'|'.join(SPELLINGS)})(?![\w/_-]|\.[a-z])")
#: What is quoted from code, or is code.
_CODE = re.compile(
    r"(?s)```.*?```|``[^`]*``|`[^`]*`|\]\([^)]*\)|https?://\S+|\"[^\"\n]*\"|'[^'\n]*'|\{\{.*?\}\}|\{%.*?%\}|<[^>]*>"
)


def prose(path: Path) -> str:
    """What is written for people in a file, without the code in it; line breaks stay."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        kept = [""] * (text.count("\n") + 2)
        before = tokenize.NEWLINE
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            docstring = token.type == tokenize.STRING and before in {
                *(tokenize.NEWLINE, tokenize.INDENT, tokenize.NL, tokenize.DEDENT),
            }
            if token.type == tokenize.COMMENT or docstring:
                for place, line in enumerate(token.string.split("\n"), start=token.start[0]):
                    kept[place] += " " + line.strip("\"'#: ")
            if token.type not in {tokenize.COMMENT, tokenize.NL}:
                before = token.type
        text = "\n".join(kept[1:])
    elif path.suffix == ".toml":
        text = "\n".join(
            re.sub(r'^\w+ = "(.*)"$', r"\1", line) for line in text.split("\n") if "example =" not in line
        )
    return _CODE.sub(lambda found: "\n" * found[0].count("\n"), text)


_PATTERNS = ("*.md", "deploy/**/*.md", "receiver/**/*.md", "receiver/**/*.py", "receiver/docs/codes/*.toml")
FILES = sorted(path for pattern in _PATTERNS for path in ROOT.glob(pattern))


@pytest.mark.parametrize("room", sorted({path.relative_to(ROOT).parts[0] for path in FILES}))
def test_prose_is_british(room: str) -> None:
    """One spelling of each word in everything that people read."""
    found = []
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == room:
            for number, line in enumerate(prose(path).split("\n"), start=1):
                found += [
                    f"{path.relative_to(ROOT)}:{number}: {word[0]}" for word in _AMERICAN.finditer(line)
                ]
    assert not found, "\n".join(found)
