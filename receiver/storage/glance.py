"""Overviews: what needs a person, and how providers and nodes stand. Each query reads a bounded number of rows."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from receiver.core.identity import made_at
from receiver.core.job.urgency import LANES, NEAR_DELETION, ROUTINE
from receiver.core.model import Value
from receiver.storage import dead_letters, rows
from receiver.storage.distinct import distinct
from receiver.storage.driver import Row, Transaction
from receiver.storage.search import PROVIDERS

#: How many jobs of each provider, the newest, are looked at for its lag and its shares.
SAMPLE: Final = 200
#: Rows that one question counts at most; where it counts apart, by provider or handler, so few of each at least.
_MOST: Final = 10_000
_FEWEST: Final = 200
_LOOKED_UP: Final = 4_000
_WAITING: Final = 2_000
_INDEXED: Final = "state NOT IN ('submitted', 'succeeded')"
_DUE_PROVIDERS: Final = distinct("provider", "due")
_REJECTED_PROVIDERS: Final = distinct("provider", "callback", f"verdict = 'rejected' AND {rows.UNSETTLED}")
_READY_HANDLERS: Final = distinct("handler", "dispatch", "state = 'ready'")


class Rejections(Value, frozen=True, kw_only=True):
    """Rejected callbacks of one provider with one code that are kept."""

    provider: str
    code: str
    count: int
    since: int
    #: Whether there are more than were looked at.
    more: bool = False


class Losing(Value, frozen=True, kw_only=True):
    """Results of one provider that it deletes soon, and that are not here."""

    provider: str
    count: int
    first_at: int
    failures: int


class Letters(Value, frozen=True, kw_only=True):
    """Dead letters of one handler with one error."""

    handler: str
    code: str
    count: int
    since: int
    latest: int
    #: Whether there are more than were looked at.
    more: bool = False


class Standing(Value, frozen=True, kw_only=True):
    """How a provider stands, by its newest jobs."""

    provider: str
    #: How many jobs were looked at, and how many of those have ended.
    looked: int
    ended: int
    by_callback: int
    by_poll: int
    open: int
    last_callback: int | None
    last_job: int | None
    #: Milliseconds from submission to callback, of those that had one, in order.
    lags: list[int]
    #: Whether its jobs ask for callbacks at all.
    calls: bool
    #: Jobs whose callback should have come.
    overdue: int


class Backlog(Value, frozen=True, kw_only=True):
    """What waits: for handlers (up to a bound) and since when; for steps since when."""

    handlers: int
    #: Whether more wait than were counted.
    more: bool = False
    oldest_handler: int | None
    oldest_step: int | None
    #: Jobs of which nobody knows whether their submission arrived, among the oldest that are being submitted; and
    #: whether there are more of those than were looked at.
    undecided: int
    more_undecided: bool = False


def rejections(tx: Transaction) -> list[Rejections]:
    """What is in quarantine, by provider and code, the most first; of each provider the newest are looked at."""
    providers = [row[0] for row in tx.run(_REJECTED_PROVIDERS, {})]
    # The index has no codes, so each is a row to be read.
    most = max(_LOOKED_UP // max(len(providers), 1), _FEWEST)
    found = []
    for provider in providers:
        codes = tx.run(
            "SELECT coalesce(code, ''), count(*), min(id) FROM (SELECT code, id FROM callback "
            f"WHERE verdict = 'rejected' AND {rows.UNSETTLED} AND provider = :provider ORDER BY id DESC LIMIT :most) "
            "AS newest GROUP BY code",
            {"provider": provider, "most": most},
        )
        more = sum(row[1] for row in codes) == most
        found += [
            Rejections(provider=provider, code=code, count=count, since=made_at(first), more=more)
            for code, count, first in codes
        ]
    return sorted(found, key=lambda one: (-one.count, one.provider, one.code))


def losing(tx: Transaction, now: int) -> list[Losing]:
    """Results that their providers delete soon, the first to go first."""
    found = []
    for provider in waiting_for(tx):
        # What stands in the lane of that already, and what is about to be moved there: each has its index.
        for near in (f"lane = {NEAR_DELETION}", f"lane > {NEAR_DELETION} AND urgent_at IS NOT NULL"):
            count, first, failures = tx.run(
                "SELECT count(*), min(expires_at), max(failures) FROM (SELECT expires_at, failures FROM due "
                f"WHERE provider = :provider AND {near} AND urgent_at <= :now AND step = 'look' LIMIT :most) AS near",
                {"provider": provider, "now": now, "most": _WAITING},
            )[0]
            if count:
                found.append(Losing(provider=provider, count=count, first_at=first, failures=failures))
    return sorted(found, key=lambda one: one.first_at)


def letters(tx: Transaction) -> list[Letters]:
    """Dead letters by handler and error, the most first; of each handler the newest are looked at."""
    handlers = dead_letters.handlers(tx)
    most = max(_MOST // max(len(handlers), 1), _FEWEST)
    found = []
    for handler in handlers:
        codes = tx.run(
            "SELECT coalesce(error_code, ''), count(*), min(created_at), max(created_at) FROM (SELECT error_code, "
            "created_at FROM dispatch WHERE state = 'dead' AND handler = :handler ORDER BY job_id DESC LIMIT :most) "
            "AS newest GROUP BY error_code",
            {"handler": handler, "most": most},
        )
        more = sum(row[1] for row in codes) == most
        found += [
            Letters(handler=handler, code=code, count=count, since=since, latest=latest, more=more)
            for code, count, since, latest in codes
        ]
    return sorted(found, key=lambda one: (-one.count, one.handler, one.code))


def backlog(tx: Transaction, now: int) -> Backlog:
    """What waits."""
    # What is leased is planned for the end of its lease, so what is past was due or is nobody's any more.
    waiting = [
        row
        for handler in ready_for(tx)
        for row in tx.run(
            "SELECT count(*), min(run_at) FROM (SELECT run_at FROM dispatch WHERE handler = :handler "
            "AND state = 'ready' AND run_at <= :now ORDER BY run_at LIMIT :most) AS waiting",
            {"handler": handler, "now": now, "most": _MOST},
        )
    ]
    # What has waited longest in each lane stands first in the index.
    steps = [
        row[0]
        for provider in waiting_for(tx)
        for lane in LANES
        for row in tx.run(
            "SELECT run_at FROM due WHERE provider = :provider AND lane = :lane AND run_at <= :now AND owner IS NULL "
            "ORDER BY run_at LIMIT 1",
            {"provider": provider, "lane": lane, "now": now},
        )
    ]
    # The index does not say which were sent, so each is a row to be read.
    looked, undecided = tx.run(
        "SELECT count(*), sum(CASE WHEN submission = 'unknown' THEN 1 ELSE 0 END) FROM (SELECT submission FROM job "
        f"WHERE state = 'submitting' AND {_INDEXED} ORDER BY id LIMIT :most) AS submitting",
        {"most": _LOOKED_UP},
    )[0]
    oldest = min(steps, default=None)
    return Backlog(
        handlers=sum(row[0] for row in waiting),
        more=any(row[0] == _MOST for row in waiting),
        oldest_handler=min((row[1] for row in waiting if row[0]), default=None),
        oldest_step=oldest,
        undecided=undecided or 0,
        more_undecided=looked == _LOOKED_UP,
    )


def standings(tx: Transaction) -> list[Standing]:
    """How each provider with a job stands."""
    return [standing(tx, row[0]) for row in tx.run(PROVIDERS, {})]


def standing(tx: Transaction, provider: str) -> Standing:
    """How one provider stands, by its newest jobs; those that are open are counted up to ten thousand."""
    looked = tx.run(
        "SELECT created_at, submitted_at, ended_at, settled_by, delivery, first_callback FROM job "
        "WHERE provider = :provider ORDER BY id DESC LIMIT :sample",
        {"provider": provider, "sample": SAMPLE},
    )
    waiting = tx.run(
        "SELECT count(*) FROM (SELECT 1 FROM due WHERE provider = :provider LIMIT :most) AS waiting",
        {"provider": provider, "most": _MOST},
    )[0][0]
    # A job that was looked at once is looked at again soon, so it stands before those whose callback nobody misses yet.
    overdue = tx.run(
        "SELECT count((SELECT 1 FROM job WHERE id = job_id AND delivery <> 'none' AND callbacks = 0)) "
        "FROM (SELECT job_id, attempt FROM due WHERE provider = :provider AND lane = :lane "
        "ORDER BY run_at LIMIT :most) AS late WHERE attempt > 0",
        {"provider": provider, "lane": ROUTINE, "most": _WAITING},
    )[0][0]
    called = [(row, made_at(row[5])) for row in looked if row[5] is not None]
    lags = sorted(at - (row[1] or row[0]) for row, at in called if at >= (row[1] or row[0]))
    ended = [row for row in looked if row[2] is not None]
    return Standing(
        provider=provider,
        looked=len(looked),
        ended=len(ended),
        by_callback=sum(row[3] == "callback" for row in ended),
        by_poll=sum(row[3] == "poll" for row in ended),
        open=waiting,
        last_callback=max((at for _, at in called), default=None),
        last_job=looked[0][0] if looked else None,
        lags=lags,
        calls=any(row[4] != "none" for row in looked),
        overdue=overdue,
    )


def under_way(tx: Transaction, now: int, lease_ms: int) -> dict[str, tuple[int, int]]:
    """What each node is at: attempts of handlers, and steps."""
    found: dict[str, tuple[int, int]] = {}
    until = now + lease_ms
    # A claim moves a row to the end of its lease.
    for handler in ready_for(tx):
        taken = tx.run(
            "SELECT owner, count(*) FROM (SELECT owner FROM dispatch WHERE handler = :handler AND state = 'ready' "
            "AND run_at > :now AND run_at <= :until ORDER BY run_at LIMIT :most) AS taken "
            "WHERE owner IS NOT NULL GROUP BY owner",
            {"handler": handler, "now": now, "until": until, "most": _WAITING},
        )
        for owner, count in taken:
            handlers, steps = found.get(owner, (0, 0))
            found[owner] = (handlers + count, steps)
    for provider in waiting_for(tx):
        for lane in LANES:
            leased = tx.run(
                "SELECT owner, count(*) FROM (SELECT owner FROM due WHERE provider = :provider AND lane = :lane "
                "AND run_at > :now AND run_at <= :until ORDER BY run_at LIMIT :most) AS taken "
                "WHERE owner IS NOT NULL GROUP BY owner",
                {"provider": provider, "lane": lane, "now": now, "until": until, "most": _WAITING},
            )
            for owner, count in leased:
                # A submission is leased under a name of its own.
                name = owner.partition("/")[0]
                handlers, steps = found.get(name, (0, 0))
                found[name] = (handlers, steps + count)
    return found


def waiting_for(tx: Transaction) -> list[str]:
    """The providers for which something is to be done, one step in the index each."""
    return [row[0] for row in tx.run(_DUE_PROVIDERS, {})]


def ready_for(tx: Transaction) -> list[str]:
    """The handlers for which something is ready, or under way."""
    return [row[0] for row in tx.run(_READY_HANDLERS, {})]


def soonest(tx: Transaction, *, handlers: Sequence[str], now: int, until: int) -> int | None:
    """When something is due next, for *handlers* or at a provider; 0 while something is being done, None if nothing is.

    What is claimed counts as being done: its ``run_at`` is the end of a lease, and all of these end by *until*. Where
    very much is due before that, the first of it is looked at.
    """
    times = {"now": now, "until": until}
    found = [
        _next(
            tx, "due", "provider = :provider AND lane = :lane", times | {"provider": provider, "lane": lane}
        )
        for provider in waiting_for(tx)
        for lane in LANES
    ]
    found.append(_next(tx, "download", "1 = 1", times))
    for name in handlers:
        of_it = times | {"handler": name}
        circuit = tx.run(
            "SELECT trial_at FROM circuit WHERE handler = :handler AND state <> 'closed'", {"handler": name}
        )
        found.append(_next(tx, "dispatch", "handler = :handler AND state = 'ready'", of_it, circuit))
        # What has no place in its line yet gets one with the next claim.
        found += [
            0
            for _ in tx.run(
                "SELECT 1 FROM dispatch WHERE handler = :handler AND line IS NOT NULL AND place IS NULL LIMIT 1",
                {"handler": name},
            )
        ]
    return min((one for one in found if one is not None), default=None)


def _next(
    tx: Transaction, table: str, where: str, params: Mapping[str, Any], circuit: Sequence[Row] = ()
) -> int | None:
    """When the next of some rows is due; 0 while one of them is being done, None if there are none.

    Those of a handler that is left alone have its next trial, by its *circuit*; those of a paused one have none.
    """
    names = {name: value for name, value in params.items() if f":{name}" in where}
    first = tx.run(f"SELECT run_at, owner FROM {table} WHERE {where} ORDER BY run_at LIMIT 1", names)
    if not first:
        return None
    run_at, owner = first[0]
    if owner is not None:
        return 0
    # While something could be claimed it does not matter whether something is being done.
    if run_at <= params["now"] and not circuit:
        return int(run_at)
    owned = tx.run(
        f"SELECT 1 FROM (SELECT owner FROM {table} WHERE {where} AND run_at > :now AND run_at <= :until "
        "ORDER BY run_at LIMIT :most) AS near WHERE owner IS NOT NULL LIMIT 1",
        names | {"now": params["now"], "until": params["until"], "most": _MOST},
    )
    if owned:
        return 0
    (at,) = circuit[0] if circuit else (run_at,)
    return None if at is None else int(at)
