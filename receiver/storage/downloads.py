"""Downloads: files that are still to be fetched, claimed with what is deleted first, and settled one by one.

A claim moves ``run_at`` to the end of its lease, which whoever fetches extends with every step that it records.
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from receiver.core.alarms.rules import Leaving
from receiver.core.file import Download, File
from receiver.core.job import transition
from receiver.core.job.transition import Move
from receiver.core.model import HOUR, MINUTE, Attempt, Job, Value
from receiver.storage.claims import load_jobs
from receiver.storage.distinct import distinct
from receiver.storage.driver import Row, Transaction
from receiver.storage.files import DOWNLOAD, KEY, tell
from receiver.storage.ledger import Ledger

_WAITING: Final = "SELECT 1 FROM download WHERE run_at <= :now LIMIT 1"
#: So many are looked at by the time from which on they are due. Where fewer are due these are all.
_FEW: Final = 1000
_DUE: Final = (
    "SELECT job_id, number, origin, expires_at FROM download "
    "WHERE run_at <= :now ORDER BY run_at LIMIT :limit"
)
#: So many are looked at of those that are deleted first, and of so many origins so many of those.
_FIRST: Final = 2000
_AT_ONCE: Final = 200
_OF_ONE: Final = 100
_SOME: Final = (
    "SELECT job_id, number, origin, expires_at FROM (SELECT job_id, number, origin, expires_at, run_at FROM download "
    "%s ORDER BY expires_at LIMIT :looked) AS soonest WHERE run_at <= :now ORDER BY expires_at LIMIT :limit"
)
_DELETED_FIRST: Final = _SOME % ""
_OF_ORIGIN: Final = _SOME % "WHERE origin = :origin"
_ORIGINS: Final = f"{distinct('origin', 'download', after='after')} LIMIT :limit"
_TAKEN: Final = (
    f"SELECT {DOWNLOAD.columns} FROM download WHERE job_id = :job_id AND number = :number AND run_at <= :now "
    "{for_update} {skip_locked}"
)
_FENCED: Final = (
    f"SELECT {DOWNLOAD.columns} FROM download WHERE job_id = :job_id AND number = :number AND owner = :owner "
    "AND attempt = :attempt {for_update}"
)
#: So many failures in a row are written to the timeline.
_LOGGED_FAILURES: Final = 3
#: So many files of a job have lines in the timeline; the list of its files has them all.
_LOGGED_FILES: Final = 50
#: What is due for so many milliseconds should have been fetched; of what is late no more is looked at than this.
_LATE: Final = 5 * MINUTE
_MOST: Final = 1000


class DownloadClaim(Value, frozen=True, kw_only=True):
    """A worker's wish for files to fetch."""

    owner: str
    limit: int
    #: How many are fetched from one origin at once, and how many are already.
    each: int
    busy: Mapping[str, int]
    #: Origins that nothing is fetched from now.
    closed: Container[str]
    #: The origins that come after this one are asked by themselves; see ``turn``.
    after: str = ""
    lease_ms: int
    now: int


class Fetching(Value, frozen=True, kw_only=True):
    """A file that is ours to fetch until its lease ends, and its job."""

    download: Download
    job: Job


class Progress(Value, frozen=True, kw_only=True):
    """A step of a download that goes on."""

    download: Download
    until: int


class DownloadSettled(Value, frozen=True, kw_only=True):
    """The end of an attempt: the file as it is then, or, with ``again``, the download as it is tried again."""

    download: Download
    file: File | None = None
    again: Download | None = None
    log: Attempt
    now: int


class Renewal(Value, frozen=True, kw_only=True):
    """Fresh links of a job, by the numbers of its files; those without one stay as they are."""

    job_id: str
    links: Mapping[int, tuple[str, str, int]]


def waiting(tx: Transaction, now: int) -> bool:
    """Whether anything is to be fetched."""
    return bool(tx.run(_WAITING, {"now": now}))


