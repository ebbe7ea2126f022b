"""Who did what by hand: a trail beside the record, kept as long as the job that it is about."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from receiver.core.model import Value
from receiver.storage.driver import Row, Transaction

_COLUMNS: Final = "id, at, who, role, action, subject, job_id, outcome, detail"
_encode = msgspec.json.encode


class Deed(Value, frozen=True, kw_only=True):
    """Something that a person did, or tried to do."""

    id: str
    at: int
    who: str
    #: ``viewer`` or ``operator``.
    role: str
    #: replay, cancel, poll, resubmit, abandon, retry, discard, reveal, verify, send, test, …
    action: str
    #: The id of what it was done to; empty where it was a selection.
    subject: str = ""
    job_id: str | None = None
    #: How it ended; ``None`` if nobody knows, because the process ended meanwhile.
    outcome: str | None = None
    detail: dict[str, Any] = {}


def note(tx: Transaction, items: Sequence[Deed]) -> list[None]:
    """Record deeds; before they are done, so that none is done unseen."""
    tx.insert("audit", _COLUMNS, [_row(one) for one in sorted(items, key=lambda one: one.id)])
    return [None] * len(items)


def close(tx: Transaction, items: Sequence[tuple[str, str, dict[str, Any]]]) -> list[None]:
    """Record how deeds ended: (id, outcome, detail)."""
    rows = [(outcome, _encode(detail), one) for one, outcome, detail in sorted(items, key=lambda one: one[0])]
    tx.update("audit", "outcome, detail", rows, key="id")
    return [None] * len(items)


def trail(
    tx: Transaction,
    *,
    job_id: str | None = None,
    subject: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[Deed]:
    """The latest deeds first: all of them, those about one job, or those done to one thing."""
    terms, params = [], dict[str, Any](limit=limit)
    for name, value in (("job_id", job_id), ("subject", subject)):
        if value is not None:
            terms.append(f"{name} = :{name}")
            params[name] = value
    if before is not None:
        terms.append("id < :before")
        params["before"] = before
    where = f"WHERE {' AND '.join(terms)}" if terms else ""
    found = tx.run(f"SELECT {_COLUMNS} FROM audit {where} ORDER BY id DESC LIMIT :limit", params)
    return [_deed(row) for row in found]


def _row(deed: Deed) -> Row:
    return (
        deed.id,
        deed.at,
        deed.who,
        deed.role,
        deed.action,
        deed.subject,
        deed.job_id,
        deed.outcome,
        _encode(deed.detail),
    )


def _deed(row: Row) -> Deed:
    names = _COLUMNS.split(", ")
    values = dict(zip(names, row, strict=True))
    return Deed(**values | {"detail": msgspec.json.decode(bytes(values["detail"]))})
