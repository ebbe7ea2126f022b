from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.simulator import Simulator, SimulatorSettings

from .world import FIRECRAWL_SECRET, World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The providers' simulator and room for receivers."""
    settings = SimulatorSettings(
        run_seconds=0.2,
        callback_attempts=6,
        callback_backoff=0.1,
        firecrawl_secret=FIRECRAWL_SECRET,
        video_seconds=0.0,
        brief_seconds=60.0,
    )
    async with Simulator(settings=settings) as simulator:
        yield World(tmp_path, simulator)
