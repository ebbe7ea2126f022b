from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .world import World, started


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A receiver and a provider on loopback."""
    async with started(tmp_path) as running:
        yield running
