"""How much came and ended, by the quarter of an hour: what a chart needs without reading what it is about.

Each process adds what it counted by itself, under its own name, every few seconds. So no callback costs more for it, no
two processes write the same row, and a crash loses a few seconds of a chart.
"""

from collections.abc import Sequence
from typing import Final

from receiver.core.model import DAY, MINUTE, Value
from receiver.storage.driver import Transaction

BUCKET: Final = 15 * MINUTE
_KEPT: Final = 8 * DAY
_KEY: Final = "bucket, node, kind, provider, word"


class Tallied(Value, frozen=True, kw_only=True):
    """So many of a kind: a callback's verdict, or a job's end."""

    #: ``callback`` or ``job``.
    kind: str
    provider: str
    #: A verdict, or the state in which jobs ended.
    word: str
    count: int


class Counted(Value, frozen=True, kw_only=True):
    """What came to a kind and word in one bucket, of all providers."""

    bucket: int
    kind: str
    word: str
    count: int


def add(tx: Transaction, items: Sequence[tuple[str, int, Sequence[Tallied]]]) -> list[None]:
    """Add what processes counted: (name of the process, now, what)."""
    for node, now, tallied in items:
        bucket = now // BUCKET * BUCKET
        rows = sorted((bucket, node, one.kind, one.provider, one.word, one.count) for one in tallied)
        tx.insert(
            "tally",
            f"{_KEY}, count",
            rows,
            conflict=f"ON CONFLICT ({_KEY}) DO UPDATE SET count = tally.count + excluded.count",
        )
        tx.run("DELETE FROM tally WHERE bucket < :before", {"before": now - _KEPT})
    return [None] * len(items)


def since(tx: Transaction, at: int) -> list[Counted]:
    """What was counted from *at* on, the oldest first."""
    found = tx.run(
        "SELECT bucket, kind, word, sum(count) FROM tally WHERE bucket >= :at "
        "GROUP BY bucket, kind, word ORDER BY bucket, kind, word",
        {"at": at},
    )
    return [Counted(bucket=row[0], kind=row[1], word=row[2], count=int(row[3])) for row in found]
