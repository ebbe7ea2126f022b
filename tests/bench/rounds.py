"""Ratios: everything that is compared runs in turn, and each round is compared within itself."""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from receiver.core.model import Value

from . import large, runs
from .bench import Bench
from .figure import Figure, UnmeasuredError


class Ratio(Value, frozen=True, kw_only=True):
    """A rate over another one."""

    name: str
    above: str
    below: str
    target: float
    usual: float | None = None
    short: bool = False


RATIOS: Final = (
    # The instrument: what it can send must be more than anything that is measured takes.
    Ratio(name="generator/bare", above="ceiling", below="bare", target=1.3, short=True),
    # The least that is durable on this stack, and the least that keeps this record: no receiver can be above it.
    Ratio(name="floor/bare", above="floor-body", below="bare", target=0.0),
    Ratio(name="floor-record/bare", above="floor-record", below="bare", target=0.0),
    Ratio(name="floor-decided/bare", above="floor-decided", below="bare", target=0.0),
    Ratio(name="floor-bounded/bare", above="floor-bounded", below="bare", target=0.0),
    Ratio(name="floor-handled/bare", above="floor-handled", below="bare", target=0.0),
    Ratio(name="floor-duplicate/floor", above="floor-duplicate", below="floor-first", target=0.0),
    Ratio(name="ingest/bare", above="ingest", below="bare", target=0.70, usual=0.22, short=True),
    Ratio(
        name="ingest-with-handlers/bare",
        above="with-handlers",
        below="bare",
        target=0.50,
        usual=0.16,
        short=True,
    ),
    # The processor time of each is what counts here: "ingest-1 us".
    Ratio(name="one-at-a-time/bare", above="ingest-1", below="bare-1", target=0.0, short=True),
    Ratio(name="eight-at-a-time/bare", above="ingest-8", below="bare-8", target=0.0),
    Ratio(name="ingest/fastapi", above="ingest", below="fastapi", target=12),
    Ratio(name="floor-bounded/fastapi", above="floor-bounded", below="fastapi", target=0.0),
    Ratio(name="ingest/floor-bounded", above="ingest", below="floor-bounded", target=0.0),
    Ratio(name="ingest/node", above="ingest", below="node", target=1),
    # The same record in a compiled language: no aim, but how far from it we are should be known.
    Ratio(name="ingest/go", above="ingest", below="go", target=0.0),
    Ratio(name="forged-token/bare", above="forged-token", below="bare", target=1.5, short=True),
    Ratio(name="forged-signature/bare", above="forged-signature", below="bare", target=0.9, short=True),
    Ratio(name="duplicate/ingest", above="duplicate", below="first", target=1.2, short=True),
    Ratio(name="replay/ingest", above="replay", below="before-replay", target=1),
    *(
        Ratio(name=f"{ours}/bare", above=ours, below=theirs, target=0.0)
        for ours, theirs in (large.names(size, kind) for size in large.SIZES for kind in large.KINDS)
    ),
)
#: Which run brings which rates; in this order they take their turns.
_RUNS: Final[Mapping[Callable[[Bench], Mapping[str, float]], tuple[str, ...]]] = {
    runs.ceiling: ("ceiling",),
    runs.bare: ("bare",),
    runs.floor_body: ("floor-body",),
    runs.floor_record: ("floor-record",),
    runs.floor_decided: ("floor-decided",),
    runs.floor_bounded: ("floor-bounded",),
    runs.floor_handled: ("floor-handled",),
    runs.floor_twice: ("floor-first", "floor-duplicate"),
    runs.ingest: ("ingest",),
    runs.one_at_a_time: ("bare-1", "ingest-1"),
    runs.eight_at_a_time: ("bare-8", "ingest-8"),
    runs.with_handlers: ("with-handlers",),
    runs.forged_token: ("forged-token",),
    runs.forged_signature: ("forged-signature",),
    runs.duplicates: ("first", "duplicate"),
    runs.replays: ("before-replay", "replay"),
    runs.fastapi: ("fastapi",),
    runs.node: ("node",),
    runs.go: ("go",),
    **large.runs(),
}


def figures(bench: Bench, ratios: Sequence[Ratio]) -> list[Figure]:
    """Measure all that *ratios* need, in turn, round after round."""
    wanted = {name for one in ratios for name in (one.above, one.below)}
    turns = [run for run, names in _RUNS.items() if wanted.intersection(names)]
    missing: dict[str, str] = {}
    rounds: list[dict[str, float]] = []
    seen: dict[str, list[float]] = {}
    for _ in range(bench.rounds):
        values: dict[str, float] = {}
        for run in turns:
            if any(name in missing for name in _RUNS[run]):
                continue
            try:
                values |= run(bench)
            except UnmeasuredError as error:
                missing |= dict.fromkeys(_RUNS[run], str(error))
        rounds.append(values)
        for name, value in values.items():
            seen.setdefault(name, []).append(value)
        sys.stderr.write(", ".join(f"{name} {value:.0f}" for name, value in values.items()) + "\n")
    return [_figure(one, rounds, missing, seen) for one in ratios]


def _figure(
    ratio: Ratio,
    rounds: Sequence[Mapping[str, float]],
    missing: Mapping[str, str],
    seen: Mapping[str, Sequence[float]],
) -> Figure:
    names = (ratio.above, ratio.below)
    return Figure(
        name=ratio.name,
        target=ratio.target,
        usual=ratio.usual,
        at_most=False,
        runs=[values[ratio.above] / values[ratio.below] for values in rounds if values.keys() >= {*names}],
        unmeasured=next((missing[name] for name in names if name in missing), ""),
        seen={
            label: statistics.median(seen[key])
            for name in names
            for label, key in ((f"{name}/s", name), (f"{name} us", f"{name} us"))
            if key in seen
        },
    )
