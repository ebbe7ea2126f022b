"""How long jobs took, from the record."""

from typing import Final

from receiver.storage.driver import Transaction

#: So many jobs are looked through.
_SCANNED: Final = 1000
_TOOK: Final = """
    SELECT succeeded_at - submitted_at FROM (
        SELECT operation, state, settled_by, submission, succeeded_at, submitted_at FROM job
        WHERE provider = :provider AND id < :until ORDER BY id DESC LIMIT :scan) AS newest
    WHERE state = 'succeeded' AND operation = :operation AND settled_by = 'callback' AND submission = 'sent'
    LIMIT :most"""


def took(tx: Transaction, provider: str, operation: str, *, before: int, most: int) -> list[int]:
    """How long the last jobs of an operation took until a callback told of their success, in milliseconds.

    Among the newest jobs of the provider, and, where most of those are still open, among the newest made *before*.
    """
    found: list[int] = []
    for until in ("job_~", f"job_{max(before, 0):012x}"):
        params = {
            "provider": provider,
            "operation": operation,
            "until": until,
            "most": most,
            "scan": _SCANNED,
        }
        took = [row[0] for row in tx.run(_TOOK, params)]
        found = max(found, took, key=len)
        if len(found) >= most // 4:
            break
    return found
