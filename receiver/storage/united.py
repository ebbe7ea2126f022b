"""Merging two jobs in the tables: everything of the younger becomes the older's, and its id leads there."""

from collections.abc import Collection, Mapping
from typing import Final, TypeAlias

from receiver.core.identity import COMPLETION, made_at, new_id
from receiver.core.job.uniting import United
from receiver.storage import feed, lines, rows
from receiver.storage.driver import Transaction

#: The replay id that a job's late outcome gives its dispatches: it keeps them apart from those that its time-out made.
LATE: Final = "late"
#: A dispatch: its job, its handler, its replay id.
Key: TypeAlias = tuple[str, str, str]
_MOVE_DISPATCHES: Final = """
    UPDATE dispatch SET job_id = :older, replay_id = CASE WHEN replay_id = '' THEN :replay ELSE replay_id END
    WHERE job_id = :younger AND NOT EXISTS (
        SELECT 1 FROM dispatch AS other WHERE other.job_id = :older AND other.handler = dispatch.handler
            AND other.replay_id = CASE WHEN dispatch.replay_id = '' THEN :replay ELSE dispatch.replay_id END)"""
#: Both may have asked the same address.
_MOVE_SPENT: Final = (
    "INSERT INTO spent (job_id, sha256) SELECT :older, sha256 FROM spent WHERE job_id = :younger "
    "ON CONFLICT DO NOTHING"
)


#: The replay id of a result that is found after a late outcome that was *expired*.
FOUND: Final = "found"


def second(tx: Transaction, job_id: str) -> str:
    """The replay id of one more outcome of a job that had ended, which keeps its dispatches apart from all before."""
    # An outcome that was worked off has no dispatch any more, but stands in the timeline.
    for table in ("dispatch", "attempt"):
        told = f"SELECT 1 FROM {table} WHERE job_id = :id AND replay_id = :late LIMIT 1"
        if tx.run(told, {"id": job_id, "late": LATE}):
            return FOUND
    return LATE


def absorb(tx: Transaction, united: United, *, replay_id: str, ordered: Mapping[str, str | None]) -> None:
    """Give everything of the younger job to the older, and forget the younger but for its id.

    *replay_id* is that of the outcome that the older inherits; empty where it is its first. *ordered* has, for each
    handler that orders its completions, the line in which those of the older stand.
    """
    job, absorbed = united.job, united.absorbed
    names = {"older": job.id, "younger": absorbed.id}
    #: The lines that something leaves, so that others may go on.
    behind: set[tuple[str, str]] = set()
    if absorbed.first_callback is not None:
        # A job names its first callback, and has one.
        tx.run(
            "UPDATE callback SET job_id = :older, is_first = :first WHERE id = :id",
            {
                "older": job.id,
                "first": int(job.first_callback == absorbed.first_callback),
                "id": absorbed.first_callback,
            },
        )
    tx.run("UPDATE callback SET job_id = :older WHERE job_id = :younger AND is_first = 0", names)
    if united.inherits:
        tx.run("DELETE FROM result_chunk WHERE job_id = :older", names)
        tx.run("UPDATE result_chunk SET job_id = :older WHERE job_id = :younger", names)
        for table, which in (("file", ""), ("download", ""), ("due", " AND step = 'files'")):
            tx.run(f"UPDATE {table} SET job_id = :older WHERE job_id = :younger{which}", names)
        tx.run("DELETE FROM page WHERE job_id = :older", names)
        tx.run("UPDATE page SET job_id = :older WHERE job_id = :younger", names)
        tx.run(_MOVE_DISPATCHES, names | {"replay": replay_id})
        behind |= _line_up(tx, united, ordered)
    # The feed tells of the one outcome that stands, under the job's one id.
    heir = replay_id if united.inherits else None
    feed.unite(tx, younger=absorbed.id, older=job.id, replay_id=heir)
    tx.run(_MOVE_SPENT, names)
    for table in ("result_chunk", "page", "spent", "due", "file", "download"):
        tx.run(f"DELETE FROM {table} WHERE job_id = :younger", names)
    gone = tx.run("DELETE FROM dispatch WHERE job_id = :younger RETURNING handler, line", names)
    if behind := behind | {(handler, line) for handler, line in gone if line is not None}:
        lines.guard(tx, {handler for handler, _ in behind})
        lines.advance(tx, behind, now=job.ended_at or made_at(absorbed.id))
    tx.run("UPDATE attempt SET job_id = :older WHERE job_id = :younger", names)
    tx.run("DELETE FROM job WHERE id = :younger", names)
    tx.run("UPDATE united SET into_id = :older WHERE into_id = :younger", names)
    tx.insert("united", "job_id, into_id, replay_id", [(absorbed.id, job.id, replay_id)])


def _line_up(tx: Transaction, united: United, ordered: Mapping[str, str | None]) -> set[tuple[str, str]]:
    """Have what waits under the older's name stand in the older's lines; the lines that it leaves.

    Nobody knew whose the younger was. What has begun by now goes on where it is.
    """
    left: set[tuple[str, str]] = set()
    for handler, line in sorted(ordered.items()):
        for replay_id, state, before, told in tx.run(
            "SELECT replay_id, state, line, told FROM dispatch WHERE job_id = :job_id AND handler = :handler "
            "AND owner IS NULL",
            {"job_id": united.job.id, "handler": handler},
        ):
            if before == line:
                continue
            if before is not None:
                left.add((handler, before))
            if state != "dead":
                state = "ready" if line is None else lines.LINED  # noqa: PLW2901  (as it is from now on)
            told = told or _told(tx, united)  # noqa: PLW2901  (the same)
            key = (united.job.id, handler, replay_id)
            values = (state, line, None if line is None else told, None, *key)
            tx.update("dispatch", "state, line, told, place", [values], key=rows.DISPATCH_KEY)
    return left


def _told(tx: Transaction, united: United) -> str:
    """The id of the completion that the younger's end is told by."""
    since = f"{COMPLETION}_{made_at(united.absorbed.id):012x}"
    for table, bound in (("completion", ""), ("unplaced", " AND id >= :since")):
        params = {"job_id": united.absorbed.id} | ({"since": since} if bound else {})
        if found := tx.run(f"SELECT id FROM {table} WHERE job_id = :job_id{bound} LIMIT 1", params):
            return str(found[0][0])
    return new_id(COMPLETION, united.job.ended_at or made_at(united.absorbed.id))


def dispatches_led(tx: Transaction, keys: Collection[Key]) -> dict[Key, Key]:
    """Of dispatches whose jobs became others: the keys that they have now."""
    into = led(tx, {key[0] for key in keys})
    return {key: (into[key[0]][0], key[1], key[2] or into[key[0]][1]) for key in keys if key[0] in into}


def known_before(tx: Transaction, key: Key) -> list[Key]:
    """The keys that a dispatch may have had before its job became what it is."""
    job_id, handler, replay_id = key
    found = tx.run("SELECT job_id, replay_id FROM united WHERE into_id = :job_id", {"job_id": job_id})
    return [(one, handler, "" if replay_id == inherited else replay_id) for one, inherited in found]


def led(tx: Transaction, ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """For ids that lead to another job: the id of that job, and the replay id of the outcome it inherited."""
    if not ids:
        return {}
    where, params = tx.among("job_id", sorted(ids))
    return {
        job_id: (into_id, replay_id)
        for job_id, into_id, replay_id in tx.run(
            f"SELECT job_id, into_id, replay_id FROM united WHERE {where}", params
        )
    }
