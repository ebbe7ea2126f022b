"""The console among a million jobs, and what it costs ingest that people watch."""

import contextlib
import statistics
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Final

from .bench import Bench, rates
from .callbacks import API_TOKEN
from .figure import Figure
from .load import WrongError
from .million import Million
from .servers import serving

_WATCHERS: Final = 10
_ASKED: Final = 15


def sign_in(port: int) -> str:
    """The cookie of somebody who has signed in."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    form = urllib.parse.urlencode({"secret": API_TOKEN})
    kind = {"content-type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/console/sign-in", form, kind)
    answer = connection.getresponse()
    answer.read()
    cookie = answer.headers.get("set-cookie", "").partition(";")[0]
    connection.close()
    if not cookie:
        raise WrongError(f"the console let nobody in: {answer.status}")
    return cookie


def pages(million: Million) -> dict[str, str]:
    """What people ask of the console, by what they ask for."""
    job = million.open[0]
    return {
        "overview": "/console",
        "jobs": "/console/jobs",
        "jobs of a provider": "/console/jobs?provider=bench",
        "open jobs": "/console/jobs?state=open",
        "failed jobs": "/console/jobs?state=failed",
        "settled by poll": "/console/jobs?settled_by=poll",
        "of a handler": "/console/jobs?handler=count&outcome=failed",
        "a page in the middle": f"/console/jobs?cursor={job}",
        "by id": f"/console/jobs?q={job[:34]}",
        "by remote id": f"/console/jobs?q={job[-20:]}",
        "by metadata": "/console/jobs?q=nobody+knows",
        "a job": f"/console/jobs/{job}",
        "callbacks": "/console/callbacks",
        "rejected callbacks": "/console/callbacks?verdict=rejected",
        "callbacks of nobody": "/console/callbacks?provider=netnut",
        "dead letters": "/console/dead",
        "a provider": "/console/providers/bench",
        "live": "/console/live",
    }


def asked(port: int, addresses: dict[str, str], times: int = _ASKED) -> dict[str, float]:
    """How many milliseconds each takes, by the middle of its answers."""
    cookie = sign_in(port)
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    took: dict[str, float] = {}
    for name, address in addresses.items():
        some = []
        for _ in range(times):
            began = time.perf_counter()
            connection.request("GET", address, headers={"cookie": cookie})
            answer = connection.getresponse()
            answer.read()
            some.append((time.perf_counter() - began) * 1000)
            if answer.status != 200:
                raise WrongError(f"{address} was answered {answer.status}")
        took[name] = statistics.median(some)
    connection.close()
    return took


def looking(bench: Bench, million: Million) -> Figure:
    """The slowest page of the console."""
    runs, seen = [], dict[str, list[float]]()
    with serving(million.folder, million.settings) as server:
        for _ in range(bench.rounds):
            took = asked(server.port, pages(million))
            runs.append(max(took.values()))
            for name, value in took.items():
                seen.setdefault(name, []).append(value)
    middles = {f"{name} ms": statistics.median(values) for name, values in seen.items()}
    return Figure(name="console-1M-ms", target=100, at_most=True, runs=runs, seen=middles)


@contextlib.contextmanager
def watched(port: int) -> Iterator[None]:
    """Have ten people watch Live while the block runs."""
    cookie = sign_in(port)
    connections = []
    for _ in range(_WATCHERS):
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"cookie": cookie, "accept": "text/event-stream"}
        connection.request("GET", "/console/live/events", headers=headers)
        answer = connection.getresponse()
        connections.append(connection)

        def read(answer=answer) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
            with contextlib.suppress(OSError, ValueError, AttributeError):
                while answer.read1(65536):
                    pass

        threading.Thread(target=read, daemon=True).start()
    try:
        yield
    finally:
        for connection in connections:
            if connection.sock is not None:
                connection.sock.close()
            connection.close()


def watching(bench: Bench) -> Figure:
    """Callbacks while ten people watch Live, against callbacks that nobody watches."""
    pairs, seen = [], dict[str, list[float]]()
    for _ in range(bench.rounds):
        found: dict[str, float] = {}
        for name, people in (("unwatched/s", False), ("watched/s", True)):
            with bench.room() as folder:
                settings = bench.stock.copy(folder)
                with serving(folder, settings) as server:
                    watchers = watched(server.port) if people else contextlib.nullcontext()
                    with watchers:
                        found |= rates(name, server, bench.load(server, bench.stock.genuine))
        pairs.append((found["watched/s"], found["unwatched/s"]))
        for name, value in found.items():
            seen.setdefault(name, []).append(value)
    return Figure(
        name="ingest-watched/unwatched",
        target=0.95,
        at_most=False,
        runs=[people / nobody for people, nobody in pairs],
        seen={name: statistics.median(values) for name, values in seen.items()},
    )
