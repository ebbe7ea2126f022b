"""Finding dead letters, the newest job's first."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from receiver.core.errors import NotFoundError
from receiver.core.identity import dispatch_key
from receiver.core.model import Dispatch, Value
from receiver.storage import rows
from receiver.storage.distinct import distinct
from receiver.storage.driver import Row, Transaction
from receiver.storage.united import Key, dispatches_led

#: How many are looked at for those of a code.
_LOOKED_AT: Final = 10_000
_ORDER: Final = "ORDER BY job_id DESC, handler, replay_id"
_KEY: Final = "job_id, handler, replay_id"
#: The handlers that have some.
HANDLERS: Final = distinct("handler", "dispatch", "state = 'dead'")


class Dead(Value, frozen=True, kw_only=True):
    """Which dead letters to find."""

    handler: str | None = None
    code: str | None = None
    #: The id of the dispatch that the page before ended with.
    before: str | None = None
    limit: int = 50


class Found(Value, frozen=True, kw_only=True):
    """Dead letters, those of the newest job first."""

    letters: list[Dispatch]
    #: Where the next page begins; ``None`` where nothing is left to look at.
    cursor: str | None = None
    #: Whether the search ended because it had looked at enough, rather than because the page was full.
    stopped: bool = False


def find(tx: Transaction, dead: Dead) -> Found:
    """Find dead letters; those of a code among the newest that come into question."""
    where, params = _where(dead)
    limited = {**params, "limit": dead.limit + 1}
    if dead.code is None:
        return _found(
            tx.run(f"SELECT {rows.DISPATCH} FROM dispatch {where} {_ORDER} LIMIT :limit", limited), dead
        )
    looked = f"FROM dispatch {where} {_ORDER} LIMIT :looked"
    params["looked"] = limited["looked"] = _LOOKED_AT
    found = _found(
        tx.run(
            f"SELECT {rows.DISPATCH} FROM dispatch WHERE ({_KEY}) IN (SELECT {_KEY} FROM "
            f"(SELECT {_KEY}, error_code {looked}) AS looked WHERE error_code = :code {_ORDER} LIMIT :limit) {_ORDER}",
            {**limited, "code": dead.code},
        ),
        dead,
    )
    if found.cursor is not None:
        return found
    last = tx.run(f"SELECT {_KEY} {looked} OFFSET :before_last", {**params, "before_last": _LOOKED_AT - 1})
    cursor = ":".join(filter(None, last[0])) if last else None
    return Found(letters=found.letters, cursor=cursor, stopped=cursor is not None)


def handlers(tx: Transaction) -> list[str]:
    """The handlers that have dead letters."""
    return [row[0] for row in tx.run(HANDLERS, {})]


def named(tx: Transaction, ids: Sequence[str]) -> list[Dispatch]:
    """The dead ones among some dispatches, which are named by their ids."""
    keys = []
    for one in ids:
        job_id, _, rest = one.partition(":")
        handler, _, replay_id = rest.partition(":")
        keys.append((job_id, handler, replay_id))
    into = dispatches_led(tx, keys)
    found = [rows.dispatch_of(row) for key in keys for row in _row(tx, into.get(key, key))]
    return [one for one in found if one.state == "dead"]


def beginning(tx: Transaction, prefix: str, limit: int = 2) -> list[Dispatch]:
    """The dead letters whose ids begin with *prefix*, or the one whose id it is."""
    if whole := named(tx, [prefix]):
        return whole  # an id is itself a prefix of the ids of its replays
    job_id, _, _ = prefix.partition(":")
    found = tx.run(
        f"SELECT {rows.DISPATCH} FROM dispatch WHERE state = 'dead' AND job_id >= :start AND job_id < :end "
        "ORDER BY job_id LIMIT :limit",
        # One job has few; of several jobs two are enough to know that it is not one.
        {"start": job_id, "end": f"{job_id}\x7f", "limit": _LOOKED_AT},
    )
    letters = (rows.dispatch_of(row) for row in found)
    return list(islice((one for one in letters if one.id.startswith(prefix)), limit))


def dispatch(tx: Transaction, job_id: str, *, handler: str, replay_id: str) -> Dispatch:
    """One dispatch that is not finished."""
    key = (job_id, handler, replay_id)
    found = _row(tx, dispatches_led(tx, [key]).get(key, key))
    if not found:
        raise NotFoundError(f"{job_id} has no unfinished dispatch of that name.", code="dispatch_not_found")
    return rows.dispatch_of(found[0])


def _row(tx: Transaction, key: Key) -> list[Row]:
    return tx.run(
        f"SELECT {rows.DISPATCH} FROM dispatch "
        "WHERE job_id = :job_id AND handler = :handler AND replay_id = :replay_id",
        dict(zip(("job_id", "handler", "replay_id"), key, strict=True)),
    )


def _found(found: Sequence[Row], dead: Dead) -> Found:
    letters = [rows.dispatch_of(row) for row in found[: dead.limit]]
    return Found(letters=letters, cursor=letters[-1].id if len(found) > dead.limit else None)


def _where(dead: Dead) -> tuple[str, dict[str, Any]]:
    terms, params = ["state = 'dead'"], dict[str, Any]()
    if dead.handler is not None:
        terms.append("handler = :handler")
        params["handler"] = dead.handler
    if dead.before is not None:
        # Several share a job, so the cursor is the whole key; its first part alone is where the index is entered.
        key = dispatch_key(dead.before) or ("", "", "")
        params |= dict(zip(("job", "after", "replay"), key, strict=True))
        terms.append("job_id <= :job")
        terms.append("(job_id < :job OR handler > :after OR (handler = :after AND replay_id > :replay))")
    return f"WHERE {' AND '.join(terms)}", params
