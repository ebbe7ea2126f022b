"""Finding jobs by whatever a person knows of them, in a bounded time however many there are.

What an index answers is asked of the index. The rest is looked for among the newest that come into question, so many
at a time; whoever asks is told how far was looked, and can have the search go on from there.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from receiver.core.identity import CALLBACK, JOB
from receiver.core.model import Job, JobState, Value
from receiver.storage.claims import load_jobs
from receiver.storage.distinct import distinct
from receiver.storage.driver import Transaction
from receiver.storage.lines import LINED
from receiver.storage.queries import Page

#: How many rows one search looks at; fewer where each costs more than to read it.
_READ: Final = 20_000
_LOOKED_UP: Final = 4_000
_TEXTS: Final = 5_000
#: Bytes of a job's metadata in which a text is looked for.
_LONGEST_TEXT: Final = 2_048
#: How many jobs are found by a beginning of what they are called.
_NAMED: Final = 200
#: Past this many, a count says only that there are more.
COUNTED: Final = 10_000
#: The states whose jobs have an index (``job_state``): SQLite uses it only where that stands in the statement.
_INDEXED: Final = "state NOT IN ('submitted', 'succeeded')"
#: Every provider there is a job of.
PROVIDERS: Final = distinct("provider", "job")
#: Outcomes that unfinished dispatches are known by; the others are known by attempts.
_UNFINISHED: Final = {"dead", "waiting"}
#: What waits for a handler, each as there is an index of it.
_WAITS: Final = (("state = 'ready'",), (f"state = '{LINED}'", "line IS NOT NULL"))
_BY_DUE: Final = {"open", JobState.SUBMITTED.value}


class Wanted(Value, frozen=True, kw_only=True):
    """Which jobs to find: all filters hold together; times are milliseconds since the Unix epoch."""

    #: The beginning of an id, of a provider's id or of an idempotency key, or part of the metadata.
    text: str | None = None
    provider: str | None = None
    #: A job's state, or ``open``.
    state: str | None = None
    settled_by: str | None = None
    handler: str | None = None
    #: What became of its dispatches: ``succeeded``, ``failed``, ``waiting`` or ``dead``.
    outcome: str | None = None
    since: int | None = None
    until: int | None = None
    before: str | None = None
    limit: int = 50


class _Window(Value, frozen=True, kw_only=True):
    """The statement for the newest jobs that are looked at, and the conditions that those have to meet."""

    newest: str
    terms: tuple[str, ...]


class Found(Value, frozen=True, kw_only=True):
    """Jobs, the newest first."""

    jobs: list[Job]
    #: Where the next page begins; ``None`` where nothing is left to look at.
    cursor: str | None = None
    #: Whether the search ended because it had looked at enough, rather than because the page was full.
    stopped: bool = False


def find(tx: Transaction, wanted: Wanted) -> Found:
    """Find jobs with their metadata."""
    if wanted.text is not None:
        return _by_text(tx, wanted, wanted.text.strip())
    params = _params(wanted)
    window = _window(wanted, *_entrance(tx, wanted, params))
    found = [row[0] for row in tx.run(_scan(window), params | {"limit": wanted.limit + 1})]
    jobs = _load(tx, found[: wanted.limit])
    if len(found) > wanted.limit:
        return Found(jobs=jobs, cursor=found[wanted.limit - 1])
    last, looked = tx.run(f"SELECT min(id), count(*) FROM ({window.newest}) AS looked", params)[0]
    stopped = looked == params["budget"]
    return Found(jobs=jobs, cursor=last if stopped else None, stopped=stopped)


def of_page(page: Page) -> Wanted:
    """The same as a search."""
    names = ("provider", "state", "since", "before", "limit")
    return Wanted(**{name: getattr(page, name) for name in names})


async def whole_page(read: Callable[..., Awaitable[Found]], wanted: Wanted) -> Found:
    """As many jobs as are wanted, each search read by itself: the next one goes on where the one before stopped."""
    jobs: list[Job] = []
    while True:
        some = await read(find, wanted)
        jobs += some.jobs
        if some.cursor is None or len(some.jobs) == wanted.limit:
            return Found(jobs=jobs, cursor=some.cursor)
        wanted = replace(wanted, before=some.cursor, limit=wanted.limit - len(some.jobs))


def count(tx: Transaction, wanted: Wanted) -> tuple[int, bool]:
    """How many jobs there are, as far as one search looks and up to ``COUNTED``; whether these are all."""
    if wanted.text is not None:
        found = find(tx, wanted)
        return len(found.jobs), found.cursor is None
    params = _params(wanted)
    params["budget"] = min(params["budget"], COUNTED + 1)
    window = _window(wanted, *_entrance(tx, wanted, params))
    sql = f"SELECT count(*) FROM ({_scan(window)}) AS counted"
    number = tx.run(sql, params | {"limit": COUNTED + 1})[0][0]
    looked = tx.run(f"SELECT count(*) FROM ({window.newest}) AS looked", params)[0][0]
    return min(number, COUNTED), number <= COUNTED and looked < params["budget"]


def _load(tx: Transaction, ids: list[str]) -> list[Job]:
    jobs = load_jobs(tx, ids, metadata=True)
    return [jobs[one] for one in ids if one in jobs]


def _params(wanted: Wanted) -> dict[str, Any]:
    """The values of a search, but for ``limit``."""
    apart = wanted.state in _BY_DUE or wanted.handler is not None or wanted.outcome is not None
    params: dict[str, Any] = {"budget": _LOOKED_UP if apart else _READ}
    for name in ("provider", "settled_by", "handler", "before"):
        if (value := getattr(wanted, name)) is not None:
            params[name] = value
    if wanted.state is not None:
        params["state"] = wanted.state
    for name in ("since", "until"):
        # An id begins with the milliseconds of its making, so a time is a place in the order of ids.
        if (at := getattr(wanted, name)) is not None:
            params[name] = f"{JOB}_{at:012x}"
    return params


def _entrance(tx: Transaction, wanted: Wanted, params: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The table that is looked through, and what an index of it knows; all else is asked of each row by itself.

    Where an index has so few that all of them can be looked at, they are; else it is the newest of all.
    """
    if wanted.outcome in _UNFINISHED:
        of = ("handler = :handler",) if wanted.handler else ()
        if wanted.outcome == "dead":
            return "dispatch", ("state = 'dead'", *of)
        few = sum(_up_to_budget(tx, "dispatch", (*which, *of), params) for which in _WAITS) < params["budget"]
        return ("waiting", of) if few else ("dispatch", ())
    provider = ("provider = :provider",) if wanted.provider else ()
    if wanted.state in _BY_DUE:
        few = bool(provider) and _up_to_budget(tx, "due", provider, params) < params["budget"]
        return "due", provider if few else ()
    if wanted.state in {None, JobState.SUCCEEDED}:
        return "job", provider
    state = (_INDEXED, "state = :state")
    if provider and _up_to_budget(tx, "job", state, params) == params["budget"]:
        few = _up_to_budget(tx, "job", provider, params) < params["budget"]
        return "job", provider if few else state
    return "job", state


