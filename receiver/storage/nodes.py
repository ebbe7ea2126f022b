"""The processes that serve the database, and the handlers that they have."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import msgspec

from receiver.core.circuit import Circuit
from receiver.core.errors import ConflictError, NotFoundError
from receiver.core.handler import BLOCK, HandlerSpec, Notice
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Value
from receiver.storage import dead_letters, lines
from receiver.storage.circuits import circuits
from receiver.storage.distinct import distinct
from receiver.storage.driver import Row, Transaction

#: A dispatch that no node has claimed for this long, for a handler that no node has, is dead.
MISSING_AFTER: Final = HOUR
_FORGOTTEN_AFTER: Final = DAY
#: After this long without a sign of life of its new name, a handler goes by its old one again, if that has nodes.
_SILENT: Final = 5 * MINUTE
_RENAMED: Final = "SELECT name, renamed_to FROM handler WHERE renamed_to IS NOT NULL ORDER BY name"
_AS_THEY_ARE: Final[Mapping[str, str]] = {}
#: A dispatch that the new name has already is not moved; it becomes dead under the old name.
_MOVE: Final = """
    UPDATE dispatch SET handler = :name, alias = coalesce(alias, :before),
        state = CASE WHEN line IS NOT NULL AND state = 'ready' AND owner IS NULL THEN 'lined' ELSE state END
    WHERE handler = :before AND (owner IS NULL OR run_at <= :now) AND (job_id, replay_id) IN (
        SELECT job_id, replay_id FROM dispatch WHERE handler = :before AND (owner IS NULL OR run_at <= :now)
        AND NOT EXISTS (SELECT 1 FROM dispatch AS other WHERE other.handler = :name
            AND other.job_id = dispatch.job_id AND other.replay_id = dispatch.replay_id)
        ORDER BY job_id, replay_id {for_update} {skip_locked})
    RETURNING line"""
#: What is not finished, each state as it has an index by handler: to look at all of it takes as long as there is much.
_UNFINISHED: Final = ("state = 'ready'", f"state = '{lines.LINED}' AND line IS NOT NULL")
_WAITED_FOR: Final = tuple(
    distinct("handler", "dispatch", which) for which in ("state = 'ready'", "line IS NOT NULL")
)
#: So many dispatches of a handler are counted, and so many of all handlers; of each at least so many.
COUNTED: Final = 10_000
_COUNTED_OF_ALL: Final = 10 * COUNTED
_FEWEST: Final = 1_000
_DEAD: Final = "state = 'dead'"
# The order is that of the index: without it PostgreSQL may read all there is for a handler that has little.
_COUNTED: Final = (
    "SELECT count(*) FROM (SELECT 1 FROM dispatch WHERE handler = :handler AND %s LIMIT :beyond) AS counted"
)
_WAITING: Final = tuple(
    _COUNTED % f"{which} ORDER BY {order}"
    for which, order in zip(_UNFINISHED, ("run_at", "line"), strict=True)
)
_LETTERS: Final = _COUNTED % f"{_DEAD} ORDER BY handler, job_id"
_BURY: Final = (
    "UPDATE dispatch SET state = 'dead', owner = NULL, error_code = 'handler_missing', error_text = :text "
    "WHERE handler = :handler AND run_at < :before AND %s RETURNING job_id"
)
_MISSING: Final = "No node has had this handler for an hour; deploy it again, then retry this dispatch."


class Node(Value, frozen=True, kw_only=True):
    """A process that serves the database."""

    name: str
    #: ``serve``, ``ingest`` (serve without a worker) or ``worker``.
    role: str
    handlers: tuple[HandlerSpec, ...] = ()


class Seen(Value, frozen=True, kw_only=True):
    """A node with its last sign of life."""

    name: str
    role: str
    started_at: int
    seen_at: int


class Registered(Value, frozen=True, kw_only=True):
    """A handler that completions are dispatched to, with the last sign of life of a node that has it."""

    name: str
    provider: str | None
    state: str
    seen_at: int
    #: How many of its dispatches wait for it or are under way, and whether there are more than were counted.
    waiting: int
    more_waiting: bool = False
    #: How many of its dispatches are dead, and whether there are more than were counted.
    dead: int
    more_dead: bool = False
    #: What it wants of a job's metadata.
    metadata: dict[str, Any] = {}
    #: What its completions are ordered by.
    ordered_by: str | None = None
    #: Its circuit, unless that is closed and nothing has failed.
    circuit: Circuit | None = None


def join(tx: Transaction, items: Sequence[tuple[Node, bool, int]]) -> list[None]:
    """Register nodes and their handlers: (node, whether it is the only one, now)."""
    specs = [one for node, _, _ in items for one in node.handlers if one.aliases]
    renamed: dict[str, str] = {row[0]: row[1] for row in tx.run(_RENAMED)}
    lines.guard(tx, [*chain(*renamed.items()), *(name for one in specs for name in (one.name, *one.aliases))])
    for node, only, now in items:
        if only:
            # Not the handlers: a start without them, or with other ones, must not make results reach nobody.
            tx.run("DELETE FROM node")
        _put(tx, node, now=now)
        own = {one.name: one.aliases for one in node.handlers}
        # A node that begins by an old name, while others go by the new one, has not seen that change yet.
        newer = {
            name: new
            for name, new in renamed.items()
            if name in own and new not in own and new not in own[name]
        }
        standing = {} if only else {name: new for name, new in newer.items() if _is_alive(tx, new, now=now)}
        _register(tx, node.handlers, renamed=standing, now=now)
        for name in newer.keys() - standing.keys():
            _rename(tx, newer[name], name, now=now)
        lines.dissolve(tx, [one.name for one in node.handlers if one.ordered_by is None])
        for spec in node.handlers:
            for alias in spec.aliases:
                _rename(tx, alias, spec.name, now=now)
    return [None] * len(items)


def alive(tx: Transaction, node: Node, *, now: int) -> None:
    """Mark *node* as alive, and its handlers if it runs them."""
    _put(tx, node, now=now)
    if node.role != "ingest":
        where, params = tx.among("name", sorted(one.name for one in node.handlers))
        # Another node that holds one of them is doing the same for it now.
        found = tx.run(
            f"SELECT name FROM handler WHERE {where} ORDER BY name {{for_update}} {{skip_locked}}", params
        )
        tx.update("handler", "seen_at", [(now, row[0]) for row in found], key="name")
        if len(found) < len(node.handlers):
            # The others are being marked by another node, or were forgotten while this one was silent.
            known = {row[0] for row in tx.run(f"SELECT name FROM handler WHERE {where}", params)}
            _register(tx, [one for one in node.handlers if one.name not in known], now=now)


def _is_alive(tx: Transaction, name: str, *, now: int) -> bool:
    """Whether a node that has this handler gave a sign of life lately."""
    since = {"name": name, "since": now - _SILENT}
    return bool(tx.run("SELECT 1 FROM handler WHERE name = :name AND seen_at >= :since", since))


def _register(
    tx: Transaction, handlers: Iterable[HandlerSpec], *, now: int, renamed: Mapping[str, str] = _AS_THEY_ARE
) -> None:
    tx.insert(
        "handler",
        "name, provider, state, metadata, ordered_by, on_dead, notice, seen_at, renamed_to",
        [
            (
                one.name,
                one.provider,
                one.state,
                _wishes(one),
                one.ordered_by,
                one.on_dead,
                _told(one),
                now,
                renamed.get(one.name),
            )
            for one in sorted(handlers, key=lambda one: one.name)
        ],
        conflict="ON CONFLICT (name) DO UPDATE SET provider = excluded.provider, state = excluded.state, "
        "metadata = excluded.metadata, ordered_by = excluded.ordered_by, on_dead = excluded.on_dead, "
        "notice = excluded.notice, seen_at = excluded.seen_at, renamed_to = excluded.renamed_to",
    )


def _wishes(spec: HandlerSpec) -> str | None:
    return msgspec.json.encode(spec.metadata).decode() if spec.metadata else None


def _told(spec: HandlerSpec) -> str | None:
    return None if spec.notice is None else msgspec.json.encode(spec.notice).decode()


def _rename(tx: Transaction, before: str, name: str, *, now: int) -> None:
    """Have a handler be known by another name: what waits for it, or is dead, is moved, and so is its circuit.

    Its row stays, so that a node that still runs it under the old name registers nothing anew; it gets no completion.
    """
    tx.run("UPDATE handler SET renamed_to = :name WHERE name = :before", {"name": name, "before": before})
    tx.run(
        "UPDATE circuit SET handler = :name WHERE handler = :before "
        "AND NOT EXISTS (SELECT 1 FROM circuit AS other WHERE other.handler = :name)",
        {"before": before, "name": name},
    )
    tx.run("DELETE FROM circuit WHERE handler = :before", {"before": before})
    move(tx, before, name, now=now)


def move(tx: Transaction, before: str, name: str, *, now: int) -> None:
    """Move what nobody is at from one name of a handler to another; the rest follows once settled, or by ``reap``.

    Whoever moves has guarded the lines of both names.
    """
    found = tx.run(_MOVE, {"before": before, "name": name, "now": now})
    moved = {(name, row[0]) for row in found if row[0] is not None}
    if moved and not tx.run(
        "SELECT 1 FROM handler WHERE name = :name AND ordered_by IS NOT NULL", {"name": name}
    ):
        lines.dissolve(tx, [name])
    lines.advance(tx, moved, now=now)


def _put(tx: Transaction, node: Node, *, now: int) -> None:
    # Also one that was silent for so long that it has been forgotten.
    tx.insert(
        "node",
        "name, role, started_at, seen_at",
        [(node.name, node.role, now, now)],
        conflict="ON CONFLICT (name) DO UPDATE SET role = excluded.role, seen_at = excluded.seen_at",
    )


def leave(tx: Transaction, items: Sequence[str]) -> list[None]:
    """Forget nodes that end, by name."""
    tx.delete("node", [(name,) for name in sorted(items)], key="name")
    return [None] * len(items)


def reap(tx: Transaction, items: Sequence[int]) -> list[int]:
    """Bury the dispatches of handlers that no node has had for an hour; return how many. Each item is the time."""
    answers = []
    renamed = tx.run(_RENAMED)
    lines.guard(tx, [name for pair in renamed for name in pair])
    for now in items:
        for before, name in renamed:
            if _is_alive(tx, before, now=now) and not _is_alive(tx, name, now=now):
                # The new version was rolled back.
                tx.run("UPDATE handler SET renamed_to = NULL WHERE name = :name", {"name": before})
                _rename(tx, name, before, now=now)
            else:
                move(tx, before, name, now=now)
        tx.run(
            "DELETE FROM handler WHERE renamed_to IS NOT NULL AND seen_at < :before",
            {"before": now - _FORGOTTEN_AFTER},
        )
        before = now - MISSING_AFTER
        present = {
            row[0] for row in tx.run("SELECT name FROM handler WHERE seen_at >= :since", {"since": before})
        }
        waited_for = {row[0] for statement in _WAITED_FOR for row in tx.run(statement)}
        found = [
            row
            for name in sorted(waited_for - present)
            for which in _UNFINISHED
            for row in tx.run(_BURY % which, {"before": before, "text": _MISSING, "handler": name})
        ]
        tx.run("DELETE FROM node WHERE seen_at < :before", {"before": now - _FORGOTTEN_AFTER})
        answers.append(len(found))
    return answers


def forget(tx: Transaction, items: Sequence[tuple[str, int, int]]) -> list[Registered]:
    """Forget handlers, so that completions are dispatched to them no more: (name, lease in milliseconds, now).

    Never by age alone: while all workers are down every handler is silent, and none may miss a completion. What was
    dispatched already stays. A node that has the handler and was only silent registers it again.

    Raises:
        NotFoundError: no handler of that name is registered.
        ConflictError: a node that has it gave a sign of life within the last lease.
    """
    answers = []
    for name, lease_ms, now in items:
        found = [one for one in registered(tx) if one.name == name]
        if not found:
            raise NotFoundError(f"No handler {name!r} is registered.", code="handler_unknown")
        if not tx.run(
            "DELETE FROM handler WHERE name = :name AND seen_at <= :before RETURNING name",
            {"name": name, "before": now - lease_ms},
        ):
            raise ConflictError(
                f"A node that has the handler {name!r} was alive less than {lease_ms / SECOND:g} s ago; restart every "
                "node without it, wait that long, and try again.",
                code="handler_in_use",
            )
        tx.run("DELETE FROM circuit WHERE handler = :name", {"name": name})
        answers += found
    return answers


def specs(tx: Transaction) -> Sequence[HandlerSpec]:
    """What the registered handlers want."""
    return _specs_of(
        tuple(
            tx.run(
                "SELECT name, provider, state, metadata, ordered_by, on_dead, notice FROM handler "
                "WHERE renamed_to IS NULL ORDER BY name"
            )
        )
    )


@lru_cache(4)
def _specs_of(found: tuple[Row, ...]) -> tuple[HandlerSpec, ...]:
    """The rows of handlers, read: each transaction finds the same ones, as a rule."""
    return tuple(
        HandlerSpec(
            name=name,
            provider=provider,
            state=state,
            metadata=_read(metadata),
            ordered_by=ordered_by,
            on_dead=on_dead or BLOCK,
            notice=None if notice is None else msgspec.json.decode(notice, type=Notice),
        )
        for name, provider, state, metadata, ordered_by, on_dead, notice in found
    )


def _read(metadata: str | None) -> dict[str, Any]:
    wishes: dict[str, Any] = {} if metadata is None else msgspec.json.decode(metadata)
    return wishes


def registered(tx: Transaction) -> list[Registered]:
    """The registered handlers, with what is not finished of each, counted up to a bound."""
    found = tx.run(
        "SELECT name, provider, state, metadata, ordered_by, seen_at FROM handler "
        "WHERE renamed_to IS NULL ORDER BY name"
    )
    known = {one.handler: one for one in circuits(tx)}
    most = min(COUNTED, max(_COUNTED_OF_ALL // max(len(found), 1), _FEWEST))
    waiting, dead = Counter[str](), Counter[str]()
    # Only those that have something are counted: of the others the index knows at once.
    for counted, handlers, statement in (
        *((waiting, *each) for each in zip(_WAITED_FOR, _WAITING, strict=True)),
        (dead, dead_letters.HANDLERS, _LETTERS),
    ):
        for (handler,) in tx.run(handlers):
            counted[handler] += tx.run(statement, {"handler": handler, "beyond": most + 1})[0][0]
    return [
        Registered(
            name=name,
            provider=provider,
            state=state,
            metadata=_read(metadata),
            ordered_by=ordered_by,
            seen_at=seen_at,
            waiting=min(waiting[name], most),
            more_waiting=waiting[name] > most,
            dead=min(dead[name], most),
            more_dead=dead[name] > most,
            circuit=known.get(name),
        )
        for name, provider, state, metadata, ordered_by, seen_at in found
    ]


def lively(tx: Transaction, since: int) -> list[tuple[str, str]]:
    """Name and role of the nodes that gave a sign of life since then, by name."""
    return tx.run("SELECT name, role FROM node WHERE seen_at >= :since ORDER BY name", {"since": since})


def may_come_back(tx: Transaction, name: str) -> bool:
    """Whether a node has neither left nor been silent for so long that it is forgotten, after a day."""
    return bool(tx.run("SELECT 1 FROM node WHERE name = :name", {"name": name}))


def nodes(tx: Transaction) -> list[Seen]:
    """The nodes, the latest started last."""
    found = tx.run("SELECT name, role, started_at, seen_at FROM node ORDER BY started_at, name")
    return [Seen(name=row[0], role=row[1], started_at=row[2], seen_at=row[3]) for row in found]
