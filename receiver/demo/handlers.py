"""The demo's handlers, loaded by ``receiver serve`` through ``RECEIVER_HANDLERS``."""

import os
from pathlib import Path

from receiver.app import Receiver
from receiver.core.model import Job

receiver = Receiver()


@receiver.on(state="any", name="count_runs", attempts=3, first_wait=0.2)
def count_runs(job: Job) -> None:
    """Write one line for each run, so that the demo can count what really ran."""
    result = "" if job.result is None else job.result.sha256
    with Path(os.environ["DEMO_RUNS"]).open("a", encoding="utf-8") as runs:
        runs.write(f"{job.id} {job.state} {result}\n")


@receiver.on("pulse", state="failed", name="tell_the_team", attempts=2, first_wait=0.2)
def tell_the_team(job: Job) -> None:
    """Fail, so that there are dead letters to look at; none of the scenes that are judged ends like this."""
    raise ConnectionError(f"chat.example.com is not reachable, so nobody hears of {job.metadata['scene']}")