def claim(tx: Transaction, items: Sequence[DownloadClaim]) -> list[list[Fetching]]:
    """Claim files to fetch, those that are deleted first before the others."""
    answers = []
    for item in items:
        found = _choose(tx, item)
        leased = [
            replace(one, owner=item.owner, attempt=one.attempt + 1, run_at=item.now + item.lease_ms)
            for one in found
        ]
        tx.update(
            "download",
            "owner, attempt, run_at",
            [(one.owner, one.attempt, one.run_at, one.job_id, one.number) for one in leased],
            key=KEY,
        )
        jobs = load_jobs(tx, [one.job_id for one in leased])
        answers.append([Fetching(download=one, job=jobs[one.job_id]) for one in leased if one.job_id in jobs])
    return answers


def turn(tx: Transaction, after: str) -> str:
    """Where the origins end that a claim looks at which begins after *after*; empty where those were the last."""
    found = _origins(tx, after)
    return found[-1] if len(found) == _AT_ONCE else ""


def _choose(tx: Transaction, item: DownloadClaim) -> list[Download]:
    """The next ones, as far as their origins have room.

    However many wait, and at however many origins, as many are looked at: those that have been due for longest, those
    that are deleted first, and those of some origins, whose turn it is (*after*). So an origin that is left alone, with
    all that waits for it, holds up nobody for long.
    """
    due = tx.run(_DUE, {"now": item.now, "limit": _FEW})
    if len(due) < _FEW:
        return _take(tx, item, due)
    some = {"now": item.now, "looked": _FIRST, "limit": _FIRST}
    found = {row[:2]: row for row in (*due, *tx.run(_DELETED_FIRST, some))}
    for origin in _origins(tx, item.after):
        room = min(item.each - item.busy.get(origin, 0), item.limit)
        if room > 0 and origin not in item.closed:
            params = {"now": item.now, "looked": _OF_ONE, "limit": room, "origin": origin}
            found |= {row[:2]: row for row in tx.run(_OF_ORIGIN, params)}
    return _take(tx, item, [*found.values()])


def _origins(tx: Transaction, after: str) -> list[str]:
    return [row[0] for row in tx.run(_ORIGINS, {"after": after, "limit": _AT_ONCE})]


def _take(tx: Transaction, item: DownloadClaim, due: Sequence[Row]) -> list[Download]:
    chosen: list[Download] = []
    taken = Counter(item.busy)
    for job_id, number, origin, _ in sorted(due, key=lambda row: (row[3], row[0], row[1])):
        if len(chosen) == item.limit:
            break
        if taken[origin] >= item.each or origin in item.closed:
            continue
        # Another node may just be taking it.
        for row in tx.run(_TAKEN, {"job_id": job_id, "number": number, "now": item.now}):
            taken[origin] += 1
            chosen.append(DOWNLOAD.noun(row))
    return chosen


def go_on(tx: Transaction, items: Sequence[Progress]) -> list[bool]:
    """Record how far downloads have come, and extend their leases; whether each still was its owner's."""
    answers = []
    for item in sorted(items, key=lambda one: (one.download.job_id, one.download.number)):
        found = _fenced(tx, item.download)
        if found is not None:
            _plan(tx, [replace(item.download, run_at=item.until)], found.job_id)
        answers.append(((item.download.job_id, item.download.number), found is not None))
    known = dict(answers)
    return [known[item.download.job_id, item.download.number] for item in items]


def settle(tx: Transaction, items: Sequence[DownloadSettled]) -> list[Move | None]:
    """Settle attempts to fetch files; the move of the job that each made, or ``None`` where it came too late.

    With its last file that is stored or lost a job succeeds, in the same commit.
    """
    ledger = Ledger(tx)
    ledger.open(item.download.job_id for item in items)
    answers: list[Move | None] = []
    for item in items:
        job = ledger.get(item.download.job_id)
        before = None if job is None else _fenced(tx, item.download, job_id=job.id)
        if job is None or before is None:
            answers.append(None)
            continue
        if item.again is not None:
            if before.failures < _LOGGED_FAILURES and item.download.number <= _LOGGED_FILES:
                ledger.log(replace(item.log, job_id=job.id))
            _plan(tx, [replace(item.again, owner=None)], job.id)
            if item.file is not None:
                tell(tx, [(job.id, item.file)])
            answers.append(Move(job=job))
            continue
        assert item.file is not None  # noqa: S101  (it is one or the other)
        if item.download.number <= _LOGGED_FILES:
            ledger.log(replace(item.log, job_id=job.id))
        tell(tx, [(job.id, item.file)])
        tx.delete("download", [(job.id, item.download.number)], key=KEY)
        left = tx.run("SELECT 1 FROM download WHERE job_id = :id LIMIT 1", {"id": job.id})
        move = Move(job=job) if left else transition.gathered(job, now=item.now)
        if move.completed:
            ledger.carry_out(move, now=item.now)
        answers.append(move)
    ledger.flush()
    return answers


