"""The facts in the record that alarms are about. Every query uses an index, so a large record takes no longer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from receiver.core.alarms.rules import (
    GRACE,
    KEY_SETTLED,
    LOOKED_BACK,
    OVERDUE,
    Awaited,
    Calls,
    Leaving,
    LeavingFiles,
    LostFiles,
    OldKey,
    Overdue,
    Verdicts,
    is_late,
)
from receiver.core.alarms.upkeep import BACKLOG_KEEPS, Letters, Present, Waiting
from receiver.core.identity import made_at
from receiver.core.job.cadence import usual_lag
from receiver.core.job.urgency import LANES, NEAR_DELETION
from receiver.core.model import HOUR, MINUTE, Delivery, JobState, Source
from receiver.storage import nodes, pauses, rows
from receiver.storage.driver import Row, Transaction
from receiver.storage.glance import waiting_for
from receiver.storage.search import PROVIDERS
from receiver.storage.tally import BUCKET

#: How many jobs of each provider are looked at whose callback should have come.
_AWAITED: Final = 200
#: Among so many jobs the last callbacks are looked for that tell how long one takes, and so many are enough.
_SCANNED: Final = 300
_LAGS: Final = 100
_ENOUGH: Final = 5
#: Rows that one question reads at most, and dead letters from either end.
_MOST: Final = 500
_DEAD: Final = 200
#: Callbacks that tell which key was in use.
_PROVED: Final = 200
#: How jobs end that no callback is to be expected for.
_UNASKED: Final = frozenset({Source.SUBMIT, Source.CANCEL})


def calls(tx: Transaction, expected: Mapping[str, int], *, now: int) -> list[Calls]:
    """How providers call back that are asked to; *expected* is when, in milliseconds, by the descriptions."""
    found = []
    for (provider,) in tx.run(PROVIDERS, {}):
        if provider in expected and (one := _calls(tx, provider, expected[provider], now)) is not None:
            found.append(one)
    return found


def _calls(tx: Transaction, provider: str, expected: int, now: int) -> Calls | None:
    heard = _heard(tx, provider, before=now - expected)
    lags = [lag for _, lag in heard] if len(heard) >= _ENOUGH else []
    waited = usual_lag(lags, expected=expected)
    found = tx.run(
        "SELECT coalesce(submitted_at, created_at), ended_at, state, settled_by, callbacks FROM "
        "(SELECT id, submitted_at, created_at, ended_at, state, settled_by, callbacks, delivery, submission FROM job "
        "WHERE provider = :provider AND id < :until AND id > :since ORDER BY id DESC LIMIT :most) AS newest "
        "WHERE delivery <> :none AND submission = 'sent' ORDER BY id DESC",
        {
            "provider": provider,
            "until": _id_at(now - waited),
            "since": _id_at(now - LOOKED_BACK),
            "none": Delivery.NONE.value,
            "most": _AWAITED,
        },
    )
    awaited = [one for row in found if (one := _awaited(row, waited)) is not None and one.at <= now]
    if not awaited:
        return None
    # Bounded, because those who are rejected send as often as they like: then the jobs tell.
    newest = tx.run(
        "SELECT max(received_at) FROM (SELECT received_at, verdict FROM callback WHERE provider = :provider "
        "ORDER BY received_at DESC LIMIT :most) AS newest WHERE verdict <> 'rejected'",
        {"provider": provider, "most": _PROVED},
    )
    return Calls(
        provider=provider,
        lag=waited,
        learnt=bool(lags),
        awaited=tuple(awaited),
        last=max((at for at, *_ in (*newest, *heard) if at is not None), default=None),
    )


def _awaited(row: Row, lag: int) -> Awaited | None:
    submitted_at, ended_at, state, settled_by, callbacks = row
    if callbacks:
        return Awaited(at=submitted_at + lag, heard=True)
    # If its provider says that a job is at work, nobody knows when it will have ended.
    if state == JobState.RUNNING or settled_by in _UNASKED:
        return None
    return Awaited(at=max(submitted_at + lag, (ended_at or 0) + GRACE if ended_at else 0), heard=False)


def _heard(tx: Transaction, provider: str, *, before: int) -> list[tuple[int, int]]:
    """When the last callbacks came that were a job's first, and how long they took.

    Those of the newest jobs, or, where most of these are still open, of the newest made *before*.
    """
    heard: list[tuple[int, int]] = []
    for until in ("job_~", _id_at(before)):
        found = tx.run(
            "SELECT first_callback, submitted_at FROM (SELECT id, first_callback, submitted_at FROM job "
            "WHERE provider = :provider AND id < :until ORDER BY id DESC LIMIT :scan) AS newest "
            "WHERE first_callback IS NOT NULL AND submitted_at IS NOT NULL ORDER BY id DESC LIMIT :most",
            {"provider": provider, "until": until, "scan": _SCANNED, "most": _LAGS},
        )
        some = [(made_at(first), max(made_at(first) - at, 0)) for first, at in found]
        heard = max(heard, some, key=len)
        if len(heard) >= _LAGS // 4:
            break
    return heard


def verdicts(tx: Transaction, *, now: int) -> list[Verdicts]:
    """What became of the callbacks of the last hour, of each provider of which some were rejected."""
    counted: dict[str, dict[bool, int]] = {}
    for provider, word, count in tx.run(
        "SELECT provider, word, sum(count) FROM tally WHERE bucket >= :since AND kind = 'callback' "
        "GROUP BY provider, word",
        {"since": (now - HOUR) // BUCKET * BUCKET},
    ):
        of = counted.setdefault(provider, {True: 0, False: 0})
        of[word == "rejected"] += int(count)
    return [
        Verdicts(provider=provider, rejected=of[True], others=of[False], code=_reason(tx, provider))
        for provider, of in sorted(counted.items())
        if of[True]
    ]


def _reason(tx: Transaction, provider: str) -> str:
    found = tx.run(
        f"SELECT code, count(*) FROM (SELECT code FROM callback WHERE verdict = 'rejected' AND {rows.UNSETTLED} "
        "AND provider = :provider ORDER BY id DESC LIMIT :most) AS newest "
        "WHERE code IS NOT NULL GROUP BY code ORDER BY count(*) DESC, code LIMIT 1",
        {"provider": provider, "most": _PROVED},
    )
    return str(found[0][0]) if found else ""


def leaving(tx: Transaction, *, now: int) -> list[Leaving]:
    """Results that their providers delete soon, and that should have been fetched by now."""
    found = []
    for provider in waiting_for(tx):
        late: list[tuple[int, int]] = []
        # What stands in the lane of that already, and what is about to be moved there: each has its index.
        for near in (f"lane = {NEAR_DELETION}", f"lane > {NEAR_DELETION} AND urgent_at IS NOT NULL"):
            late += [
                (expires_at, failures)
                for expires_at, failures, urgent_at, run_at in tx.run(
                    "SELECT expires_at, failures, urgent_at, run_at FROM due WHERE provider = :provider "
                    f"AND {near} AND urgent_at <= :now AND step = 'look' LIMIT :most",
                    {"provider": provider, "now": now, "most": _MOST},
                )
                if is_late(urgent_at=urgent_at, run_at=run_at, failures=failures, now=now)
            ]
        if late:
            found.append(
                Leaving(
                    provider=provider,
                    count=len(late),
                    first_at=min(at for at, _ in late),
                    failures=max(failures for _, failures in late),
                )
            )
    return found


def leaving_files(tx: Transaction, *, now: int) -> list[LeavingFiles]:
    """Files that their providers delete soon, and that should have been fetched by now; those that go first."""
    late: dict[str, list[tuple[int, int]]] = {}
    for provider, expires_at, failures, run_at in tx.run(
        "SELECT provider, expires_at, failures, run_at FROM download WHERE expires_at <= :soon "
        "ORDER BY expires_at LIMIT :most",
        {"soon": now + HOUR, "most": _MOST},
    ):
        if is_late(urgent_at=expires_at - HOUR, run_at=run_at, failures=failures, now=now):
            late.setdefault(provider, []).append((expires_at, failures))
    return [
        LeavingFiles(
            provider=provider,
            count=len(some),
            first_at=min(at for at, _ in some),
            failures=max(failures for _, failures in some),
        )
        for provider, some in sorted(late.items())
    ]


def lost_files(tx: Transaction, *, since: int) -> list[LostFiles]:
    """Files that could not be had, of jobs made *since*; of the newest, where there are very many."""
    lost: dict[str, list[Row]] = {}
    for row in tx.run(
        "SELECT job_id, code, (SELECT provider FROM job WHERE id = job_id) FROM (SELECT job_id, code FROM file "
        "WHERE state = 'lost' AND job_id >= :start ORDER BY job_id DESC LIMIT :most) AS newest ORDER BY job_id DESC",
        {"start": _id_at(since), "most": _MOST},
    ):
        lost.setdefault(row[2] or "", []).append(row)
    return [
        LostFiles(provider=provider, count=len(some), code=some[0][1] or "", job_id=some[0][0])
        for provider, some in sorted(lost.items())
    ]


def letters(tx: Transaction) -> list[Letters]:
    """Dead letters by handler and provider: of the oldest and the newest, where there are very many."""
    dead: dict[tuple[str, str, str], Row] = {}
    for order in ("", "DESC"):
        found = tx.run(
            "SELECT job_id, handler, replay_id, error_code, created_at, "
            "(SELECT provider FROM job WHERE id = job_id) FROM (SELECT job_id, handler, replay_id, error_code, "
            f"created_at FROM dispatch WHERE state = 'dead' ORDER BY job_id {order} LIMIT :most) AS dead",
            {"most": _DEAD},
        )
        dead |= {(row[0], row[1], row[2]): row for row in found}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in dead.values():
        groups.setdefault((row[5] or "", row[1]), []).append(row)
    made = []
    for (provider, handler), some in sorted(groups.items()):
        newest = max(some, key=lambda row: row[4])
        made.append(
            Letters(
                provider=provider,
                handler=handler,
                count=len(some),
                code=newest[3] or "",
                latest=newest[4],
                more=len(dead) > _DEAD,
            )
        )
    return made


def overdue(tx: Transaction, *, now: int, grace: int = OVERDUE) -> list[Overdue]:
    """Open jobs *grace* past their deadline: those that nobody asks about, and those whose provider gives no answer."""
    late: dict[str, tuple[str, int]] = {}
    beyond = set[str]()
    doubted = "doubt_since IS NOT NULL ORDER BY doubt_since"
    neglected = "provider = :provider AND lane = :lane AND run_at < :before AND owner IS NULL ORDER BY run_at"
    asked = [(doubted, dict[str, object]())] + [
        (neglected, {"provider": provider, "lane": lane})
        for provider in waiting_for(tx)
        for lane in LANES
        if lane
    ]
    for where, which in asked:
        # Each job is looked up by itself: joined, PostgreSQL may read all jobs.
        found = tx.run(
            "SELECT job_id, provider, (SELECT deadline_at FROM job WHERE id = job_id AND ended_at IS NULL "
            "AND state <> :fetching AND deadline_at < :deadline) "
            f"FROM (SELECT job_id, provider FROM due WHERE {where} LIMIT :most) AS picked",
            {
                **which,
                "fetching": JobState.FETCHING.value,
                "before": now - min(grace, 5 * MINUTE),
                "deadline": now - grace,
                "most": _MOST,
            },
        )
        late |= {job_id: (provider, deadline) for job_id, provider, deadline in found if deadline is not None}
        beyond |= {provider for _, provider, _ in found} if len(found) == _MOST else set()
    return [
        Overdue(
            provider=provider,
            count=sum(one == provider for one, _ in late.values()),
            more=provider in beyond,
            since=min(at for one, at in late.values() if one == provider),
        )
        for provider in sorted({one for one, _ in late.values()})
    ]


def waiting(tx: Transaction, *, now: int) -> list[Waiting]:
    """What has waited longest for each handler, and for each provider to be asked."""
    return [*_for_handlers(tx, now), *_for_providers(tx, now)]


def _for_handlers(tx: Transaction, now: int) -> Iterator[Waiting]:
    # Another alarm tells of a handler that is left alone because its circuit is not closed.
    for (handler,) in tx.run(
        "SELECT name FROM handler WHERE NOT EXISTS "
        "(SELECT 1 FROM circuit WHERE circuit.handler = handler.name AND circuit.state <> 'closed') ORDER BY name"
    ):
        found = tx.run(
            "SELECT run_at FROM dispatch WHERE state = 'ready' AND handler = :handler AND run_at <= :before "
            "AND owner IS NULL ORDER BY run_at LIMIT 1",
            {"handler": handler, "before": now - BACKLOG_KEEPS},
        )
        if found:
            yield Waiting(handler=handler, since=found[0][0])


def _for_providers(tx: Transaction, now: int) -> Iterator[Waiting]:
    paused = dict(pauses.pauses(tx, now))
    for provider in waiting_for(tx):
        since = [
            row[0]
            for lane in LANES
            for row in tx.run(
                "SELECT run_at FROM due WHERE provider = :provider AND lane = :lane AND run_at <= :before "
                "AND owner IS NULL ORDER BY run_at LIMIT 1",
                {"provider": provider, "lane": lane, "before": now - BACKLOG_KEEPS},
            )
        ]
        if since:
            yield Waiting(provider=provider, since=min(since), paused_until=paused.get(provider))


def old_keys(tx: Transaction, keys: Mapping[str, Sequence[str]], *, now: int) -> list[OldKey]:
    """Keys that prove callbacks although a newer one has been in use for a day; *keys* of each, newest first."""
    found = []
    for provider, (newest, *older) in keys.items():
        if newest not in _proving(tx, provider, until=now - KEY_SETTLED):
            continue
        lately = _proving(tx, provider, until=now)
        found += [
            OldKey(provider=provider, key=key, newest=newest, last=lately[key])
            for key in older
            if key in lately
        ]
    return found


def _proving(tx: Transaction, provider: str, *, until: int) -> dict[str, int]:
    """When each key last proved one of the newest callbacks that came before a time."""
    found = tx.run(
        "SELECT key_id, max(received_at) FROM (SELECT key_id, received_at FROM callback WHERE provider = :provider "
        "AND received_at <= :until ORDER BY received_at DESC LIMIT :most) AS newest "
        "WHERE key_id IS NOT NULL GROUP BY key_id",
        {"provider": provider, "until": until, "most": _PROVED},
    )
    return {str(key): int(last) for key, last in found}


def present(tx: Transaction) -> list[Present]:
    """The nodes."""
    return [
        Present(name=one.name, role=one.role, started_at=one.started_at, seen_at=one.seen_at)
        for one in nodes.nodes(tx)
    ]


def _id_at(moment: int) -> str:
    """What the ids of jobs begin with that were made at a time."""
    return f"job_{max(moment, 0):012x}"
