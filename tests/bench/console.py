"""The console among a million jobs, and what it costs ingest that people watch."""

import contextlib
import statistics
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Final

from receiver.core.model import HOUR
from receiver.views.document import timestamp

from .bench import Bench, rates
from .callbacks import API_TOKEN
from .figure import Figure
from .load import WrongError
from .million import Million
from .moving import moved
from .rarities import RARE_HANDLER, RARE_PROVIDER, RARE_TEXT
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
    """What people ask of the console, by what they ask for: the usual, the rare, and either end of time."""
    job, old = million.open[0], min(million.open)
    # The bodies of ids begin with the time: the first and the last hour of the million.
    first, last = int(old[4:16], 16), int(max(million.open)[4:16], 16)
    hour = (timestamp(first), timestamp(first + HOUR)), (timestamp(last - HOUR), timestamp(last))
    jobs = {
        "": "",
        " of a provider": "provider=bench",
        " of a rare provider": f"provider={RARE_PROVIDER}",
        " of no provider": "provider=netnut",
        ", open": "state=open",
        ", open, of a provider": "state=open&provider=bench",
        ", submitted": "state=submitted",
        ", succeeded": "state=succeeded",
        ", failed": "state=failed",
        ", canceled, of a rare provider": f"state=canceled&provider={RARE_PROVIDER}",
        ", timed out": "state=timed_out",
        ", fetching": "state=fetching",
        " settled by poll": "settled_by=poll",
        " settled by cancel": "settled_by=cancel",
        " of a handler": "handler=completed&outcome=succeeded",
        " that failed at a handler": "handler=completed&outcome=failed",
        " dead at a handler": "handler=completed&outcome=dead",
        " dead at a rare handler": f"handler={RARE_HANDLER}&outcome=dead",
        " that wait": "outcome=waiting",
        " dead of a rare provider": f"outcome=dead&provider={RARE_PROVIDER}",
        " of no handler": "handler=nobody",
        ", first hour": f"since={hour[0][0]}&until={hour[0][1]}",
        ", last hour": f"since={hour[1][0]}&until={hour[1][1]}",
        ", first hour, failed": f"since={hour[0][0]}&until={hour[0][1]}&state=failed",
        ", first hour, dead": f"since={hour[0][0]}&until={hour[0][1]}&outcome=dead",
        ", in the middle": f"cursor={job}",
        ", deep in": f"cursor={old}",
        ", deep in, of a provider": f"cursor={old}&provider=bench",
        " by id": f"q={job[:34]}",
        " by remote id": f"q=r{job[4:]}",
        " by metadata": "q=customer%3Dc-7",
        " by rare metadata": f"q={RARE_TEXT}",
        " by nothing": "q=nobody+knows",
    }
    callbacks = {
        "": "",
        " of a provider": "provider=bench",
        " of a rare provider": f"provider={RARE_PROVIDER}",
        ", accepted": "verdict=accepted",
        ", duplicate": "verdict=duplicate",
        ", unreadable": "verdict=unreadable",
        ", rejected": "verdict=rejected",
        ", rejected, of a provider": "verdict=rejected&provider=bench",
        ", rejected, rare": "verdict=rejected&code=timestamp_stale",
        ", rejected, no such": "verdict=rejected&code=nothing",
        " with a code": "code=terminal_already",
        " with a rare code": "code=body_not_json",
        " of a job": f"job={job}",
        ", first hour": f"since={hour[0][0]}&until={hour[0][1]}",
        ", first hour, rejected": f"since={hour[0][0]}&until={hour[0][1]}&verdict=rejected",
        ", last hour, duplicate": f"since={hour[1][0]}&until={hour[1][1]}&verdict=duplicate",
    }
    dead = {
        "": "",
        " of a handler": "handler=completed",
        " of a rare handler": f"handler={RARE_HANDLER}",
        " of a rare error": "code=rare_error",
        " of nothing": "handler=nobody&code=nothing",
        ", deep in": f"cursor={million.dead}:completed:",
    }
    return {
        "overview": "/console",
        **{f"jobs{name}": f"/console/jobs?{asked}" for name, asked in jobs.items()},
        **{f"callbacks{name}": f"/console/callbacks?{asked}" for name, asked in callbacks.items()},
        **{f"dead letters{name}": f"/console/dead?{asked}" for name, asked in dead.items()},
        "a job": f"/console/jobs/{job}",
        "handlers": "/console/handlers",
        "providers": "/console/providers",
        "a provider": "/console/providers/bench",
        "live": "/console/live",
        "who did what": "/console/audit",
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
    return _looked(bench, million, "console-1M-ms", million.settings)


def looking_on_postgres(bench: Bench, million: Million) -> Figure:
    """The slowest page of the console over the same million jobs in PostgreSQL."""
    _ = million.dead
    with bench.room() as folder, moved(million.database, folder) as url:
        settings = million.settings | {"RECEIVER_DATABASE_URL": url}
        return _looked(bench, million, "console-1M-postgres-ms", settings)


def _looked(bench: Bench, million: Million, name: str, settings: dict[str, str]) -> Figure:
    addresses = pages(million)
    runs, seen = [], dict[str, list[float]]()
    with serving(million.folder, settings) as server:
        for _ in range(bench.rounds):
            took = asked(server.port, addresses)
            runs.append(max(took.values()))
            for page, value in took.items():
                seen.setdefault(page, []).append(value)
    middles = {f"{page} ms": statistics.median(values) for page, values in seen.items()}
    return Figure(name=name, target=100, at_most=True, runs=runs, seen=middles)


@contextlib.contextmanager
def watched(port: int, cookie: str) -> Iterator[None]:
    """Have ten people watch Live while the block runs, all with the session that *cookie* names."""
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
    """Processor time of a callback that nobody watches, against one while ten people watch Live; rates stand beside it.

    Others on the machine slow both down, but not by as much: the time that the server itself took tells better.
    """
    pairs, seen = [], dict[str, list[float]]()
    for _ in range(bench.rounds):
        found: dict[str, float] = {}
        for name, people in (("unwatched/s", False), ("watched/s", True)):
            with bench.room() as folder:
                settings = bench.stock.copy(folder)
                with serving(folder, settings) as server:
                    # What the first who signs in and looks costs (imports, templates, a slow hash) is paid once.
                    cookie = sign_in(server.port)
                    with watched(server.port, cookie):
                        pass
                    with watched(server.port, cookie) if people else contextlib.nullcontext():
                        begun = server.cpu_seconds()
                        tally = bench.load(server, bench.stock.genuine)
                        found |= rates(name, server, tally, begun=begun)
        pairs.append((found["unwatched/s us"], found["watched/s us"]))
        for name, value in found.items():
            seen.setdefault(name, []).append(value)
    return Figure(
        name="ingest-watched/unwatched",
        target=0.95,
        at_most=False,
        runs=[nobody / people for nobody, people in pairs],
        seen={name: statistics.median(values) for name, values in seen.items()},
    )
