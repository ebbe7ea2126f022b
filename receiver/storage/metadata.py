"""The metadata of jobs, kept beside their submissions, so that a callback's way need not read them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from receiver.storage.driver import Transaction


class Given(NamedTuple):
    """What was given with the submission of a job."""

    metadata: dict[str, Any]
    traceparent: str | None


def read_given(tx: Transaction, ids: Sequence[str]) -> dict[str, Given]:
    """What was given with the submission of jobs; those that were not submitted here are absent."""
    if not ids:
        return {}
    where, params = tx.among("job_id", sorted(set(ids)))
    found = tx.run(f"SELECT job_id, metadata, traceparent FROM submission WHERE {where}", params)
    return {job_id: Given(msgspec.json.decode(text), traceparent) for job_id, text, traceparent in found}