def renew(tx: Transaction, items: Sequence[Renewal]) -> list[None]:
    """Take the fresh links of jobs, each of which is asked for them once."""
    for item in sorted(items, key=lambda one: one.job_id):
        tx.run(
            "SELECT number FROM download WHERE job_id = :id ORDER BY number {for_update}", {"id": item.job_id}
        )
        tx.run("UPDATE download SET renewed = 1 WHERE job_id = :id", {"id": item.job_id})
        tx.update(
            "download",
            "url, origin, expires_at",
            [
                (url, origin, expires_at, item.job_id, number)
                for number, (url, origin, expires_at) in sorted(item.links.items())
            ],
            key=KEY,
        )
    return [None] * len(items)


def leaving(tx: Transaction, *, now: int) -> list[Leaving]:
    """Files that their providers delete within the hour, and that should have been fetched by now."""
    found = tx.run(
        "SELECT provider, count(*), min(expires_at), max(failures) FROM (SELECT provider, expires_at, failures "
        "FROM download WHERE expires_at <= :soon AND (failures >= :many OR run_at <= :late) "
        "ORDER BY expires_at LIMIT :most) AS late GROUP BY provider ORDER BY provider",
        {"soon": now + HOUR, "many": _LOGGED_FAILURES, "late": now - _LATE, "most": _MOST},
    )
    return [
        Leaving(provider=provider, count=count, first_at=first_at, failures=failures)
        for provider, count, first_at, failures in found
    ]


def current(tx: Transaction, job_id: str, number: int) -> Download | None:
    """A download as it is now."""
    found = tx.run(
        f"SELECT {DOWNLOAD.columns} FROM download WHERE job_id = :id AND number = :number",
        {"id": job_id, "number": number},
    )
    return DOWNLOAD.noun(found[0]) if found else None


def of_job(tx: Transaction, job_id: str) -> list[Download]:
    """The files of a job that are still to be fetched, in the order of their numbers."""
    found = tx.run(
        f"SELECT {DOWNLOAD.columns} FROM download WHERE job_id = :id ORDER BY number", {"id": job_id}
    )
    return [DOWNLOAD.noun(row) for row in found]


def release(tx: Transaction, items: Sequence[Download]) -> list[None]:
    """Give downloads back at once, with what they have got so far."""
    for item in sorted(items, key=lambda one: (one.job_id, one.number)):
        found = _fenced(tx, item)
        if found is not None:
            _plan(tx, [replace(item, owner=None)], found.job_id)
    tx.announce()
    return [None] * len(items)


def give_up(tx: Transaction, job_id: str) -> None:
    """Fetch nothing more for a job: what waits is lost."""
    tx.run("DELETE FROM download WHERE job_id = :id", {"id": job_id})
    tx.run(
        "UPDATE file SET state = 'lost', code = 'file_abandoned' WHERE job_id = :id AND state = 'waiting'",
        {"id": job_id},
    )


def _fenced(tx: Transaction, download: Download, *, job_id: str | None = None) -> Download | None:
    found = tx.run(
        _FENCED,
        {
            "job_id": job_id or download.job_id,
            "number": download.number,
            "owner": download.owner,
            "attempt": download.attempt,
        },
    )
    return DOWNLOAD.noun(found[0]) if found else None


def _plan(tx: Transaction, downloads: Sequence[Download], job_id: str) -> None:
    rows: list[Row] = [
        (
            one.owner,
            one.run_at,
            one.failures,
            one.largest,
            one.partial,
            one.received,
            one.validator,
            job_id,
            one.number,
        )
        for one in downloads
    ]
    tx.update("download", "owner, run_at, failures, largest, partial, received, validator", rows, key=KEY)
