"""Addresses that give their results once: each is on record before it is asked, and is never asked again.

They are kept by their digests, for as long as their job is: links of results are secrets, and long.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from receiver.core.model import Due, Step
from receiver.storage.claims import lock_jobs
from receiver.storage.driver import Transaction

_OWN: Final = (
    "UPDATE due SET spent_url = :url, spent_by = :owner WHERE job_id = :job_id AND step = :step "
    "AND owner = :owner AND attempt = :attempt RETURNING job_id"
)
_ASKED: Final = (
    "SELECT 1 FROM spent WHERE job_id = :job_id AND sha256 = :sha256 UNION ALL "
    # What was asked before there was that table stands here alone.
    "SELECT 1 FROM due WHERE job_id = :job_id AND step = :step AND spent_url = :url"
)


def spend(tx: Transaction, items: Sequence[tuple[Due, str]]) -> list[bool]:
    """Commit that the fetch of a single-use address begins; whether the row still was its owner's."""
    tx.be_sure()
    lock_jobs(tx, [due.job_id for due, _ in items])
    answers = []
    for due, url in items:
        whose = {
            "job_id": due.job_id,
            "step": due.step.value,
            "owner": due.owner,
            "attempt": due.attempt,
        }
        answers.append(bool(tx.run(_OWN, whose | {"url": url})))
        if answers[-1]:
            tx.insert(
                "spent", "job_id, sha256", [(due.job_id, _digest(url))], conflict="ON CONFLICT DO NOTHING"
            )
    return answers


def asked(tx: Transaction, job_id: str, url: str) -> bool:
    """Whether a GET of that address was begun for a job, at any time, by any node."""
    named = {"job_id": job_id, "step": Step.LOOK.value, "url": url, "sha256": _digest(url)}
    return bool(tx.run(_ASKED, named))


def is_lost(tx: Transaction, job_id: str, url: str) -> bool:
    """Whether that address was asked, and what it gave is not here, as a page of a result would be."""
    here = tx.run(
        "SELECT 1 FROM page WHERE job_id = :job_id AND url = :url LIMIT 1", {"job_id": job_id, "url": url}
    )
    return not here and asked(tx, job_id, url)


def unspend(tx: Transaction, job_id: str, url: str) -> None:
    """Record that the address gave nothing away: it may be asked again."""
    tx.run(
        "DELETE FROM spent WHERE job_id = :job_id AND sha256 = :sha256",
        {"job_id": job_id, "sha256": _digest(url)},
    )


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()
