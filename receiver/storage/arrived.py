"""Finding callbacks by whatever a person knows of them, in a bounded time however many there are; see ``search``."""

from collections.abc import Sequence
from typing import Any, Final

from receiver.core.identity import CALLBACK
from receiver.core.model import Callback, Value, Verdict
from receiver.storage import rows
from receiver.storage.distinct import distinct
from receiver.storage.driver import Row, Transaction

#: How many rows one search looks at: each holds a body, so fewer of them are on a page than of jobs.
_LOOKED_AT: Final = 4_000
_AT_FIRST: Final = 20
#: So many callbacks of a job are looked at for those that were rejected.
MOST_REJECTED: Final = 100
#: The callbacks of one verdict that an index finds.
_BY_INDEX: Final = {Verdict.REJECTED.value, Verdict.UNREADABLE.value}
_CODE: Final = "code = :code"
_PROVIDERS: Final = distinct("provider", "callback", f"verdict = :verdict AND {rows.UNSETTLED}")
#: SQLite's substr gives NULL for a part of an empty blob.
COLUMNS: Final = rows.CALLBACK.replace(" body,", " coalesce(substr(body, 1, 0), body) AS body,")


class Sought(Value, frozen=True, kw_only=True):
    """Which callbacks to find: all filters hold together; times are milliseconds since the Unix epoch."""

    provider: str | None = None
    verdict: str | None = None
    code: str | None = None
    job: str | None = None
    since: int | None = None
    until: int | None = None
    before: str | None = None
    limit: int = 50


class Arrived(Value, frozen=True, kw_only=True):
    """Callbacks without their bodies, the newest first, and the size of each body."""

    callbacks: list[tuple[Callback, int]]
    cursor: str | None = None
    #: Whether the search ended because it had looked at enough, rather than because the page was full.
    stopped: bool = False


def find(tx: Transaction, sought: Sought) -> Arrived:
    """Find callbacks."""
    bounds, params = _bounds(sought)
    terms = [
        f"{name} = :{name}" for name in ("provider", "verdict", "code") if getattr(sought, name) is not None
    ]
    if sought.job is not None:
        window = [rows.CALLBACKS_OF, *bounds]
        params["job_id"] = sought.job
    elif sought.verdict in _BY_INDEX:
        # The index finds the newest of a verdict and a provider; what else is wanted is looked for among them.
        window = [*(one for one in terms if one != _CODE), rows.UNSETTLED, *bounds]
        terms = [one for one in terms if one == _CODE]
    else:
        window = bounds
    where = f"WHERE {' AND '.join(window)}" if window else ""
    newest = f"SELECT id FROM callback {where} ORDER BY id DESC LIMIT :budget"
    # The deciding columns are read of all rows that are looked at, the others only of rows that are shown.
    looked_at = f"SELECT id, provider, verdict, code FROM callback {where} ORDER BY id DESC LIMIT :budget"
    if sought.verdict in _BY_INDEX:
        if sought.provider is None and sought.job is None:
            newest = _newest(tx, where, params)
        # The index holds ids but no codes. Each is looked up by itself: joined, PostgreSQL may read all callbacks.
        code = "SELECT code FROM callback AS it WHERE it.id = newest.id"
        looked_at = f"SELECT id, ({code}) AS code FROM ({newest}) AS newest"
    wanted = f"WHERE {' AND '.join(terms)}" if terms else ""
    ids = f"SELECT id FROM ({looked_at}) AS looked {wanted} ORDER BY id DESC LIMIT :limit"
    sql = f"SELECT {COLUMNS}, length(body) AS size FROM callback WHERE id IN ({ids}) ORDER BY id DESC"
    # Frequent ones are among the newest few; only for rare ones all candidates are looked at.
    for budget in (_AT_FIRST + 2 * sought.limit, _LOOKED_AT):
        found = tx.run(sql, params | {"limit": sought.limit + 1, "budget": budget})
        if len(found) > sought.limit:
            break
    page = [(rows.callback_of(row[:-1]), int(row[-1])) for row in found[: sought.limit]]
    if len(found) > sought.limit:
        return Arrived(callbacks=page, cursor=found[sought.limit - 1][0])
    last, looked = _looked(tx, newest, params)
    stopped = looked == _LOOKED_AT
    return Arrived(callbacks=page, cursor=last if stopped else None, stopped=stopped)


