"""Who stands in a line: what a dispatch that is lined up waits for, and how many a dead one holds up."""

from collections.abc import Sequence
from typing import Final

from receiver.core.handler import GO_ON
from receiver.core.model import Dispatch, Value
from receiver.storage import rows
from receiver.storage.driver import Transaction
from receiver.storage.lines import LINED

#: So many of a line are counted.
MOST_COUNTED: Final = 100
_OWN: Final = (
    "SELECT line, place, told FROM dispatch "
    "WHERE job_id = :job_id AND handler = :handler AND replay_id = :replay_id AND line IS NOT NULL"
)
_OF_LINE: Final = (
    f"SELECT {rows.DISPATCH} FROM dispatch WHERE handler = :handler AND line = :line AND state ="
)
_BEFORE: Final = "AND (place < :place OR (place = :place AND told < :told)) ORDER BY place, told LIMIT 1"
_BEHIND: Final = (
    f"SELECT count(*) FROM (SELECT 1 FROM dispatch WHERE handler = :handler AND line = :line AND state = '{LINED}' "
    "LIMIT :most) AS waiting"
)


class Turn(Value, frozen=True, kw_only=True):
    """Where a dispatch stands in its line."""

    #: The line's key, as JSON or as a digest of it.
    line: str
    #: What has to end first: dead, running, waiting for its next attempt, or lined up itself; ``None``: nobody knows.
    after: Dispatch | None


class HeldUp(Value, frozen=True, kw_only=True):
    """How many a dead dispatch holds up, and whether there are more than were counted."""

    count: int
    more: bool


def turn(tx: Transaction, dispatch: Dispatch) -> Turn | None:
    """What *dispatch*, which is lined up, waits for."""
    found = tx.run(_OWN, _key(dispatch))
    if not found:
        return None
    line, place, told = found[0]
    where = {"handler": dispatch.handler, "line": line}
    before = {**where, "place": place, "told": told}
    for state, rest, params in (
        ("dead", _BEFORE, before),
        ("ready", "LIMIT 1", where),
        (LINED, _BEFORE, before),
    ):
        if state == "dead" and _goes_on(tx, dispatch.handler):
            continue
        if place is None and params is before:
            continue
        first = tx.run(f"{_OF_LINE} '{state}' {rest}", params)
        if first:
            return Turn(line=line, after=rows.dispatch_of(first[0]))
    return Turn(line=line, after=None)


def held_up(tx: Transaction, letters: Sequence[Dispatch]) -> dict[str, HeldUp]:
    """How many wait behind each of some dead letters, by its id; those that hold nobody up are left out."""
    found: dict[str, HeldUp] = {}
    going_on: dict[str, bool] = {}
    for one in letters:
        own = tx.run(_OWN, _key(one))
        if not own:
            continue
        if one.handler not in going_on:
            going_on[one.handler] = _goes_on(tx, one.handler)
        if going_on[one.handler]:
            continue
        params = {"handler": one.handler, "line": own[0][0], "most": MOST_COUNTED + 1}
        ((count,),) = tx.run(_BEHIND, params)
        if count:
            found[one.id] = HeldUp(count=min(count, MOST_COUNTED), more=count > MOST_COUNTED)
    return found


def _goes_on(tx: Transaction, handler: str) -> bool:
    found = tx.run("SELECT on_dead FROM handler WHERE name = :name", {"name": handler})
    return bool(found) and found[0][0] == GO_ON


def _key(dispatch: Dispatch) -> dict[str, str]:
    return {"job_id": dispatch.job_id, "handler": dispatch.handler, "replay_id": dispatch.replay_id}
