"""The ledger: whatever a transaction says about a job is in its row afterwards."""

from typing import Any, Final

import pytest
from msgspec.structs import replace

from receiver.core.model import Failure, Held, JobState, Source
from receiver.storage.ledger import Ledger
from receiver.storage.store import Store
from tests.storage.making import Desk

#: Each on its own, and the last ones together: what a result changes is written by another statement than the rest.
CHANGES: Final[list[dict[str, Any]]] = [
    {"state": JobState.RUNNING},
    {"remote_id": "another"},
    {"response_url": "https://acme.example/result"},
    {"cancel_url": "https://acme.example/cancel"},
    {"submitted_at": 11},
    {"succeeded_at": 12},
    {"ended_at": 13},
    {"submission": "unknown"},
    {"cancel_requested_at": 14},
    {"woken_by": "cb_1"},
    {"settled_by": Source.POLL},
    {"held": Held(callback_id="cb_1", offset=1, size=2, sha256="ab", content_type="text/plain")},
    {"error": Failure(code="provider_reported", text="no")},
    {"callbacks": 15},
    {"first_callback": "cb_1"},
    {"state": JobState.SUCCEEDED, "ended_at": 16, "callbacks": 1},
    {"state": JobState.SUCCEEDED, "ended_at": 16, "response_url": "https://acme.example/result"},
]


@pytest.mark.parametrize("change", CHANGES, ids="+".join)
async def test_a_change_is_stored(store: Store, desk: Desk, change: dict[str, Any]) -> None:
    """That, nothing else, and not of another job that is in the same transaction."""
    jobs = [await desk.submit() for _ in range(3)]
    with store.driver.write() as tx:
        ledger = Ledger(tx)
        ledger.open([one.id for one in jobs])
        changed = replace(ledger.jobs[jobs[1].id], **change)
        ended = replace(ledger.jobs[jobs[2].id], state=JobState.FAILED, ended_at=17)
        ledger.put(changed)
        ledger.put(ended)
        ledger.flush()
    stored = [await store.job(one.id) for one in jobs]
    assert [replace(one, metadata={}) for one in stored] == [
        replace(one, metadata={}) for one in (jobs[0], changed, ended)
    ]
