"""Rival (d) on SQLite: DBOS runs a workflow that does nothing for each of the jobs that wait in its queue.

``dbos_app.py DATABASE JOBS``: prints how many a second, from the first run's begin until the last is recorded.
"""

# Its packages are installed for a run only, into an environment of their own.
# mypy: disable-error-code="import-not-found, untyped-decorator"

import sqlite3
import sys
import time
from contextlib import closing

from dbos import DBOS, DBOSClient

_RECORDED = "SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS' AND queue_name = 'completions'"
path, jobs = sys.argv[1], int(sys.argv[2])
begun: list[float] = []


@DBOS.workflow(name="completed")
def completed(_number: int) -> None:
    """Do nothing but keep the time."""
    begun.append(time.perf_counter())


def launch() -> None:
    """Begin to run what waits."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": f"sqlite:///{path}",
            "log_level": "WARNING",
            "run_admin_server": False,
            "application_version": "1",
        }
    )
    DBOS.launch()


def recorded() -> int:
    """How many runs have ended and are recorded."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        return int(connection.execute(_RECORDED).fetchone()[0])


launch()  # makes the tables
DBOS.destroy()
client = DBOSClient(system_database_url=f"sqlite:///{path}")
client.register_queue("completions", polling_interval_sec=0.1)
for place in range(jobs):
    client.enqueue({"workflow_name": "completed", "queue_name": "completions"}, place)
client.destroy()
launch()
until = time.monotonic() + 120
while recorded() < jobs:
    if time.monotonic() > until:
        sys.exit(f"{recorded()} of {jobs} are recorded")
    time.sleep(0.05)
sys.stdout.write(f"{jobs / (time.perf_counter() - begun[0])}\n")
sys.stdout.flush()
DBOS.destroy()
