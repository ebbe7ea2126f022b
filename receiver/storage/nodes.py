"""The processes that serve the database, and the handlers that they have."""

from collections.abc import Sequence
from typing import Final

from receiver.core.model import DAY, HOUR, HandlerSpec, Value
from receiver.storage.driver import Transaction

#: A dispatch that no node has claimed for this long, for a handler that no node has, is dead.
MISSING_AFTER: Final = HOUR
_FORGOTTEN_AFTER: Final = DAY
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


def join(tx: Transaction, items: Sequence[tuple[Node, bool, int]]) -> list[None]:
    """Register nodes and their handlers: (node, whether it is the only one, now)."""
    for node, only, now in items:
        if only:
            tx.run("DELETE FROM handler")
            tx.run("DELETE FROM node")
        _put(tx, node, now=now)
        tx.insert(
            "handler",
            "name, provider, state, seen_at",
            [
                {"name": one.name, "provider": one.provider, "state": one.state, "seen_at": now}
                for one in sorted(node.handlers, key=lambda one: one.name)
            ],
            conflict="ON CONFLICT (name) DO UPDATE SET provider = excluded.provider, state = excluded.state, "
            "seen_at = excluded.seen_at",
        )
    return [None] * len(items)


def alive(tx: Transaction, node: Node, *, now: int) -> None:
    """Mark *node* as alive, and its handlers if it runs them."""
    _put(tx, node, now=now)
    if node.role != "ingest":
        where, params = tx.among("name", sorted(one.name for one in node.handlers))
        # Whoever holds one of them is just doing the same for it.
        found = tx.run(
            f"SELECT name FROM handler WHERE {where} ORDER BY name {{for_update}} {{skip_locked}}", params
        )
        tx.update("handler", "seen_at", [{"name": row[0], "seen_at": now} for row in found], key="name")


def _put(tx: Transaction, node: Node, *, now: int) -> None:
    # Also one that was silent for so long that it has been forgotten.
    tx.insert(
        "node",
        "name, role, started_at, seen_at",
        [{"name": node.name, "role": node.role, "started_at": now, "seen_at": now}],
        conflict="ON CONFLICT (name) DO UPDATE SET role = excluded.role, seen_at = excluded.seen_at",
    )


def leave(tx: Transaction, items: Sequence[str]) -> list[None]:
    """Forget nodes that end, by name."""
    tx.delete("node", [{"name": name} for name in sorted(items)], key="name")
    return [None] * len(items)


def reap(tx: Transaction, items: Sequence[int]) -> list[int]:
    """Bury the dispatches of handlers that no node has had for an hour; return how many. Each item is the time."""
    answers = []
    for now in items:
        found = tx.run(
            "UPDATE dispatch SET state = 'dead', owner = NULL, error_code = 'handler_missing', error_text = :text "
            "WHERE state = 'ready' AND run_at < :before AND handler NOT IN "
            "(SELECT name FROM handler WHERE seen_at >= :before) RETURNING job_id",
            {"before": now - MISSING_AFTER, "text": _MISSING},
        )
        tx.run("DELETE FROM node WHERE seen_at < :before", {"before": now - _FORGOTTEN_AFTER})
        answers.append(len(found))
    return answers


def nodes(tx: Transaction) -> list[Seen]:
    """The nodes, the latest started last."""
    found = tx.run("SELECT name, role, started_at, seen_at FROM node ORDER BY started_at, name")
    return [Seen(name=row[0], role=row[1], started_at=row[2], seen_at=row[3]) for row in found]
