"""The handler that ``receiver serve`` runs under load: it does nothing but keep the time at which it began."""

import atexit
import os
import time
from pathlib import Path

from receiver import Job, Receiver

#: As many attempts at once as rivals are given.
CONCURRENCY = 64
receiver = Receiver()
_begun: list[str] = []


@receiver.on("bench", concurrency=CONCURRENCY)
async def completed(job: Job) -> None:
    """Keep the time, by the clock that every process of the machine shares."""
    _begun.append(f"{job.id} {time.perf_counter_ns()}\n")


@atexit.register
def write() -> None:
    """Write the times down once the load is over."""
    if "BENCH_BEGUN" in os.environ:
        Path(os.environ["BENCH_BEGUN"]).write_text("".join(_begun), encoding="utf-8")
