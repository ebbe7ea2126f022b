"""Reading the record: lists by cursor, one job's timeline, what is due, and counts for the metrics."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from msgspec.structs import replace

from receiver.core.errors import NotFoundError, RequestError
from receiver.core.file import File
from receiver.core.identity import CALLBACK, made_at
from receiver.core.job.urgency import LANES
from receiver.core.model import (
    Attempt,
    Callback,
    Dispatch,
    Due,
    Job,
    Value,
    Verdict,
)
from receiver.storage import rows
from receiver.storage.claims import load_jobs
from receiver.storage.driver import Transaction
from receiver.storage.files import of_job
from receiver.storage.lines import LINED
from receiver.storage.pages import StoredPage
from receiver.storage.pages import stored as stored_pages
from receiver.storage.queues import HeldUp, Turn, held_up, turn
from receiver.storage.united import led

MOST: Final = 500
#: How many callbacks are looked at for the keys that proved them.
LATEST: Final = 10_000


class Page(Value, frozen=True, kw_only=True):
    """What to list: filters, the newest first, older than *before*."""

    provider: str | None = None
    state: str | None = None
    job_id: str | None = None
    verdict: str | None = None
    since: int | None = None
    before: str | None = None
    after: str | None = None
    limit: int = 50


class Submission(Value, frozen=True, kw_only=True):
    """What was submitted, and the provider's answer."""

    request: bytes
    metadata: bytes
    idempotency_key: str | None
    answer_status: int | None
    answer_body: bytes | None
    #: What it carries beside the request, as JSON.
    options: bytes | None = None
    #: The file that the job is made of, as the provider calls it, where that was uploaded for it.
    uploaded: str | None = None


class Record(Value, frozen=True, kw_only=True):
    """Everything that is known about one job."""

    job: Job
    submission: Submission | None
    callbacks: list[Callback]
    attempts: list[Attempt]
    dispatches: list[Dispatch]
    due: list[Due]
    files: list[File] = []
    #: What is here of a result that comes in pages.
    pages: list[StoredPage] = []
    #: Behind what those of its dispatches stand that are lined up, by their ids.
    turns: dict[str, Turn] = {}
    #: How many wait behind those that are dead, by their ids.
    held_up: dict[str, HeldUp] = {}


def callbacks(tx: Transaction, page: Page) -> list[Callback]:
    """List callbacks without their bodies, the newest first; with ``after`` the oldest first, for following."""
    if page.verdict not in {None, Verdict.ACCEPTED} and page.provider is None and page.job_id is None:
        return _of_all_providers(tx, page)
    where, params = _where(page)
    columns = rows.CALLBACK.replace(" body,", f" {_EMPTY} AS body,")
    direction = "ASC" if page.after is not None else "DESC"
    order = f"id {direction}"
    if page.provider is not None and page.job_id is None and page.verdict in {None, Verdict.ACCEPTED}:
        # An id begins with the time at which its callback was received, and by that the index is.
        order = f"received_at {direction}, {order}"
        times = {} if page.since is None else {"since": page.since}
        for name in ("before", "after"):
            bound = getattr(page, name)
            with suppress(
                TypeError, AttributeError, ValueError
            ):  # none, or no id of ours: by itself it bounds, too
                times[name] = made_at(bound)
        for name, at in times.items():
            params[f"{name}_at"] = at
            where += f" AND received_at {'<=' if name == 'before' else '>='} :{name}_at"
    found_rows = tx.run(f"SELECT {columns} FROM callback {where} ORDER BY {order} LIMIT :limit", params)
    return [rows.callback_of(row) for row in found_rows]


def _of_all_providers(tx: Transaction, page: Page) -> list[Callback]:
    """Callbacks of a verdict whose index is by provider: of each the ids of so many, and of these the newest."""
    backwards = page.after is None
    ids: list[str] = []
    for provider in _providers_with(tx, page.verdict):
        where, params = _where(replace(page, provider=provider))
        sql = f"SELECT id FROM callback {where} ORDER BY id {'DESC' if backwards else 'ASC'} LIMIT :limit"
        ids += [row[0] for row in tx.run(sql, params)]
    first = sorted(ids, reverse=backwards)[: _limit(page)]
    if not first:
        return []
    where, params = tx.among("id", sorted(first))
    columns = rows.CALLBACK.replace(" body,", f" {_EMPTY} AS body,")
    found = {row[0]: row for row in tx.run(f"SELECT {columns} FROM callback WHERE {where}", params)}
    return [rows.callback_of(found[one]) for one in first]


def _providers_with(tx: Transaction, verdict: str | None) -> Iterator[str]:
    """The providers with callbacks of that verdict, found one after the other by its index."""
    last = ""
    while True:
        ((found,),) = tx.run(
            f"SELECT min(provider) FROM callback WHERE verdict = :verdict AND {rows.UNSETTLED} AND provider > :last",
            {"verdict": verdict, "last": last},
        )
        if found is None:
            return
        yield found
        last = found


