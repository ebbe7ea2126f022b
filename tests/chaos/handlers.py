"""The handlers of the nodes that are damaged: each run is one line that a kill cannot take back.

``metadata`` says what a handler does: ``pause`` is how many seconds it takes.
"""

import asyncio
import faulthandler
import os
import signal
import sys
import threading
import time

from receiver import Job, Receiver, idempotency_key

from .faults import fail_syncing

receiver = Receiver()
# One write of one line at the end of a file: it is there or it is not, whatever happens to this process.
_runs = os.open(os.environ["CHAOS_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@receiver.on("chaos", state="any", name="record", attempts=20, first_wait=0.1, longest_wait=1)
def record(job: Job) -> None:
    """Record that a completion was seen."""
    time.sleep(job.metadata.get("pause", 0.01))
    _write("record", job)


@receiver.on("chaos", state="canceled", name="fatal", attempts=3, first_wait=0.1, longest_wait=1)
def fatal(job: Job) -> None:
    """Record that it was called, and take the whole process along."""
    _write("fatal", job)
    os._exit(3)


def _write(handler: str, job: Job) -> None:
    os.write(_runs, f"{handler} {job.id} {idempotency_key.get()} {os.getpid()}\n".encode())


def _follow_the_tests() -> None:
    """End with whoever started this process, even if that was killed."""
    os.read(0, 1)  # past Python's own buffer, whose lock would be in the way when the process ends
    os._exit(1)


def _stop_confirming(_number: int, _frame: object) -> None:
    fail_syncing()
    # A line of the log, which tells the tests that it is so.
    os.write(1, b'{"event": "syncing_fails"}\n')


def _show_tasks(_number: int, _frame: object) -> None:
    """Show what every task of the event loop waits for."""
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        return  # the loop does not turn: the threads were shown already, and this one among them
    for task in tasks:
        task.print_stack(limit=12, file=sys.stderr)
    sys.stderr.flush()


signal.signal(signal.SIGUSR1, _stop_confirming)
# What a node that does not answer is at: all of its threads, at once; then its tasks, if its loop turns.
signal.signal(signal.SIGUSR2, _show_tasks)
faulthandler.register(signal.SIGUSR2, all_threads=True, chain=True)
threading.Thread(target=_follow_the_tests, daemon=True).start()
