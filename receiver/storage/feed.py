"""The feed: completions in one order that never changes, for those who ask instead of being told.

A completion is written in the commit of its job and gets its place later, by whoever reads: places are given in one
transaction at a time. So a completion whose commit comes late gets a later place, and nobody who has read up to a
place finds one behind it, on any number of nodes. Without a reader a completion costs one short row: completions
without a place stand in a table of their own.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Final

import msgspec
from msgspec.structs import replace

from receiver.core.errors import ReceiverError
from receiver.core.identity import COMPLETION, made_at
from receiver.core.model import Job, JobState, Value
from receiver.storage import rows
from receiver.storage.driver import Row, Transaction

#: So many completions get their place in one transaction.
_TOGETHER: Final = 1000
_NAME: Final = "completions"
_JOB: Final = ", ".join(f"job.{name.strip()}" for name in rows.JOB.split(","))
_PAGE: Final = f"""
    SELECT completion.place, completion.replay_id, completion.state, submission.metadata, {_JOB}
    FROM {{table}} JOIN job ON job.id = completion.job_id
    LEFT JOIN submission ON submission.job_id = completion.job_id
    WHERE completion.place > :after ORDER BY completion.place LIMIT :limit"""
#: Of a provider or in a state completions are looked for among so many: there is no index of these.
_LOOKED_AT: Final = 10_000
_WINDOW: Final = "(SELECT * FROM completion WHERE place > :after ORDER BY place LIMIT :looked) AS completion"
#: Joined only to what is wanted of these.
_SOME: Final = f"(SELECT * FROM {_WINDOW} WHERE 1 = 1 {{where}} ORDER BY place LIMIT :limit) AS completion"
_LAST: Final = f"SELECT max(place), count(*) FROM {_WINDOW}"


class CursorGoneError(ReceiverError):
    """The completions after this cursor are not all there, or it is none; go on from the oldest one that still works.

    Args:
        oldest: The cursor that everything that is left comes after.
    """

    code = "cursor_gone"
    status = 410

    def __init__(self, message: str = "", *, oldest: str = "0") -> None:
        super().__init__(message)
        self.oldest = oldest
        self.details = {"oldest": oldest}


class Wanted(Value, frozen=True, kw_only=True):
    """A page of the feed: what comes after *after*, of one provider and in one state where these are given."""

    after: int = 0
    provider: str | None = None
    state: str | None = None
    limit: int = 100


class Completion(Value, frozen=True, kw_only=True):
    """One completion of a job, at its place."""

    place: int
    job: Job
    #: Empty, or what made this a second completion of its job.
    replay_id: str
    #: How the job had ended with this completion; the job itself says how it stands now.
    state: JobState


class FeedPage(Value, frozen=True, kw_only=True):
    """Completions, and the place to go on from: the page holds every wanted completion up to that place."""

    completions: list[Completion]
    place: int
    #: Whether the page ended because enough was looked at: more may be there already.
    stopped: bool = False


def give_places(tx: Transaction, items: Sequence[int]) -> list[int]:
    """Give a place to completions that have none; how many got one, for each of *items* (whose values say nothing)."""
    # Whoever holds this row gives places, and what is committed meanwhile waits for the next to do so.
    [(last,)] = tx.run("SELECT last FROM feed WHERE name = 'completions' {for_update}")
    found = tx.run(f"SELECT {rows.COMPLETION} FROM unplaced ORDER BY id LIMIT :limit", {"limit": _TOGETHER})
    if found:
        placed = [(place, *row) for place, row in enumerate(found, start=last + 1)]
        tx.insert("completion", f"place, {rows.COMPLETION}", placed)
        tx.delete("unplaced", [row[:1] for row in found], key="id")
        tx.update("feed", "last", [(last + len(found), _NAME)], key="name")
    return [len(found), *[0] * (len(items) - 1)]


def unplaced(tx: Transaction) -> bool:
    """Whether there are completions without a place."""
    return bool(tx.run("SELECT 1 FROM unplaced LIMIT 1"))


def last(tx: Transaction) -> int:
    """The last place that was given."""
    [(found,)] = tx.run("SELECT last FROM feed WHERE name = 'completions'")
    return int(found)


def oldest(tx: Transaction) -> int:
    """The place that everything that is left comes after."""
    [(found,)] = tx.run("SELECT pruned FROM feed WHERE name = 'completions'")
    return int(found)


def page(tx: Transaction, wanted: Wanted) -> FeedPage:
    """Read some completions.

    Raises:
        CursorGoneError: some of what comes after was pruned, or there is no such place.
    """
    [(given, pruned)] = tx.run("SELECT last, pruned FROM feed WHERE name = 'completions'")
    if not pruned <= wanted.after <= given:
        reason = "is older than what is kept" if wanted.after < pruned else "was never given here"
        raise CursorGoneError(
            f"The cursor {wanted.after} {reason}. The oldest that still works is {pruned}.",
            oldest=str(pruned),
        )
    where = "".join(
        f" AND completion.{name} = :{name}" for name in ("provider", "state") if getattr(wanted, name)
    )
    params = {
        "after": wanted.after,
        "limit": wanted.limit,
        "provider": wanted.provider,
        "state": wanted.state,
    }
    used = {name: value for name, value in params.items() if value is not None}
    looked = {"looked": _LOOKED_AT} if where else {}
    found = [
        Completion(place=row[0], replay_id=row[1], state=JobState(row[2]), job=_job(row[4:], row[3]))
        for row in tx.run(
            _PAGE.format(table=_SOME.format(where=where) if where else "completion"), used | looked
        )
    ]
    seen = found[-1].place if found else given
    if len(found) == wanted.limit:
        return FeedPage(completions=found, place=seen)
    if where:
        last, count = tx.run(_LAST, {"after": wanted.after} | looked)[0]
        if count == _LOOKED_AT:
            return FeedPage(completions=found, place=last, stopped=True)
    # A page that is not full has seen everything up to the last place.
    return FeedPage(completions=found, place=max(given, seen))


def _job(row: Row, metadata: bytes | None) -> Job:
    job = rows.job_of(row)
    return job if metadata is None else replace(job, metadata=msgspec.json.decode(metadata))


def stand(tx: Transaction, items: Sequence[tuple[str, int, int]]) -> list[None]:
    """Remember where readers stand: (name, place, now)."""
    tx.insert(
        "feed_reader",
        "name, place, seen_at",
        sorted(items),
        conflict="ON CONFLICT (name) DO UPDATE SET place = excluded.place, seen_at = excluded.seen_at",
    )
    return [None] * len(items)


def stands(tx: Transaction, name: str) -> int | None:
    """Where the reader of that name stands; ``None`` if there is none."""
    found = tx.run("SELECT place FROM feed_reader WHERE name = :name", {"name": name})
    return int(found[0][0]) if found else None


def forget(tx: Transaction, *, before: int) -> int:
    """Drop the completions that came before *before*, in milliseconds, from the beginning of the feed on; how many."""
    # Each has a place when it goes, so that a reader can be told that something was there.
    give_places(tx, [0])
    since = f"{COMPLETION}_{max(before, 0):012x}"
    found = tx.run("SELECT place, id FROM completion ORDER BY place LIMIT :limit", {"limit": _TOGETHER})
    old = [(place,) for place, _ in takewhile(lambda row: row[1] < since, found)]
    if old:
        [(_,)] = tx.run("SELECT pruned FROM feed WHERE name = 'completions' {for_update}")
        tx.delete("completion", old, key="place")
        tx.run(
            "UPDATE feed SET pruned = :place WHERE name = 'completions' AND pruned < :place",
            {"place": old[-1][0]},
        )
    return len(old)


def unite(tx: Transaction, *, younger: str, older: str, replay_id: str | None) -> None:
    """Have what is told of one job be told of another, under a replay id; or of neither, where that is ``None``."""
    # A completion is younger than its job, and its id begins with the time.
    since = f"{COMPLETION}_{made_at(younger):012x}"
    for table in ("completion", "unplaced"):
        which = "job_id = :younger" + (" AND id >= :since" if table == "unplaced" else "")
        names = {"younger": younger} | ({"since": since} if table == "unplaced" else {})
        if replay_id is None:
            tx.run(f"DELETE FROM {table} WHERE {which}", names)
        else:
            tx.run(
                f"UPDATE {table} SET job_id = :older, replay_id = :replay WHERE {which}",
                names | {"older": older, "replay": replay_id},
            )
