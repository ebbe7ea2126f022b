"""A drawing for the README: how many callbacks a second, and how long a sender waits, by number of connections."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from math import log10
from pathlib import Path
from typing import Final

from . import runs
from .bench import Bench
from .figure import UnmeasuredError
from .generator import Tally
from .servers import Server, script, serving

_CONNECTIONS: Final = (1, 64, 256)
_ROUNDS: Final = 3
#: Wide colours that stand out from white and from black.
_COLOURS: Final = {
    "Starlette, stores nothing": "#8b949e",
    "receiver": "#2f81f7",
    "Node, Fastify": "#3fa45b",
    "FastAPI, SQLAlchemy": "#d9822b",
}
_WIDTH, _HEIGHT, _TOP, _LEFT = 860, 400, 92, 16
_PANEL, _BAR = 400, 12
_STYLE: Final = (
    "<style>text{fill:#1f2328}.dim{fill:#59636e}.line{stroke:#59636e;stroke-opacity:.35}"
    "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.dim{fill:#9198a1}.line{stroke:#9198a1}}</style>"
)
Points = Mapping[str, Mapping[int, Tally]]


def points(bench: Bench) -> Points:
    """Measure every server at every number of connections, in turn; the middle of the rounds."""
    measured: dict[str, dict[int, list[Tally]]] = {}
    for _ in range(_ROUNDS):
        for connections in _CONNECTIONS:
            for name, start in _servers(bench).items():
                with bench.room() as folder:
                    try:
                        server = start(folder)
                    except UnmeasuredError:
                        continue
                    with server as started:
                        tally = bench.load(started, bench.stock.genuine, connections=connections)
                    measured.setdefault(name, {}).setdefault(connections, []).append(tally)
    return {
        name: {connections: _middle(several) for connections, several in found.items()}
        for name, found in measured.items()
    }


def drawn(found: Points, machine: str) -> str:
    """The drawing as SVG."""
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">'
    )
    parts = [
        opening,
        "<title>Callbacks a second, and how long their senders wait, by number of connections</title>",
        _STYLE,
        *_legend(found),
        *_throughput(found, left=_LEFT),
        *_latency(found, left=_LEFT + _PANEL + 28),
        _text(_LEFT, _HEIGHT - 10, machine.partition(";")[0], kind="dim", size=10),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _servers(bench: Bench) -> dict[str, Callable[[Path], AbstractContextManager[Server]]]:
    return {
        "Starlette, stores nothing": lambda folder: script("bare.py", folder=folder),
        "receiver": lambda folder: serving(folder, bench.stock.copy(folder)),
        "Node, Fastify": runs.node_server,
        "FastAPI, SQLAlchemy": runs.fastapi_server,
    }


def _middle(several: Sequence[Tally]) -> Tally:
    middle = sorted(several, key=lambda one: one.rate)[len(several) // 2]
    middle.p50_ms = statistics.median(one.p50_ms for one in several)
    middle.p99_ms = statistics.median(one.p99_ms for one in several)
    return middle


def _legend(found: Points) -> list[str]:
    lines, x = [], _LEFT
    for name in found:
        lines.append(f'<rect x="{x}" y="14" width="12" height="12" rx="2" fill="{_COLOURS[name]}"/>')
        lines.append(_text(x + 18, 24, name))
        x += 40 + 7 * len(name)
    return lines


def _throughput(found: Points, *, left: int) -> list[str]:
    most = max(one.rate for tallies in found.values() for one in tallies.values())
    lines = [_text(left, 56, "Callbacks a second, each one durable before its answer", weight=600)]
    lines.append(_text(left, 74, "longer is better; Starlette alone stores nothing", kind="dim"))
    for x, y, name, tally in _rows(found, left, lines):
        length = max((_PANEL - 120) * tally.rate / most, 1)
        lines.append(_bar(x, y, length, name))
        lines.append(_text(x + length + 5, y + 10, f"{tally.rate:,.0f}", size=10))
    return lines


def _latency(found: Points, *, left: int) -> list[str]:
    waits = [
        wait for tallies in found.values() for one in tallies.values() for wait in (one.p50_ms, one.p99_ms)
    ]
    low, high = log10(min(waits)) - 0.1, log10(max(waits))
    scale = (_PANEL - 175) / (high - low)

    def place(wait: float) -> float:
        return (log10(wait) - low) * scale

    lines = [_text(left, 56, "How long a sender waits: median to 99th percentile", weight=600)]
    lines.append(_text(left, 74, "further left is better; every step to the right is a multiple", kind="dim"))
    for x, y, name, tally in _rows(found, left, lines):
        first, last = place(tally.p50_ms), place(tally.p99_ms)
        lines.append(f'<line class="line" x1="{x}" x2="{x + first:.1f}" y1="{y + 6}" y2="{y + 6}"/>')
        lines.append(_bar(x + first, y, max(last - first, 3), name))
        text = f"{_ms(tally.p50_ms)} to {_ms(tally.p99_ms)} ms"
        lines.append(_text(x + first + max(last - first, 3) + 5, y + 10, text, size=10))
    return lines


def _ms(wait: float) -> str:
    return f"{wait:,.0f}" if wait >= 100 else f"{wait:.2g}"


def _rows(found: Points, left: int, lines: list[str]) -> list[tuple[int, int, str, Tally]]:
    """Where each bar begins; the numbers of connections are written beside them."""
    places, y = [], _TOP
    for connections in _CONNECTIONS:
        names = [name for name in found if connections in found[name]]
        lines.append(_text(left, y + 10, str(connections), weight=600))
        if connections == _CONNECTIONS[0]:
            lines.append(_text(left, y + 24, "connection", kind="dim", size=10))
        else:
            lines.append(_text(left, y + 24, "connections", kind="dim", size=10))
        for name in names:
            places.append((left + 70, y, name, found[name][connections]))
            y += 20
        y += 16
    return places


def _bar(x: float, y: float, length: float, name: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2" fill="{_COLOURS[name]}"/>'


def _text(x: float, y: float, text: str, *, kind: str = "", size: int = 12, weight: int = 400) -> str:
    named = f' class="{kind}"' if kind else ""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y}"{named} font-size="{size}" font-weight="{weight}">{escaped}</text>'
