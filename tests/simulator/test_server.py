"""The simulator as a whole: its life, its records, its control API and its program."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from receiver import simulator
from receiver.simulator import PROVIDERS, Simulator, SimulatorSettings, fault

from .clients import WHSEC, Client, Sink, until

if TYPE_CHECKING:
    from collections.abc import Callable

    Clients = Callable[[str], Client]

MANUAL = SimulatorSettings(run_seconds=None)


async def test_nothing_is_left_behind(sink: Sink) -> None:
    """On leaving, running jobs, callbacks under retry, slow answers and open connections all end at once."""
    before = asyncio.all_tasks()
    sink.answers = [500] * 100
    settings = SimulatorSettings(run_seconds=0.0, callback_attempts=100, callback_backoff=10)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        async with Simulator(settings=settings) as sim:
            netnut, perplexity = (Client(sim=sim, http=http, name=n) for n in ("netnut", "perplexity"))
            await netnut.submitted(callback_url=sink.url)
            sim.faults("perplexity", fault("submit_slow", seconds=60))
            slow = asyncio.create_task(perplexity.submit())
            sim.faults("netnut", "never")
            body = {"engine": "gemini", "prompt": "?"}
            waiting = asyncio.create_task(netnut.request("POST", "/search", json=body))

            async def everything_is_under_way() -> bool:
                return len(sim.jobs()) == 3 and bool(sim.callbacks())

            await until(everything_is_under_way)
            url = sim.url
        for cut in (slow, waiting):
            with pytest.raises(httpx.TransportError):
                await cut
        with pytest.raises(httpx.ConnectError):
            await http.get(url)
    assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()


async def test_mistakes_of_its_own_are_seen() -> None:
    """What goes wrong in the background is raised, by waiting or at the latest on leaving."""

    async def mistake() -> None:
        raise ArithmeticError

    sim = await Simulator().__aenter__()
    sim._tasks.spawn(mistake())
    with pytest.raises(ArithmeticError):
        await sim.idle(timeout=60)
    sim._tasks.spawn(mistake())
    await asyncio.sleep(0)
    with pytest.raises(ArithmeticError):
        await sim.__aexit__(None, None, None)


async def test_a_taken_port_is_an_error() -> None:
    """Where another listens, the simulator does not start, and leaves nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            async with Simulator(port=taken.getsockname()[1]):
                pass


async def test_requests_are_on_record(client: Clients, sim: Simulator) -> None:
    """Each request is kept as it came, with the status of its answer."""
    job_id = await client("yandex").done()
    await client("yandex").request("GET", f"/operations/{job_id}", params={"a": "b"})
    submitted, polled = sim.requests("yandex")
    assert (submitted.method, submitted.path) == ("POST", "/foundationModels/v1/completionAsync")
    assert b"modelUri" in submitted.body
    assert ("authorization", "Api-Key key") in submitted.headers
    assert (polled.path, polled.status) == (f"/operations/{job_id}?a=b", 200)
    assert sim.requests("pulse") == []


@pytest.mark.parametrize("settings", [SimulatorSettings(run_seconds=0.0, keep=3)])
async def test_records_are_bounded(client: Clients, sim: Simulator) -> None:
    """Of jobs and requests, only so many are remembered."""
    for _ in range(5):
        await client("yandex").done()
    assert len(sim.jobs()) == len(sim.requests()) == 3


async def test_unknown_names(sim: Simulator) -> None:
    """A provider or job that does not exist is a LookupError, and a setting for one a ValueError."""
    for ask in (sim.base_url, sim.jobs, sim.job, sim.release, sim.clear_faults):
        with pytest.raises(LookupError, match="no such"):
            ask("nobody")
    with pytest.raises(ValueError, match="nobody"):
        SimulatorSettings(credentials={"nobody": "x"})


@pytest.mark.parametrize("settings", [SimulatorSettings(run_seconds=5.0)])
async def test_idle_is_bounded(client: Clients, sim: Simulator) -> None:
    """Waiting for the end of everything ends, too."""
    await client("yandex").submitted()
    with pytest.raises(TimeoutError):
        await sim.idle(timeout=0.01)


async def control(sim: Simulator, http: httpx.AsyncClient, method: str, path: str, **body: Any) -> Any:  # noqa: ANN401
    """Ask the control API and return its JSON, or its status where there is none."""
    answer = await http.request(method, f"{sim.url}/_control{path}", json=body or None)
    return answer.json() if answer.content else answer.status_code