def _up_to_budget(tx: Transaction, table: str, terms: Sequence[str], params: dict[str, Any]) -> int:
    """How many rows an index has, as far as they are looked at."""
    where = f"WHERE {' AND '.join(terms)}" if terms else ""
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {table} {where} LIMIT :budget) AS counted"
    names = {name: params[name] for name in ("provider", "state", "handler") if f":{name}" in where}
    found: int = tx.run(sql, names | {"budget": params["budget"]})[0][0]
    return found


def _scan(window: _Window) -> str:
    """The statement for those jobs of the window that are wanted."""
    where = f"WHERE {' AND '.join(window.terms)}" if window.terms else ""
    return f"SELECT id FROM ({window.newest}) AS looked {where} ORDER BY id DESC LIMIT :limit"


def _window(wanted: Wanted, table: str, known: tuple[str, ...]) -> _Window:
    """The newest jobs by what an index knows, and what is asked of each of them."""
    column = "id" if table == "job" else "job_id"
    bounds = {"since": ">=", "until": "<", "before": "<"}
    terms = list(known)
    terms += [
        f"{column} {sign} :{name}" for name, sign in bounds.items() if getattr(wanted, name) is not None
    ]
    where = f"WHERE {' AND '.join(terms)}" if terms else ""
    asked = tuple(_conditions(wanted, table, known))
    if table == "job":
        # What no condition asks for is not read: an index alone then answers.
        read = [name for name in ("provider", "state", "settled_by") if any(name in one for one in asked)]
        newest = f"SELECT {', '.join(('id', *read))} FROM job {where} ORDER BY id DESC LIMIT :budget"
    elif table == "waiting":
        each = " UNION ALL ".join(
            f"SELECT job_id FROM dispatch WHERE {' AND '.join((*which, *terms))}" for which in _WAITS
        )
        newest = f"SELECT DISTINCT job_id AS id FROM ({each}) AS each_one ORDER BY job_id DESC LIMIT :budget"
    else:
        newest = f"SELECT DISTINCT job_id AS id FROM {table} {where} ORDER BY job_id DESC LIMIT :budget"
    return _Window(newest=newest, terms=asked)