def rejected(tx: Transaction, jobs: Sequence[str]) -> dict[str, int]:
    """How many of the newest callbacks that named each of some jobs were rejected; a job itself counts none of them."""
    where, params = tx.among("id", jobs)
    # Of each job it looks at so many, by the index of jobs: somebody may have sent thousands.
    newest = (
        "SELECT verdict FROM callback WHERE job_id = job.id AND is_first = 0 ORDER BY id DESC LIMIT :most"
    )
    count = f"SELECT count(*) FROM ({newest}) AS newest WHERE verdict = :verdict"
    found = tx.run(
        f"SELECT id, ({count}) AS rejected FROM job WHERE {where}",
        params | {"most": MOST_REJECTED, "verdict": Verdict.REJECTED.value},
    )
    return {row[0]: row[1] for row in found if row[1]}


def beside(tx: Transaction, callback: Callback, *, most: int = 8) -> list[tuple[Callback, int]]:
    """Callbacks that may be other attempts at the same one: of its job, or its neighbours of the same length."""
    if callback.job_id is not None:
        found = find(tx, Sought(job=callback.job_id, limit=2 * most)).callbacks
        return [one for one in found if one[0].id != callback.id][:most]
    neighbours: list[Row] = []
    for sign, order in (("<", "DESC"), (">", "ASC")):
        near = f"WHERE id {sign} :id ORDER BY id {order} LIMIT 200"
        inner = f"SELECT {COLUMNS}, length(body) AS size FROM callback {near}"
        sql = (
            f"SELECT {rows.CALLBACK}, size FROM ({inner}) AS looked "
            f"WHERE provider = :provider AND size = :size ORDER BY id {order} LIMIT :most"
        )
        params = {
            "id": callback.id,
            "provider": callback.provider,
            "size": len(callback.body),
            "most": most // 2,
        }
        neighbours += tx.run(sql, params)
    return sorted(
        ((rows.callback_of(row[:-1]), int(row[-1])) for row in neighbours),
        key=lambda one: one[0].id,
        reverse=True,
    )


def _newest(tx: Transaction, where: str, params: dict[str, Any]) -> str:
    """The newest of a verdict: its index is by provider, so it is so many of each, and the newest of these."""
    found = tx.run(_PROVIDERS, {"verdict": params["verdict"]})
    params |= {f"provider_{place}": provider for place, (provider,) in enumerate(found)}
    each = [
        f"SELECT id FROM (SELECT id FROM callback {where} AND provider = :provider_{place} "
        f"ORDER BY id DESC LIMIT :budget) AS of_{place}"
        for place in range(len(found))
    ] or [f"SELECT id FROM callback {where}"]
    return f"SELECT id FROM ({' UNION ALL '.join(each)}) AS each_one ORDER BY id DESC LIMIT :budget"


def _looked(tx: Transaction, newest: str, params: dict[str, Any]) -> tuple[str | None, int]:
    sql = f"SELECT min(id), count(*) FROM ({newest}) AS looked"
    last, looked = tx.run(sql, params | {"budget": _LOOKED_AT})[0]
    return last, looked


def _bounds(sought: Sought) -> tuple[list[str], dict[str, Any]]:
    terms, params = [], dict[str, Any]()
    for name in ("provider", "verdict", "code"):
        if (value := getattr(sought, name)) is not None:
            params[name] = value
    for name, sign in (("since", ">="), ("until", "<")):
        # An id begins with the milliseconds of its making, so a time is a place in the order of ids.
        if (at := getattr(sought, name)) is not None:
            terms.append(f"id {sign} :{name}")
            params[name] = f"{CALLBACK}_{at:012x}"
    if sought.before is not None:
        terms.append("id < :before")
        params["before"] = sought.before
    return terms, params
