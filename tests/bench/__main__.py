"""``python -m tests.bench [--json] [NAME…]``: run the benchmarks whose figures begin with NAME."""

import argparse
import json
import platform
import sys

from . import verification


def main() -> int:
    """Measure, print, and say whether every target was reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = [
        figure
        for figure in verification.figures()
        if not given.names or any(figure.name.startswith(name) for name in given.names)
    ]
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    if given.json:
        document = {
            "machine": machine,
            "figures": [{"name": one.name, "ratio": one.ratio, "runs": one.runs} for one in figures],
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write(f"{machine}\n")
        for one in figures:
            sign, word = "≤" if one.at_most else "≥", "reached" if one.reached else "MISSED"
            sys.stdout.write(f"{one.name:24} {one.ratio:6.2f}  target {sign} {one.target}  {word}\n")
    return 0 if all(one.reached for one in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
