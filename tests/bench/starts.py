"""Latencies: how long a sender waits for its answer, and how soon after it the handler starts."""

import statistics
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from . import runs
from .bench import CONNECTIONS, Bench
from .figure import Figure
from .generator import Order
from .load import WrongError, drive
from .servers import serving

#: Callbacks a second that count as idle, and as loaded.
_IDLE: Final = 25.0
_LOADED: Final = 1000.0


def ack(bench: Bench) -> Figure:
    """The slowest hundredth of the answers at half of the load that can be borne."""
    peak = statistics.median(runs.ingest(bench)["ingest"] for _ in range(3))
    found = []
    for _ in range(bench.rounds):
        with bench.room() as folder, serving(folder, bench.stock.copy(folder)) as server:
            tally = drive(
                Order(
                    port=server.port,
                    file=str(bench.stock.genuine),
                    connections=CONNECTIONS,
                    expect=200,
                    warm_up=bench.warm_up,
                    seconds=bench.seconds,
                    rate=peak / 2,
                )
            )
            found.append(tally)
    return Figure(
        name="ack-p99-ms",
        target=25,
        at_most=True,
        runs=[one.p99_ms for one in found],
        seen={"load/s": peak / 2, "p50 ms": statistics.median(one.p50_ms for one in found)},
    )


def idle(bench: Bench) -> list[Figure]:
    """From the answer to the handler's start, when there is nothing else to do."""
    waits = [_waits(bench, rate=_IDLE, count=100, connections=1) for _ in range(bench.rounds)]
    return [
        Figure(
            name="handler-start-idle-p50-ms", target=2, at_most=True, runs=[_at(one, 0.50) for one in waits]
        ),
        Figure(
            name="handler-start-idle-p99-ms", target=10, at_most=True, runs=[_at(one, 0.99) for one in waits]
        ),
    ]


def loaded(bench: Bench) -> Figure:
    """The same under a thousand callbacks a second."""
    waits = [
        _waits(bench, rate=_LOADED, count=int(_LOADED * bench.seconds), connections=CONNECTIONS)
        for _ in range(bench.rounds)
    ]
    return Figure(
        name="handler-start-loaded-p99-ms",
        target=100,
        at_most=True,
        runs=[_at(one, 0.99) for one in waits],
        seen={"p50 ms": statistics.median(_at(one, 0.50) for one in waits)},
    )


def _waits(bench: Bench, *, rate: float, count: int, connections: int) -> list[float]:
    """Milliseconds from each answer to the start of its handler."""
    with bench.room() as folder:
        environ = bench.stock.copy(folder) | {"BENCH_BEGUN": str(folder / "begun")}
        with serving(folder, environ, worker=True) as server:
            order = Order(
                port=server.port,
                file=str(bench.stock.genuine),
                connections=connections,
                expect=200,
                count=count,
                rate=rate,
                times=str(folder / "times"),
            )
            tally = drive(order)
            runs.handled(folder / "receiver.db", began=0, expected=tally.right)
        begun = _begun(folder / "begun")
        answered = _answered(folder / "times", tally.sent)
    if len(begun) != tally.right:
        raise WrongError(f"{tally.right} callbacks were acknowledged and {len(begun)} handlers ran")
    # A handler may even start before the sender has its answer: both follow the same commit.
    return sorted(
        max(begun[job] - at, 0) / 1e6 for job, at in zip(bench.stock.ids[:count], answered, strict=True)
    )


def _begun(path: Path) -> Mapping[str, int]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {job: int(at) for job, at in (line.split() for line in lines)}


def _answered(path: Path, count: int) -> "array[int]":
    times: array[int] = array("q")
    times.frombytes(path.read_bytes())
    return times[count:]


def _at(waits: list[float], share: float) -> float:
    return waits[min(int(len(waits) * share), len(waits) - 1)]