def _conditions(wanted: Wanted, table: str, known: tuple[str, ...]) -> Iterator[str]:
    """What has to hold besides, of each job of the window by itself: joined, PostgreSQL would read all jobs."""
    terms = ["provider = :provider"] if wanted.provider else []
    if wanted.state == "open":
        terms.append("ended_at IS NULL")
    elif wanted.state is not None:
        terms.append("state = :state")
    terms += ["settled_by = :settled_by"] if wanted.settled_by else []
    if table == "job":
        yield from (one for one in terms if one not in known)
    elif terms:
        which = " AND ".join(f"job.{one}" for one in terms)
        yield f"(SELECT 1 FROM job WHERE job.id = looked.id AND {which}) = 1"
    if table == "dispatch" and not known:
        of = " AND handler = :handler" if wanted.handler else ""
        yield f"(SELECT 1 FROM dispatch WHERE job_id = looked.id AND state <> 'dead'{of} LIMIT 1) = 1"
    if wanted.outcome in _UNFINISHED or (wanted.outcome is None and wanted.handler is None):
        return
    terms = ["attempt.job_id = looked.id", "attempt.step = 'dispatch'"]
    terms += ["attempt.handler = :handler"] if wanted.handler else []
    if wanted.outcome == "succeeded":
        terms.append("attempt.outcome = 'succeeded'")
    elif wanted.outcome is not None:
        terms.append("attempt.outcome NOT IN ('succeeded', 'discarded')")
    yield f"(SELECT 1 FROM attempt WHERE {' AND '.join(terms)} LIMIT 1) = 1"


def _by_text(tx: Transaction, wanted: Wanted, text: str) -> Found:
    ids = _named(tx, text) if text and "\0" not in text else []
    if ids:
        jobs = [one for one in _load(tx, sorted(ids, reverse=True)) if _fits(one, wanted)]
        return Found(jobs=jobs)
    return _by_metadata(tx, wanted, text)


def _named(tx: Transaction, text: str) -> set[str]:
    """The jobs that have *text*, or something that begins with it, for a name."""
    found: set[str] = set()
    if text.startswith(f"{CALLBACK}_"):
        found |= _beginning(tx, "job_id", "callback", "id", text)
    else:
        found |= _beginning(tx, "id", "job", "id", text if text.startswith(f"{JOB}_") else f"{JOB}_{text}")
    found |= _beginning(tx, "job_id", "submission", "idempotency_key", text)
    # The index on remote ids begins with the provider.
    providers = [row[0] for row in tx.run(PROVIDERS, {})]
    for provider in providers:
        found |= _beginning(tx, "id", "job", "remote_id", text, provider)
    return found


def _beginning(
    tx: Transaction, wanted: str, table: str, column: str, text: str, provider: str | None = None
) -> set[str]:
    where = f"{column} >= :text AND {column} < :end" + (
        "" if provider is None else " AND provider = :provider"
    )
    found = tx.run(
        f"SELECT {wanted} FROM {table} WHERE {where} ORDER BY {column} LIMIT :limit",
        # Whatever begins with the text comes before the text and the last of all characters.
        {"text": text, "end": f"{text}\U0010ffff", "provider": provider, "limit": _NAMED}
        if provider is not None
        else {"text": text, "end": f"{text}\U0010ffff", "limit": _NAMED},
    )
    return {row[0] for row in found if row[0] is not None}


def _fits(job: Job, wanted: Wanted) -> bool:
    """Whether a job that was found by its name is wanted by what it says of itself, too."""
    state = wanted.state in {None, job.state.value} or (wanted.state == "open" and not job.state.ended)
    return (
        state
        and wanted.provider in {None, job.provider}
        and wanted.settled_by in {None, job.settled_by}
        and (wanted.since is None or job.created_at >= wanted.since)
        and (wanted.until is None or job.created_at < wanted.until)
    )


def _by_metadata(tx: Transaction, wanted: Wanted, text: str) -> Found:
    before = "" if wanted.before is None else "WHERE job_id < :before"
    looked = tx.run(
        f"SELECT job_id, substr(metadata, 1, :longest) FROM submission {before} ORDER BY job_id DESC LIMIT :budget",
        {"longest": _LONGEST_TEXT, "budget": _TEXTS} | ({"before": wanted.before} if before else {}),
    )
    needles = _needles(text)
    ids = [row[0] for row in looked if _has(bytes(row[1]), needles)]
    jobs = [one for one in _load(tx, ids[: wanted.limit]) if _fits(one, wanted)]
    if len(ids) > wanted.limit:
        return Found(jobs=jobs, cursor=ids[wanted.limit - 1])
    stopped = len(looked) == _TEXTS
    return Found(jobs=jobs, cursor=looked[-1][0] if stopped else None, stopped=stopped)


def _has(metadata: bytes, needles: list[str]) -> bool:
    text = metadata.decode("utf-8", "replace").casefold()
    return any(one in text for one in needles)


def _needles(text: str) -> list[str]:
    """How *text* may stand in JSON: as part of a text, or ``name=value`` as a member of an object."""
    written = msgspec.json.encode(text).decode()[1:-1]
    found = [written]
    name, mark, value = written.partition("=")
    if mark:
        found += [f'"{name.strip()}":{gap}{quote}{value.strip()}' for gap in ("", " ") for quote in ('"', "")]
    return [one.casefold() for one in found]
