from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from receiver.simulator import Simulator, SimulatorSettings
from receiver.simulator.callbacks import trust
from receiver.simulator.embedded import address, listen, serving

from .clients import Client, Sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """Take callbacks at `sink.url`."""
    sink = Sink()
    listener = listen("127.0.0.1", 0)
    sink.url = f"{address(listener)}/callback"
    async with serving(sink, listener):
        yield sink


@pytest.fixture
def settings() -> SimulatorSettings:
    """Parametrize it for another behaviour."""
    return SimulatorSettings(run_seconds=0.02, callback_backoff=0.01)


@pytest.fixture
async def sim(settings: SimulatorSettings) -> AsyncIterator[Simulator]:
    """Simulate every provider."""
    async with Simulator(settings=settings) as simulator:
        yield simulator


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Send requests as any program would."""
    async with httpx.AsyncClient(trust_env=False, timeout=60, verify=trust()) as client:
        yield client


@pytest.fixture
def client(sim: Simulator, http: httpx.AsyncClient) -> Callable[[str], Client]:
    """Return what makes a client of one provider."""
    return lambda name: Client(sim=sim, http=http, name=name)