def callbacks_by_id(tx: Transaction, ids: Sequence[str]) -> list[Callback | NotFoundError]:
    """Callbacks with their bodies, in the order of *ids*."""
    where, params = tx.among("id", ids)
    found = {row[0]: row for row in tx.run(f"SELECT {rows.CALLBACK} FROM callback WHERE {where}", params)}
    return [
        rows.callback_of(found[one])
        if one in found
        else NotFoundError(f"No callback {one} is stored.", code="callback_not_found")
        for one in ids
    ]


def jobs_by_id(tx: Transaction, ids: Sequence[str]) -> list[Job | NotFoundError]:
    """Jobs with their metadata, in the order of *ids*."""
    found = load_jobs(tx, ids, metadata=True)
    if missing := {*ids} - found.keys():
        # What still names a job that became another one is led there.
        into = {one: job_id for one, (job_id, _) in led(tx, missing).items()}
        known = load_jobs(tx, list(into.values()), metadata=True)
        found |= {one: known[job_id] for one, job_id in into.items() if job_id in known}
    return [found.get(one) or NotFoundError(f"No job {one} is stored.", code="job_not_found") for one in ids]


def record(tx: Transaction, job_id: str) -> Record:
    """Everything about one job; callbacks come without their bodies."""
    (job,) = jobs_by_id(tx, [job_id])
    if isinstance(job, NotFoundError):
        raise job
    job_id = job.id
    dispatches = [
        rows.dispatch_of(row)
        for row in tx.run(f"SELECT {rows.DISPATCH} FROM dispatch WHERE job_id = :id", {"id": job_id})
    ]
    turns = {one.id: turn(tx, one) for one in dispatches if one.state == LINED}
    return Record(
        job=job,
        submission=submission(tx, job_id),
        callbacks=sorted(callbacks(tx, Page(job_id=job_id, limit=MOST)), key=lambda one: one.id),
        attempts=[
            rows.attempt_of(row)
            for row in tx.run(
                f"SELECT {rows.ATTEMPT} FROM attempt WHERE job_id = :id ORDER BY id LIMIT :limit",
                {"id": job_id, "limit": MOST},
            )
        ],
        dispatches=dispatches,
        turns={one: found for one, found in turns.items() if found is not None},
        held_up=held_up(tx, [one for one in dispatches if one.state == "dead"]),
        due=[
            rows.due_of(row)
            for row in tx.run(f"SELECT {rows.DUE} FROM due WHERE job_id = :id", {"id": job_id})
        ],
        files=[] if job.files_when == "never" else of_job(tx, job_id),
        pages=stored_pages(tx, job_id),
    )


def submission(tx: Transaction, job_id: str) -> Submission | None:
    """What was submitted for a job; ``None`` for one that was not submitted here."""
    found = tx.run(
        "SELECT request, metadata, idempotency_key, answer_status, answer_body, options, uploaded FROM submission "
        "WHERE job_id = :id",
        {"id": job_id},
    )
    if not found:
        return None
    request, metadata, key, status, body, options, uploaded = found[0]
    return Submission(
        request=bytes(request),
        metadata=bytes(metadata),
        idempotency_key=key,
        answer_status=status,
        answer_body=None if body is None else bytes(body),
        options=None if options is None else bytes(options),
        uploaded=uploaded,
    )


def activity(tx: Transaction, since: int) -> list[tuple[str, Attempt]]:
    """What steps and handlers finished from *since* on, the oldest first, each with its job's provider."""
    columns = ", ".join(f"attempt.{name}" for name in rows.ATTEMPT.split(", "))
    found = tx.run(
        f"SELECT job.provider, {columns} FROM attempt JOIN job ON job.id = attempt.job_id "
        "WHERE attempt.started_at + attempt.duration_ms >= :since "
        "ORDER BY attempt.started_at + attempt.duration_ms, attempt.id LIMIT :limit",
        {"since": since, "limit": MOST},
    )
    return [(row[0], rows.attempt_of(row[1:])) for row in found]


def handlers(tx: Transaction) -> list[dict[str, Any]]:
    """The registered handlers."""
    found = tx.run(
        "SELECT name, provider, state, seen_at FROM handler WHERE renamed_to IS NULL ORDER BY name"
    )
    return [dict(zip(("name", "provider", "state", "seen_at"), row, strict=True)) for row in found]


def due_providers(tx: Transaction, now: int) -> list[str]:
    """The providers for which something is due."""
    return [row[0] for row in tx.run(_DUE_PROVIDERS, {"now": now})]


def held_due(tx: Transaction, now: int) -> list[tuple[str, str]]:
    """Held callbacks whose time is up: (id, provider)."""
    found = tx.run(
        "SELECT callback_id, provider FROM held WHERE until <= :now ORDER BY callback_id", {"now": now}
    )
    return [(row[0], row[1]) for row in found]


