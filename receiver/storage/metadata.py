"""The metadata of jobs, which are kept with their submissions: the path of a callback does not read them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from receiver.storage.driver import Transaction


def read_metadata(tx: Transaction, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What was given with the submission of jobs; those that were not submitted here are absent."""
    if not ids:
        return {}
    where, params = tx.among("job_id", sorted(set(ids)))
    found = tx.run(f"SELECT job_id, metadata FROM submission WHERE {where}", params)
    return {job_id: msgspec.json.decode(text) for job_id, text in found}
