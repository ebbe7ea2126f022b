"""Rival (d) on PostgreSQL: procrastinate runs a task that does nothing for each of the jobs that wait.

``procrastinate_app.py URL JOBS``: prints how many a second, from the first run's begin until the worker is through.
"""

# Its packages are installed for a run only, into an environment of their own.
# mypy: disable-error-code="import-not-found, untyped-decorator"

import asyncio
import sys
import time
from typing import Any

from procrastinate import App, PsycopgConnector

_CONCURRENCY = 64
_TOGETHER = 1000
url, jobs = sys.argv[1], int(sys.argv[2])
app = App(connector=PsycopgConnector(conninfo=url, max_size=_CONCURRENCY + 2))
begun: list[float] = []


@app.task(name="completed", pass_context=False)
async def completed(number: int) -> None:
    """Do nothing but keep the time."""
    begun.append(time.perf_counter())


async def main() -> float:
    """Enqueue everything, then run it; the rate."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for first in range(0, jobs, _TOGETHER):
            numbers = range(first, min(first + _TOGETHER, jobs))
            batch: list[dict[str, Any]] = [{"number": one} for one in numbers]
            await completed.batch_defer_async(*batch)
        await app.run_worker_async(concurrency=_CONCURRENCY, wait=False, install_signal_handlers=False)
        ended = time.perf_counter()
    if len(begun) != jobs:
        sys.exit(f"{len(begun)} of {jobs} ran")
    return jobs / (ended - begun[0])


sys.stdout.write(f"{asyncio.run(main())}\n")
