"""Deed: records what somebody does by hand, and how it ended, whether by page, command or API."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog

from receiver.core.errors import ReceiverError, StoreUnavailableError
from receiver.core.identity import DEED, new_id
from receiver.core.model import Value
from receiver.storage import audit
from receiver.storage.audit import Deed
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

#: What is being noted.
_noting: Final[set["asyncio.Task[None]"]] = set()


class Actor(Value, frozen=True, kw_only=True):
    """Who acts, as far as can be told."""

    #: A person's name, or the face that was used: ``api`` or ``cli``.
    who: str
    #: ``viewer`` or ``operator``.
    role: str = "operator"
    #: What else is known: where from, which account.
    known: dict[str, Any] = {}


@contextlib.asynccontextmanager
async def deed(
    store: Store,
    actor: Actor,
    action: str,
    *,
    now: int,
    subject: str = "",
    job_id: str | None = None,
    **detail: Any,  # noqa: ANN401  (whatever belongs to the action)
) -> AsyncIterator[dict[str, Any]]:
    """Put on record what is done while the block runs, before it is done, and how it ended.

    What the block adds to the dictionary that it is given stands beside it.

    Raises:
        StoreUnavailableError: it could not be put on record, and was not done.
    """
    held = actor.known | detail
    one = Deed(
        id=new_id(DEED, now),
        at=now,
        who=actor.who,
        role=actor.role,
        action=action,
        subject=subject,
        job_id=job_id,
        detail=held,
    )
    await store.write(audit.note, one)
    try:
        yield held
    except ReceiverError as error:
        await _close(store, one, error.code, held)
        raise
    await _close(store, one, "done", held)


async def _close(store: Store, one: Deed, outcome: str, held: dict[str, Any]) -> None:
    try:
        await store.write(audit.close, (one.id, outcome, held))
    except StoreUnavailableError as error:
        # Only the note of its end is lost: whoever did it is told how the deed itself ended.
        log.warning("deed_not_noted", action=one.action, subject=one.subject, reason=str(error))


def done(
    store: Store,
    actor: Actor,
    action: str,
    *,
    now: int,
    subject: str = "",
    job_id: str | None = None,
    **detail: Any,  # noqa: ANN401  (as above)
) -> None:
    """Put on record what was done, in the next commit, which nobody waits for.

    For deeds that come by the thousand, and that leave a line in the job's timeline in any case.
    """
    one = Deed(
        id=new_id(DEED, now),
        at=now,
        who=actor.who,
        role=actor.role,
        action=action,
        subject=subject,
        job_id=job_id,
        outcome="done",
        detail=actor.known | detail,
    )
    task = asyncio.ensure_future(store.write(audit.note, one))
    _noting.add(task)

    def noted(task: "asyncio.Task[None]") -> None:
        _noting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("deed_not_noted", action=action, subject=subject, reason=str(error))

    task.add_done_callback(noted)
