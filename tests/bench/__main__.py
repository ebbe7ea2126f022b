"""``python -m tests.bench [NAME…]``: run the benchmarks whose figures begin with NAME.

A full run exits with 0 where every target is reached. ``--short`` takes the figures that are quick to measure, in
fewer rounds, and fails only where one is worse than half its target. A figure that cannot be measured here is no
failure; a server that answers wrongly, or loses what it acknowledged, is.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import machine, plan, plot
from .bench import Bench
from .figure import Figure

#: How many times worse than its target a figure of a short run may be: its rounds are few and the machine is shared.
_SLACK = 2.0


def main() -> int:
    """Measure, print, and say whether every target was reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="figures whose names begin so; all if left out"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--short", action="store_true", help="fewer figures and rounds, and more lenience")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw throughput and latency instead")
    given = parser.parse_args()
    # Told to stop, it still ends its servers and deletes its databases.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="receiver-bench-"))
    try:
        described = machine.described(folder)
        bench = Bench(folder, short=given.short)
        if given.plot is not None:
            given.plot.write_text(plot.drawn(plot.points(bench), described), encoding="utf-8")
            return 0
        if not given.json:
            _say(described)
        figures = []
        for part in plan.chosen(given.names, short=given.short):
            for one in plan.measured(part, bench):
                figures.append(one)
                if not given.json:
                    _say(_line(one))
    finally:
        shutil.rmtree(folder)
    if given.json:
        _say(json.dumps({"machine": described, "figures": _documents(figures)}, indent=2))
    slack = _SLACK if given.short else 1.0
    return 0 if all(one.within(slack) for one in figures) else 1


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _line(one: Figure) -> str:
    if one.unmeasured:
        return f"{one.name:28} {'BROKEN' if one.broken else 'not measured'}: {' '.join(one.unmeasured.split())[:300]}"
    sign, word = "≤" if one.at_most else "≥", "reached" if one.reached else "MISSED"
    spread = f"{min(one.runs):.3g} to {max(one.runs):.3g}"
    seen = ", ".join(f"{name} {value:.4g}" for name, value in one.seen.items())
    return (
        f"{one.name:28} {one.ratio:8.2f}  target {sign} {one.target:<5g} {word:8} ({spread}) {seen}".rstrip()
    )


def _documents(figures: Sequence[Figure]) -> list[dict[str, object]]:
    return [
        {"name": one.name, "not_measured": one.unmeasured}
        if one.unmeasured
        else {
            "name": one.name,
            "ratio": one.ratio,
            "target": one.target,
            "at_most": one.at_most,
            "reached": one.reached,
            "runs": one.runs,
            "seen": one.seen,
        }
        for one in figures
    ]


if __name__ == "__main__":
    sys.exit(main())
