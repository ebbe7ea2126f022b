"""Finding dead letters, the newest job's first."""

from collections.abc import Sequence
from typing import Any, Final

from receiver.core.model import Dispatch, Value
from receiver.storage import rows
from receiver.storage.distinct import distinct
from receiver.storage.driver import Transaction

#: The handlers that have some.
HANDLERS: Final = distinct("handler", "dispatch", "state = 'dead'")


class Dead(Value, frozen=True, kw_only=True):
    """Which dead letters to find."""

    handler: str | None = None
    code: str | None = None
    #: The id of the dispatch that the page before ended with.
    before: str | None = None
    limit: int = 50


def find(tx: Transaction, dead: Dead) -> list[Dispatch]:
    """Find dead letters, one more than asked for if there are more."""
    if dead.code is None or dead.handler is not None:
        return _find(tx, dead, dead.handler)
    # The index begins with the handler: of each so many, and of these the newest.
    found = [one for handler in handlers(tx) for one in _find(tx, dead, handler)]
    found.sort(key=lambda one: (one.handler, one.replay_id))
    found.sort(key=lambda one: one.job_id, reverse=True)
    return found[: dead.limit + 1]


def handlers(tx: Transaction) -> list[str]:
    """The handlers that have dead letters."""
    return [row[0] for row in tx.run(HANDLERS, {})]


def named(tx: Transaction, ids: Sequence[str]) -> list[Dispatch]:
    """The dead ones among some dispatches, which are named by their ids."""
    found = []
    for one in ids:
        job_id, _, rest = one.partition(":")
        handler, _, replay_id = rest.partition(":")
        found += tx.run(
            f"SELECT {rows.DISPATCH} FROM dispatch WHERE job_id = :job_id AND handler = :handler "
            "AND replay_id = :replay_id AND state = 'dead'",
            {"job_id": job_id, "handler": handler, "replay_id": replay_id},
        )
    return [rows.dispatch_of(row) for row in found]


def _find(tx: Transaction, dead: Dead, handler: str | None) -> list[Dispatch]:
    terms, params = ["state = 'dead'"], dict[str, Any](limit=dead.limit + 1)
    if handler is not None:
        terms.append("handler = :handler")
        params["handler"] = handler
    if dead.code is not None:
        terms.append("error_code = :code")
        params["code"] = dead.code
    if dead.before is not None:
        # Several share a job, so the cursor is the whole key; its first part alone is where the index is entered.
        params |= dict(zip(("job", "after", "replay"), (*dead.before.split(":"), ""), strict=False))
        terms.append("job_id <= :job")
        terms.append("(job_id < :job OR handler > :after OR (handler = :after AND replay_id > :replay))")
    found = tx.run(
        f"SELECT {rows.DISPATCH} FROM dispatch WHERE {' AND '.join(terms)} "
        "ORDER BY job_id DESC, handler, replay_id LIMIT :limit",
        params,
    )
    return [rows.dispatch_of(row) for row in found]