def sealed_key(tx: Transaction, job_id: str) -> bytes | None:
    """The encrypted key for a job's callbacks, if its provider handed one out."""
    found = tx.run("SELECT sealed_key FROM submission WHERE job_id = :id", {"id": job_id})
    return bytes(found[0][0]) if found and found[0][0] is not None else None


def keys_used(tx: Transaction) -> list[tuple[str, str, int, int]]:
    """Which keys proved the latest callbacks that are stored: (provider, key id, how many, when last)."""
    found = tx.run(
        "SELECT provider, key_id, count(*), max(received_at) FROM "
        "(SELECT provider, key_id, received_at FROM callback ORDER BY id DESC LIMIT :latest) AS latest "
        "WHERE key_id IS NOT NULL GROUP BY provider, key_id ORDER BY provider, key_id",
        {"latest": LATEST},
    )
    return [(row[0], row[1], row[2], row[3]) for row in found]


def open_providers(tx: Transaction) -> list[str]:
    """The providers of open jobs."""
    return [
        row[0]
        for row in tx.run(f"{_PROVIDERS} SELECT name FROM named WHERE name IS NOT NULL AND {_HAS_OPEN}")
    ]


def resolve(tx: Transaction, prefix: str) -> str:
    """The one id that begins with *prefix*; raises NotFoundError, or RequestError where several do."""
    tables = {"job": "job", "cb": "callback"}
    kinds = [kind for kind in tables if prefix.startswith(kind + "_")] or list(tables)
    found: list[str] = []
    for kind in kinds:
        start = prefix if prefix.startswith(kind + "_") else f"{kind}_{prefix}"
        found += [
            row[0]
            for row in tx.run(
                f"SELECT id FROM {tables[kind]} WHERE id >= :start AND id < :end ORDER BY id LIMIT 2",
                {"start": start, "end": start + "\x7f"},
            )
        ]
    if not found and "job" in kinds:
        start = prefix if prefix.startswith("job_") else f"job_{prefix}"
        found = [
            row[0]
            for row in tx.run(
                "SELECT DISTINCT into_id FROM united WHERE job_id >= :start AND job_id < :end LIMIT 2",
                {"start": start, "end": start + "\x7f"},
            )
        ]
    if not found:
        raise NotFoundError(f"Nothing is stored whose id begins with {prefix!r}.", code="not_found")
    if len(found) > 1:
        raise RequestError(f"Several ids begin with {prefix!r}; write more of it.", code="id_ambiguous")
    return found[0]


# The providers in ``due``, found one after the other by its index: to read it all takes long where much is due.
_PROVIDERS: Final = """
    WITH RECURSIVE named (name) AS (
        SELECT min(provider) FROM due
        UNION ALL SELECT (SELECT min(provider) FROM due WHERE provider > name) FROM named WHERE name IS NOT NULL)"""
# Not EXISTS: PostgreSQL may answer that for all names at once, by reading all that is due.
_DUE_IN: Final = "(SELECT 1 FROM due WHERE provider = name AND lane = {} AND run_at <= :now LIMIT 1) = 1"
_DUE_IN_A_LANE: Final = " OR ".join(_DUE_IN.format(lane) for lane in LANES)
# Each job is looked up by itself: joined, PostgreSQL reads all that is due and all jobs.
_HAS_OPEN: Final = (
    "(SELECT 1 FROM due WHERE due.provider = name "
    "AND (SELECT 1 FROM job WHERE job.id = due.job_id AND job.ended_at IS NULL) = 1 LIMIT 1) = 1"
)
_DUE_PROVIDERS: Final = f"{_PROVIDERS} SELECT name FROM named WHERE name IS NOT NULL AND ({_DUE_IN_A_LANE})"
#: The states whose jobs have an index (``job_state``).
INDEXED: Final = "state NOT IN ('submitted', 'succeeded')"
# SQLite's substr gives NULL for a part of an empty blob.
_EMPTY: Final = "coalesce(substr(body, 1, 0), body)"


def _limit(page: Page) -> int:
    return min(max(page.limit, 1), MOST)


def _where(page: Page) -> tuple[str, dict[str, Any]]:
    """The condition for the callbacks of *page*."""
    params: dict[str, Any] = {"limit": _limit(page)}
    terms = []
    for name in ("provider", "verdict"):
        value = getattr(page, name)
        if value is not None:
            terms.append(f"{name} = :{name}")
            params[name] = value
    if page.job_id is not None:
        terms.append(rows.CALLBACKS_OF)
        params["job_id"] = page.job_id
    if page.verdict not in {None, Verdict.ACCEPTED}:
        terms.append(rows.UNSETTLED)
    if page.since is not None:
        # An id begins with the milliseconds of its making, so a time is a place in the order of ids.
        terms.append("id >= :since")
        params["since"] = f"{CALLBACK}_{page.since:012x}"
    for name, sign in (("before", "<"), ("after", ">")):
        if (place := getattr(page, name)) is not None:
            terms.append(f"id {sign} :{name}")
            params[name] = place
    return ("WHERE " + " AND ".join(terms) if terms else ""), params
