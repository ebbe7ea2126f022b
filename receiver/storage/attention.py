"""Jobs that somebody should look at because of what their provider calls their state."""

from receiver.core.model import Value
from receiver.storage.driver import Transaction

_MOST: int = 50
_FOUND = """
    SELECT provider, attention, word, count(*), max(id) FROM job
    WHERE id >= :start AND attention IS NOT NULL AND (attention <> 'needs_action' OR ended_at IS NULL)
    GROUP BY provider, attention, word ORDER BY provider, attention, word LIMIT :most"""


class Attention(Value, frozen=True, kw_only=True):
    """A provider's word that deserves attention, and where it was met."""

    provider: str
    #: ``needs_action`` or ``word_unlisted``.
    kind: str
    #: ``None`` where a rule of the description says so, and no word.
    word: str | None
    count: int
    #: The newest of the jobs.
    job_id: str


def attention(tx: Transaction, since: int) -> list[Attention]:
    """The words met in jobs made from *since* on; reads all jobs made since then, so it is for ``doctor``."""
    found = tx.run(_FOUND, {"start": f"job_{since:012x}", "most": _MOST})
    return [
        Attention(provider=provider, kind=kind, word=word, count=count, job_id=job_id)
        for provider, kind, word, count, job_id in found
    ]
