"""Acting: what a command changes goes on record, with whoever ran it."""

import getpass
import socket
from contextlib import AbstractAsyncContextManager
from typing import Any

from receiver.running import Running
from receiver.steps.deed import Actor, deed


def who() -> str:
    """The account that the command runs under."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that no file names
        return "command line"


def by_hand(
    running: Running,
    action: str,
    *,
    subject: str = "",
    job_id: str | None = None,
    **detail: Any,  # noqa: ANN401  (whatever belongs to the action)
) -> AbstractAsyncContextManager[dict[str, Any]]:
    """Put on record what a command does while the block runs; see ``steps/deed.py``."""
    actor = Actor(who="cli", known={"user": who(), "host": socket.gethostname()})
    return deed(running.store, actor, action, now=running.clock(), subject=subject, job_id=job_id, **detail)
