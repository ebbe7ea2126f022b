"""Write what is generated into the documents, or (without ``--write``) say which of them are out of date."""

from __future__ import annotations

import sys

from .generated import ROOT, documents

WRITE = "python -m tests.documentation --write"


def outdated() -> dict[str, str]:
    """The documents whose generated parts are not as the code is, with what they should hold."""
    wanted = documents()
    return {name: text for name, text in wanted.items() if (ROOT / name).read_text(encoding="utf-8") != text}


def main() -> int:
    """Write or check; the exit code."""
    stale = outdated()
    if "--write" not in sys.argv[1:]:
        sys.stdout.writelines(f"{name} is out of date; run: {WRITE}\n" for name in stale)
        return 1 if stale else 0
    for name, text in stale.items():
        (ROOT / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"written: {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
