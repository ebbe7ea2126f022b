"""Lines: dispatches of one handler and one key, one at a time and in the order in which their jobs were completed.

The first of a line is *ready* and claimed like any other dispatch; those behind it are *lined*. When the first has
ended the next becomes ready in the same commit; when it is dead it stays, and holds the others up unless its handler
says otherwise. So a handler without an order costs nothing, and one with an order costs one short statement a dispatch.

The order is that of the feed, which never changes. Whoever changes the lines of a handler guards its name first, so
that no two nodes make two dispatches of one line ready.
"""

from collections.abc import Collection, Iterable
from typing import Final

from receiver.core.handler import GO_ON
from receiver.storage import feed, rows
from receiver.storage.driver import Row, Transaction

LINED: Final = "lined"
#: The columns of a new dispatch that stands in a line.
NEW_LINED: Final = f"{rows.NEW_DISPATCH}, line, told"
#: How many dispatches are given their place in one transaction, and how often completions are in it.
_TOGETHER: Final = 1000
_ROUNDS: Final = 5
_UNPLACED: Final = (
    "SELECT job_id, replay_id, line, told FROM dispatch "
    "WHERE handler = :handler AND line IS NOT NULL AND place IS NULL ORDER BY told LIMIT :limit"
)
#: The latest completions: what is told beside them stands between them.
_LATEST: Final = "SELECT place, id FROM completion ORDER BY place DESC LIMIT :limit"
_OF_LINE: Final = "FROM dispatch WHERE handler = :handler AND line = :line AND state ="
#: The first of a line that waits, with whether one of it is under way, and the first of it that is dead.
_HEAD: Final = f"""
    SELECT head.job_id, head.replay_id, head.place, head.told,
        (SELECT count(*) FROM (SELECT 1 {_OF_LINE} 'ready' LIMIT 1) AS active),
        (SELECT place {_OF_LINE} 'dead' AND place IS NOT NULL ORDER BY place, told LIMIT 1),
        (SELECT told {_OF_LINE} 'dead' AND place IS NOT NULL ORDER BY place, told LIMIT 1)
    FROM (SELECT job_id, replay_id, place, told {_OF_LINE} '{LINED}' AND place IS NOT NULL
        ORDER BY place, told LIMIT 1) AS head"""


def guard(tx: Transaction, handlers: Iterable[str]) -> None:
    """Keep others from the lines of some handlers until the transaction ends; to be called before any row is locked."""
    tx.guard([f"lines\0{name}" for name in sorted(set(handlers))])


def renamed(tx: Transaction, handlers: Iterable[str]) -> dict[str, str]:
    """The new names, by the old ones, of handlers that are among *handlers* or became one of them."""
    wanted = set(handlers)
    found = tx.run("SELECT name, renamed_to FROM handler WHERE renamed_to IS NOT NULL")
    return {name: into for name, into in found if name in wanted or into in wanted}


def line_up(tx: Transaction, handler: str, *, now: int) -> None:
    """Give dispatches of a handler that have none their place in line, and make ready whatever is first."""
    found = tx.run(_UNPLACED, {"handler": handler, "limit": _TOGETHER})
    if not found:
        return
    # Where nobody has read the feed yet all of it has no place: that is not made up for in one transaction.
    caught_up = any(not feed.give_places(tx, [0])[0] for _ in range(_ROUNDS))
    where, params = tx.among("job_id", sorted({row[0] for row in found}))
    places: dict[str, int] = dict(tx.run(f"SELECT id, place FROM completion WHERE {where}", params))
    # What is no completion stands beside those before it, once all of these have their place.
    latest = tx.run(_LATEST, {"limit": _TOGETHER}) if any(row[3] not in places for row in found) else []
    placed = [
        (places[told] if told in places else _beside(told, latest), job_id, handler, replay_id)
        for job_id, replay_id, _, told in found
        if caught_up or told in places
    ]
    tx.update("dispatch", "place", placed, key=rows.DISPATCH_KEY)
    advance(tx, {(handler, row[2]) for row in found}, now=now)


def advance(tx: Transaction, lines: Collection[tuple[str, str]], *, now: int) -> None:
    """Make the first of each line ready, unless one of it is under way or dead before it: (handler, line)."""
    if not lines:
        return
    names = sorted({handler for handler, _ in lines})
    where, params = tx.among("name", names)
    older, older_params = tx.among("renamed_to", names)
    going_on: set[str] = set()
    #: What a handler was called before: some of a line may still run under that name on a node that knows no other.
    before: dict[str, list[str]] = {}
    for name, on_dead, renamed_to in tx.run(
        f"SELECT name, on_dead, renamed_to FROM handler WHERE {where} OR {older}", params | older_params
    ):
        if on_dead == GO_ON:
            going_on.add(name)
        if renamed_to is not None:
            before.setdefault(renamed_to, []).append(name)
    ready: list[Row] = []
    for handler, line in sorted(lines):
        for row in tx.run(_HEAD, {"handler": handler, "line": line}):
            job_id, replay_id, place, active, dead = *row[:2], row[2:4], row[4], row[5:7]
            held_up = dead[1] is not None and handler not in going_on and dead < place
            active = active or any(
                tx.run(f"SELECT 1 {_OF_LINE} 'ready' LIMIT 1", {"handler": one, "line": line})
                for one in before.get(handler, ())
            )
            if not active and not held_up:
                ready.append(("ready", now, job_id, handler, replay_id))
    tx.update("dispatch", "state, run_at", ready, key=rows.DISPATCH_KEY)
    if ready:
        tx.announce()


def dissolve(tx: Transaction, handlers: Iterable[str]) -> None:
    """Have handlers that order nothing any more get what stands in their lines at once."""
    for handler in sorted(handlers):
        tx.run(
            f"UPDATE dispatch SET state = CASE WHEN state = '{LINED}' THEN 'ready' ELSE state END, "
            "line = NULL, place = NULL, told = NULL WHERE handler = :handler AND line IS NOT NULL",
            {"handler": handler},
        )


def _beside(told: str, latest: Iterable[Row]) -> int:
    """The place of a dispatch that tells of no completion: that of the last completion before it."""
    return next((place for place, completion in latest if completion < told), 0)
