"""Who is signed in to the console. What a browser holds is never stored, only its digest."""

from collections.abc import Sequence
from typing import Final

from receiver.core.model import Value
from receiver.storage.driver import Transaction

_COLUMNS: Final = "digest, kind, who, role, proof, created_at, seen_at"


class Session(Value, frozen=True, kw_only=True):
    """A person who is signed in; a *ticket* signs somebody in once."""

    digest: str
    #: ``session`` or ``ticket``.
    kind: str = "session"
    who: str
    #: ``viewer`` or ``operator``.
    role: str
    #: What was signed in with, so that it ends with that.
    proof: str
    created_at: int
    seen_at: int


def find(tx: Transaction, digest: str) -> Session | None:
    """The session of the browser that holds the value with this *digest*."""
    found = tx.run(
        f"SELECT {_COLUMNS} FROM console_session WHERE digest = :digest AND kind = 'session'",
        {"digest": digest},
    )
    return Session(**dict(zip(_COLUMNS.split(", "), found[0], strict=True))) if found else None


def lies(tx: Transaction, digest: str) -> bool:
    """Whether a ticket with this *digest* is stored."""
    return bool(
        tx.run("SELECT 1 FROM console_session WHERE digest = :digest AND kind = 'ticket'", {"digest": digest})
    )


def open_(tx: Transaction, items: Sequence[tuple[Session, int]]) -> list[None]:
    """Begin sessions, or lay tickets down; whatever was begun before the time beside each is forgotten."""
    for session, before in items:
        tx.run("DELETE FROM console_session WHERE created_at < :before", {"before": before})
        _insert(tx, session)
    return [None] * len(items)


def redeem(tx: Transaction, items: Sequence[tuple[str, str, int, int]]) -> list[Session | None]:
    """Exchange tickets, once: (digest of the ticket, digest of the session, now, oldest ticket that counts)."""
    answers: list[Session | None] = []
    for ticket, digest, now, oldest in items:
        found = tx.run(
            "DELETE FROM console_session WHERE digest = :digest AND kind = 'ticket' AND created_at >= :oldest "
            "RETURNING who, role, proof",
            {"digest": ticket, "oldest": oldest},
        )
        if not found:
            answers.append(None)
            continue
        who, role, proof = found[0]
        session = Session(digest=digest, who=who, role=role, proof=proof, created_at=now, seen_at=now)
        _insert(tx, session)
        answers.append(session)
    return answers


def touch(tx: Transaction, items: Sequence[tuple[str, int]]) -> list[None]:
    """Note that sessions are in use: (digest, now)."""
    tx.update("console_session", "seen_at", [(now, digest) for digest, now in sorted(items)], key="digest")
    return [None] * len(items)


def end(tx: Transaction, items: Sequence[str]) -> list[None]:
    """End sessions, by digest."""
    tx.delete("console_session", [(digest,) for digest in sorted(items)], key="digest")
    return [None] * len(items)


def _insert(tx: Transaction, one: Session) -> None:
    row = (one.digest, one.kind, one.who, one.role, one.proof, one.created_at, one.seen_at)
    tx.insert("console_session", _COLUMNS, [row])