@pytest.mark.parametrize("settings", [MANUAL])
async def test_control(sim: Simulator, http: httpx.AsyncClient, client: Clients, sink: Sink) -> None:
    """Another process can order faults, see what happened, finish jobs and send callbacks."""
    health = await control(sim, http, "GET", "/health")
    assert health == {"status": "ok", "providers": {name: sim.base_url(name) for name in PROVIDERS}}
    order = {"provider": "pulse", "faults": ["failed", {"name": "poll_5xx", "times": 1}]}
    assert await control(sim, http, "POST", "/faults", **order, count=None) == 204
    listed = await control(sim, http, "GET", "/faults")
    assert listed["planned"]["pulse"][0][0] == {"name": "failed", "value": ""}
    assert listed["faults"]["stale"] == {"parameters": {"seconds": 86400.0}, "providers": ["pulse"]}
    assert await control(sim, http, "POST", "/pulse/webhook", url=sink.url, secret=WHSEC) == 204

    job_id = await client("pulse").submitted()
    assert await control(sim, http, "POST", "/idle") == {"idle": True}
    finished = await control(sim, http, "POST", f"/jobs/{job_id}/finish")
    assert (finished["finished"], finished["state"]) == (True, "failed")
    await sim.idle(timeout=60)
    again = await control(sim, http, "POST", f"/jobs/{job_id}/callback", faults=["forged"])
    assert [callback["status"] for callback in again["callbacks"]] == [200]

    assert (await control(sim, http, "GET", f"/jobs/{job_id}"))["state"] == "failed"
    assert len((await control(sim, http, "GET", "/jobs?provider=pulse"))["jobs"]) == 1
    assert len((await control(sim, http, "GET", "/requests?provider=pulse"))["requests"]) == 1
    callbacks = (await control(sim, http, "GET", f"/callbacks?job_id={job_id}"))["callbacks"]
    assert [callback["faults"] for callback in callbacks] == [[], ["failed", "poll_5xx"], ["forged"]]

    assert await control(sim, http, "DELETE", "/faults?provider=pulse") == 204
    assert await control(sim, http, "DELETE", "/pulse/webhook") == 204
    second = await client("pulse").submitted()
    assert (await control(sim, http, "POST", f"/jobs/{second}/finish", state="canceled"))[
        "state"
    ] == "canceled"
    assert len(sim.callbacks()) == 3


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/faults", {"provider": "nobody", "faults": []}, 400),
        ("POST", "/faults", {"provider": "netnut", "faults": ["on fire"]}, 400),
        ("POST", "/faults", {"provider": "netnut", "faults": "lost"}, 400),
        ("POST", "/faults", {"provider": "netnut", "faults": [7]}, 400),
        ("POST", "/faults", {"provider": "netnut", "faults": [], "job_id": "unknown"}, 404),
        ("POST", "/pulse/webhook", {"url": "http://127.0.0.1"}, 400),
        ("POST", "/pulse/webhook", {"url": "http://127.0.0.1", "secret": "whsec_?"}, 400),
        ("GET", "/jobs/unknown", None, 404),
        ("GET", "/jobs?provider=nobody", None, 400),
        ("POST", "/jobs/unknown/finish", {"state": "lost"}, 400),
        ("GET", "/nowhere", None, 404),
    ],
)
async def test_control_refuses(
    sim: Simulator,
    http: httpx.AsyncClient,
    method: str,
    path: str,
    body: object,
    status: int,
) -> None:
    """A mistaken request gets a 4xx with a sentence."""
    answer = await http.request(method, f"{sim.url}/_control{path}", json=body)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_the_receiver_is_not_imported() -> None:
    """The simulator shares no code with what it is to test."""
    for path in Path(simulator.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [str(node.module)]
            for name in names:
                assert not name.startswith("receiver") or name.startswith("receiver.simulator")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_program(http: httpx.AsyncClient, number: int) -> None:
    """`serve` writes one line, announces its real port, and ends cleanly with an answer under way."""
    code = (
        "from receiver.simulator import SimulatorSettings, serve\n"
        "settings = SimulatorSettings(run_seconds=None)\n"
        "serve(port=0, settings=settings, announce=lambda url: print(url, flush=True))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    health = (await http.get(f"{url}/_control/health")).json()
    body = {"engine": "gemini", "prompt": "?"}
    waiting = asyncio.create_task(http.post(f"{url}/netnut/search", json=body, auth=("user", "password")))

    async def the_job_is_there() -> bool:
        return bool((await http.get(f"{url}/_control/jobs")).json()["jobs"])

    await until(the_job_is_there)
    process.send_signal(number)
    async with asyncio.timeout(5):
        output, errors = await process.communicate()
    with pytest.raises(httpx.TransportError):
        await waiting
    assert process.returncode == 0
    assert output == b""
    assert errors.count(b"\n") == 1
    pointer = f"RECEIVER_PERPLEXITY_WEBHOOK_BASE_URL={health['providers']['perplexity-webhook']}"
    assert pointer in errors.decode()
