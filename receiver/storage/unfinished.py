"""Listing dispatches that are not finished, in a bounded time however many there are; see ``search``."""

from typing import Any, Final

from receiver.core.identity import dispatch_key
from receiver.core.model import Dispatch, Value
from receiver.storage import rows
from receiver.storage.driver import Transaction
from receiver.storage.lines import LINED
from receiver.storage.queries import Page

#: How many are looked at, and up to how many of a state all are.
_LOOKED_AT: Final = 20_000
_FEW: Final = 4_000
_ORDER: Final = "ORDER BY job_id DESC, handler, replay_id"
_KEY: Final = "job_id, handler, replay_id"
_DEAD: Final = "dead"
#: The states that have an index, but not by the job, with the condition under which they stand in it.
_WAITS: Final = {"ready": "state = 'ready'", LINED: f"state = '{LINED}' AND line IS NOT NULL"}
# Several share a job, so the cursor is the whole key; its first part alone is where an index is entered.
_AFTER: Final = (
    "job_id <= :job AND "
    "(job_id < :job OR handler > :handler OR (handler = :handler AND replay_id > :replay_id))"
)


class Listed(Value, frozen=True, kw_only=True):
    """Dispatches, those of the newest job first."""

    dispatches: list[Dispatch]
    #: Where the next page begins; ``None`` where nothing is left to look at.
    cursor: str | None = None


def find(tx: Transaction, page: Page) -> Listed:
    """List dispatches by state (ready, lined, dead) and job."""
    params: dict[str, Any] = {"limit": page.limit + 1}
    terms = []
    if page.job_id is not None:
        terms.append("job_id = :job_id")
        params["job_id"] = page.job_id
    if page.before is not None:
        terms.append(_AFTER)
        key = dispatch_key(page.before) or ("", "", "")
        params |= dict(zip(("job", "handler", "replay_id"), key, strict=True))
    if page.state in _WAITS and page.job_id is None:
        which = _WAITS[page.state]
        few = f"SELECT {_KEY} FROM dispatch WHERE {which} LIMIT :few"
        if tx.run(f"SELECT count(*) FROM ({few}) AS counted", {"few": _FEW})[0][0] == _FEW:
            return _among_newest(tx, page, terms, params)
        terms.append(f"({_KEY}) IN ({few})")
        params["few"] = _FEW
    elif page.state is not None:
        terms.append("state = :state")
        params["state"] = page.state
        if page.state == _DEAD:
            # Said twice: SQLite uses a partial index only where its condition stands in the statement.
            terms.append("state = 'dead'")
    where = f"WHERE {' AND '.join(terms)}" if terms else ""
    found = tx.run(f"SELECT {rows.DISPATCH} FROM dispatch {where} {_ORDER} LIMIT :limit", params)
    return _cut(found, page)


def _among_newest(tx: Transaction, page: Page, terms: list[str], params: dict[str, Any]) -> Listed:
    """Those of a state among the newest: where there are many of them they are found soon, or all far back."""
    where = f"WHERE {' AND '.join(terms)}" if terms else ""
    newest = f"FROM dispatch {where} {_ORDER} LIMIT :looked"
    params["looked"] = _LOOKED_AT
    found = tx.run(
        f"SELECT {rows.DISPATCH} FROM (SELECT {rows.DISPATCH} {newest}) AS looked WHERE state = :state "
        f"{_ORDER} LIMIT :limit",
        params | {"state": page.state},
    )
    listed = _cut(found, page)
    if listed.cursor is not None:
        return listed
    del params["limit"]
    looked = tx.run(f"SELECT {_KEY} {newest} OFFSET :before_last", params | {"before_last": _LOOKED_AT - 1})
    return Listed(dispatches=listed.dispatches, cursor=_name(looked[0]) if looked else None)


def _cut(found: list[Any], page: Page) -> Listed:
    dispatches = [rows.dispatch_of(row) for row in found[: page.limit]]
    return Listed(dispatches=dispatches, cursor=dispatches[-1].id if len(found) > page.limit else None)


def _name(key: tuple[str, str, str]) -> str:
    return ":".join(filter(None, key))
