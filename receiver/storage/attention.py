"""Jobs that somebody should look at because of what their provider calls their state."""

from typing import Final

from receiver.core.alarms.rules import Attention
from receiver.storage.driver import Transaction

_MOST: Final = 50
#: Rows that are looked at, the newest.
_LOOKED_AT: Final = 300
_FOUND: Final = """
    SELECT provider, attention, word, count(*), max(id) FROM
        (SELECT id, provider, attention, word, ended_at FROM job
        WHERE id >= :start AND attention IS NOT NULL ORDER BY id DESC LIMIT :looked) AS newest
    WHERE attention <> 'needs_action' OR ended_at IS NULL
    GROUP BY provider, attention, word ORDER BY provider, attention, word LIMIT :most"""


def attention(tx: Transaction, since: int) -> list[Attention]:
    """The words met in jobs made from *since* on, among the newest 300 of those that somebody should look at."""
    found = tx.run(_FOUND, {"start": f"job_{max(since, 0):012x}", "looked": _LOOKED_AT, "most": _MOST})
    return [
        Attention(provider=provider, kind=kind, word=word, count=count, job_id=job_id)
        for provider, kind, word, count, job_id in found
    ]
