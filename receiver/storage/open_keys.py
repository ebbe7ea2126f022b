"""Which master keys open jobs need: by a look that is bounded, and by reading all of them, a range at a time.

There is no index of that, because every job would pay for it. A key is in force for a while, and the id of a job begins
with the time of its making: so the oldest open jobs, the newest, and some at even distances between them tell of every
key that was in force for more than a moment.
"""

from collections.abc import AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from typing import Any, Final, Protocol

from receiver.core.identity import JOB, made_at
from receiver.core.model import Value
from receiver.storage.driver import Transaction

#: How many are looked at of the oldest, and as many of the newest; and how many between them.
_ENDS: Final = 500
_BETWEEN: Final = 200
#: So many are read at a time where all of them are.
_RANGE: Final = 2_000
_AT_AN_END: Final = "SELECT job_id FROM due ORDER BY job_id {} LIMIT :most"
_NEXT: Final = "SELECT (SELECT job_id FROM due WHERE job_id >= :at_{} ORDER BY job_id LIMIT 1)"
_AFTER: Final = "SELECT job_id FROM due WHERE job_id > :after ORDER BY job_id LIMIT :most"


class Looked(Value, frozen=True, kw_only=True):
    """The keys that open jobs need, as far as was looked."""

    keys: frozenset[str]
    #: Whether there may be others that were not looked at.
    more: bool


class Reads(Protocol):
    """Asks one question in a transaction of its own."""

    async def __call__(self, query: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401
        """The answer to *query*."""
        ...


def look(tx: Transaction) -> Looked:
    """The keys of the oldest open jobs, of the newest, and of some between them, however many there are."""
    oldest, newest = (
        [row[0] for row in tx.run(_AT_AN_END.format(direction), {"most": _ENDS})]
        for direction in ("ASC", "DESC")
    )
    more = len(oldest) == _ENDS and oldest[-1] < newest[-1]
    return Looked(
        keys=_keys(tx, {*oldest, *newest, *(_between(tx, oldest[-1], newest[-1]) if more else ())}), more=more
    )


async def ranges(read: Reads) -> AsyncIterator[frozenset[str]]:
    """The keys of all open jobs, a range at a time, each read by itself."""
    after: str | None = ""
    while after is not None:
        after, keys = await read(_range, after)
        yield keys


def _between(tx: Transaction, oldest: str, newest: str) -> list[str]:
    """Jobs at even distances in time."""
    first, span = made_at(oldest), made_at(newest) - made_at(oldest)
    numbers = range(1, _BETWEEN + 1)
    places = {f"at_{number}": f"{JOB}_{first + span * number // _BETWEEN:012x}" for number in numbers}
    found = tx.run(" UNION ALL ".join(map(_NEXT.format, numbers)), places)
    return [row[0] for row in found if row[0] is not None]


def _range(tx: Transaction, after: str) -> tuple[str | None, frozenset[str]]:
    """The keys of one range, from *after* on; where the next one begins, if there is one."""
    found = [row[0] for row in tx.run(_AFTER, {"after": after, "most": _RANGE})]
    return found[-1] if len(found) == _RANGE else None, _keys(tx, {*found})


def _keys(tx: Transaction, ids: AbstractSet[str]) -> frozenset[str]:
    where, params = tx.among("id", sorted(ids))
    return frozenset(
        row[0]
        for row in tx.run(f"SELECT DISTINCT key_id FROM job WHERE {where} AND ended_at IS NULL", params)
    )
